"""The tokenizer of a folder, and what is said where its files cannot be read."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from openmodels import settings
from openmodels.backends.local.weights import checkpoint
from openmodels.errors import MissingExtra
from openmodels.hub.model_page import UNBOUNDED

_OBJECTS = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "generation_config.json")
_PIECES = ("tokenizer.model", "spiece.model", "sentencepiece.model", "sentencepiece.bpe.model")


def load(folder: Path, **options: Any) -> Any:
    """Return a folder's tokenizer; takes no network and runs no code of the model's.

    Args:
        folder: The model's folder.
        **options: Further arguments of `AutoTokenizer.from_pretrained`.

    Raises:
        LoadFailed: A file holds something else than it should.
        MissingExtra: It takes a package that is not installed.
    """
    for name in _OBJECTS:
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


def longest(tokenizer: Any) -> int:
    """Return the most tokens that a tokenizer says its model takes."""
    length = tokenizer.model_max_length
    return int(min(length, UNBOUNDED)) if isinstance(length, int | float) and length >= 1 else UNBOUNDED


def _check_packages(folder: Path) -> None:
    """Check that what reads the tokenizer is installed: transformers' own words name another package."""
    if (folder / "tokenizer.json").is_file():
        return
    for name in _PIECES:
        if not (file := folder / name).is_file():
            continue
        if _is_tiktoken(file):
            _require(name, "a tiktoken vocabulary", ("tiktoken",), "pip install tiktoken")
        else:
            packages = ("sentencepiece", "google.protobuf")
            _require(name, "a SentencePiece model", packages, settings.install_hint("local"))
    if (folder / "tiktoken.model").is_file():
        _require("tiktoken.model", "a tiktoken vocabulary", ("tiktoken",), "pip install tiktoken")
    if (folder / "tekken.json").is_file() and not any(folder.glob("vocab.*")):
        _require("tekken.json", "a tokenizer of Mistral's own", ("mistral_common",), "pip install mistral-common")


def _require(name: str, what: str, modules: tuple[str, ...], command: str) -> None:
    if missing := [module for module in modules if not _is_installed(module)]:
        packages = " and ".join(repr(module.removeprefix("google.").replace("_", "-")) for module in missing)
        raise MissingExtra(
            f"The model's only tokenizer is {what} ({name}). Reading it takes what is not installed: {packages}.",
            next_step=f"Run: {command}",
        )


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # the package above it is not there
        return False


def _is_tiktoken(file: Path) -> bool:
    """Return whether a file holds lines of base64 and a rank, as tiktoken has them; SentencePiece's is binary."""
    with file.open("rb") as opened:
        parts = opened.readline(256).split()
    return len(parts) == 2 and parts[0].isascii() and parts[1].isdigit()
