"""The tokenizer of a folder, and its chat templates.

A tokenizer holds one template or several by name; a processor may hold another; and they stand in up to four kinds of
files. Importing this module imports neither torch nor transformers.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from openmodels import imports, settings
from openmodels.backends.local.weights import checkpoint
from openmodels.errors import InvalidRequest, LoadFailed, MissingExtra
from openmodels.hub.model_page import UNBOUNDED

DEFAULT = "default"  # the name of the template that is used where the caller names none

_JSON_FILES = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "generation_config.json")
_SENTENCEPIECE_FILES = ("tokenizer.model", "spiece.model", "sentencepiece.model", "sentencepiece.bpe.model")


def load_tokenizer(folder: Path, **options: Any) -> Any:
    """Load a folder's tokenizer, without a network and without code of the model's.

    Raises:
        LoadFailed: A file holds something else than it should.
        MissingExtra: The tokenizer needs a package that is not installed.
    """
    from transformers import AutoTokenizer

    for name in _JSON_FILES:
        if (folder / name).is_file():
            checkpoint.read_json(folder / name)
    _check_packages(folder)
    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False, **options)
    except Exception:
        # The largest of the files is read only where something is wrong.
        if (folder / "tokenizer.json").is_file():
            checkpoint.read_json(folder / "tokenizer.json")
        raise


def max_length(tokenizer: Any) -> int:
    """Return the most tokens that the model takes by its tokenizer's files."""
    length = tokenizer.model_max_length
    return int(min(length, UNBOUNDED)) if isinstance(length, int | float) and length >= 1 else UNBOUNDED


def read_templates(folder: Path) -> dict[str, str]:
    """Return the chat templates in a folder by name; empty for a base model.

    Raises:
        OSError: A file cannot be read.
        ValueError: A file is not UTF-8.
        LoadFailed: A file holds no JSON object.
    """
    templates: dict[str, str] = {}
    for name in ("tokenizer_config.json", "processor_config.json", "chat_template.json"):
        if (file := folder / name).is_file():
            templates |= _by_name(checkpoint.read_json(file).get("chat_template"))
    if (file := folder / "chat_template.jinja").is_file():
        templates[DEFAULT] = file.read_text(encoding="utf-8")
    for file in sorted((folder / "additional_chat_templates").glob("*.jinja")):
        templates[file.stem] = file.read_text(encoding="utf-8")
    return templates


def _by_name(value: Any) -> dict[str, str]:
    """Return the templates of a file or a tokenizer, one or several, by name."""
    if isinstance(value, str):
        return {DEFAULT: value} if value else {}
    if isinstance(value, list):
        value = {item.get("name"): item.get("template") for item in value if isinstance(item, Mapping)}
    if not isinstance(value, Mapping):
        return {}
    return {str(name): template for name, template in value.items() if isinstance(template, str)}


def install_template(tokenizer: Any, folder: Path, *, choice: str | None = None, processor: Any = None) -> None:
    """Set the chat template of a tokenizer to the model's own, or to the chosen one.

    A processor's templates come before those that transformers has read for the tokenizer. The choice is the name of
    a template or the template itself.

    Raises:
        LoadFailed: A file of templates cannot be read.
        InvalidRequest: The model has no template of that name.
    """
    templates = _by_name(tokenizer.chat_template) | _by_name(getattr(processor, "chat_template", None))
    if not templates:
        # transformers reads some of the files only together with a processor.
        try:
            templates = read_templates(folder)
        except (OSError, ValueError) as error:
            raise LoadFailed("A file of the model's chat templates cannot be read.") from error
    if choice is not None and choice not in templates and "{" not in choice:
        raise InvalidRequest(
            f"chat_template: the model has no template of the name {choice[:80]!r}.",
            next_step=f"It has: {', '.join(sorted(templates))}." if templates else "Pass the text of a Jinja template.",
        )
    if choice is not None:
        templates = {DEFAULT: templates.get(choice, choice)}
    tokenizer.chat_template = templates[DEFAULT] if [*templates] == [DEFAULT] else (templates or None)


def _check_packages(folder: Path) -> None:
    """Check for the packages that read the tokenizer: transformers names another one."""
    if (folder / "tokenizer.json").is_file():
        return
    tiktoken = ("a tiktoken vocabulary", ("tiktoken",), "pip install tiktoken")
    sentencepiece = ("a SentencePiece model", ("sentencepiece", "google.protobuf"), settings.install_hint("local"))
    mistral = ("a tokenizer of Mistral's own", ("mistral_common",), "pip install mistral-common")
    files = [name for name in _SENTENCEPIECE_FILES if (folder / name).is_file()]
    readers = {name: tiktoken if _is_tiktoken(folder / name) else sentencepiece for name in files}
    if (folder / "tiktoken.model").is_file():
        readers["tiktoken.model"] = tiktoken
    if (folder / "tekken.json").is_file() and not any(folder.glob("vocab.*")):
        readers["tekken.json"] = mistral
    for name, (what, modules, command) in readers.items():
        if missing := [module for module in modules if not imports.is_installed(module)]:
            packages = " and ".join(repr(module.removeprefix("google.").replace("_", "-")) for module in missing)
            raise MissingExtra(
                f"The model's only tokenizer is {what} ({name}). Reading it takes what is not installed: {packages}.",
                next_step=f"Run: {command}",
            )


def _is_tiktoken(file: Path) -> bool:
    """Return whether a file holds lines of base64 and a rank."""
    # The files of SentencePiece, which have the same names, are binary.
    with file.open("rb") as opened:
        parts = opened.readline(256).split()
    return len(parts) == 2 and parts[0].isascii() and parts[1].isdigit()
