"""Model references: `BACKEND:REST`, split at the first colon."""

import difflib
import re
from collections.abc import Collection
from dataclasses import dataclass

from openmodels.errors import InvalidReference

_NAME = re.compile(r"[A-Za-z][\w.-]*")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
_REVISION = re.compile(r"[^\s:@\\]+")
_SUFFIX = re.compile(r"[\w.-]+", re.ASCII)


_ADDRESSES = {
    "ollama": "http://127.0.0.1:11434/v1",
    "lmstudio": "http://127.0.0.1:1234/v1",
    "llamacpp": "http://127.0.0.1:8080/v1",
    "vllm": "http://127.0.0.1:8000/v1",
    "openai": "https://api.openai.com/v1",
    "openrouter": "https://openrouter.ai/api/v1",
    "groq": "https://api.groq.com/openai/v1",
    "mistral": "https://api.mistral.ai/v1",
    "together": "https://api.together.xyz/v1",
    "fireworks": "https://api.fireworks.ai/inference/v1",
    "deepseek": "https://api.deepseek.com/v1",
}
"""Where programs and vendors answer that people write as if they were backends."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A model reference in its two parts."""

    backend: str  # the name of the backend, e.g. "local".
    rest: str  # what the backend makes of it, e.g. "org/model@revision" or a path; may be empty.

    def __str__(self) -> str:
        return f"{self.backend}:{self.rest}"


@dataclass(frozen=True, slots=True)
class HubId:
    """A model on the Hugging Face Hub, as written in a reference."""

    repo: str  # "org/model", without revision and suffix: the id for any catalog look-up
    revision: str | None = None  # branch, tag or commit after "@", or None for the default branch
    suffix: str | None = None  # what follows ":" (a provider, "fastest", "cheapest"), or None
    file: str | None = None  # a file inside the repository ("org/model/file.gguf"), or None


def parse(reference: str, known: Collection[str]) -> Reference:
    """Split a model reference.

    The `known` backends are for suggestions only: another name is accepted, since a plugin may answer to it.

    Raises:
        InvalidReference: No backend, or something that is a path, an address or a hub id.
    """
    if not isinstance(reference, str):
        model_id = getattr(reference, "id", None)
        raise InvalidReference(
            f"A model reference is text like 'local:org/model', not {type(reference).__name__}.",
            next_step=_suggest(model_id, known) if isinstance(model_id, str) and model_id else None,
        )
    text = reference.strip()
    name, colon, rest = text.partition(":")
    example = f"Known backends: {', '.join(sorted(known))}."
    if not text:
        raise InvalidReference("The model reference is empty.", next_step=f"Write BACKEND:MODEL. {example}")
    if any(ord(character) < 32 or 0xD800 <= ord(character) <= 0xDFFF for character in text):
        raise InvalidReference("The model reference contains a control character or half a surrogate pair.")
    if rest.startswith("//"):
        raise InvalidReference(
            f"{text!r} is an address of files or a server, not a model reference.",
            next_step="Write 'local:org/model' for a model on the Hub, or 'server:NAME' with base_url= for a server.",
        )
    if re.fullmatch(r"[A-Za-z]", name) and re.match(r"[\\/]", rest):
        raise InvalidReference(f"{text!r} looks like a Windows path.", next_step=f"Write {'local:' + text!r}.")
    if not colon or "/" in name or "\\" in name or name.startswith("."):
        raise InvalidReference(f"{text!r} does not say where the model runs.", next_step=_suggest(text, known))
    if not is_backend_name(name):
        raise InvalidReference(f"{name!r} is no backend name.", next_step=example)
    return Reference(name, rest.strip())


def is_backend_name(name: str) -> bool:
    """Return whether a name fits: a letter, then letters, digits, "_.-"."""
    return bool(_NAME.fullmatch(name))


def unknown_backend(name: str, known: Collection[str]) -> InvalidReference:
    """Return the error for a backend that neither openmodels nor a plugin provides."""
    if address := _ADDRESSES.get(name.lower()):
        return InvalidReference(
            f"There is no backend {name!r}; what speaks the OpenAI protocol is a 'server'.",
            next_step=f"Write om.Model('server:NAME', base_url='{address}').",
        )
    near = difflib.get_close_matches(name.lower(), known, n=1)
    suggestion = f"Did you mean {near[0]!r}? " if near else ""
    return InvalidReference(
        f"There is no backend {name!r}.", next_step=f"{suggestion}Known backends: {', '.join(sorted(known))}."
    )


def parse_hub_id(text: str) -> HubId:
    """Read "org/model[/file][@revision][:suffix]".

    Raises:
        InvalidReference: The text is not a hub id.
    """
    body, colon, suffix = text.partition(":")
    body, at, revision = body.partition("@")
    repo = "/".join(body.split("/")[:2])
    file = body.removeprefix(repo).removeprefix("/")
    readable = (
        _HUB_ID.fullmatch(repo)
        and len(repo) <= 96
        and (not at or _REVISION.fullmatch(revision))
        and (not colon or _SUFFIX.fullmatch(suffix))
        and "\\" not in file
        and not body.endswith("/")
        # A revision and a file become part of a path in the cache.
        and not {"", ".", ".."} & {*f"{file or '_'}/{revision or '_'}".split("/")}
    )
    if not readable:
        raise InvalidReference(
            f"{text!r} is no model id of the Hugging Face Hub.",
            next_step="Write 'org/model', optionally '@revision' behind it.",
        )
    return HubId(repo, revision or None, suffix or None, file or None)


def _suggest(text: str, known: Collection[str]) -> str:
    if near := difflib.get_close_matches(text.lower(), known, n=1):
        return f"Did you mean '{near[0]}:'?"
    if text.startswith((".", "/", "~")) or "\\" in text:
        return f"For a file or folder on this disk write {'local:' + text!r}."
    readings = {"local": "run it on this machine", "hf": "Hugging Face's servers", "server": "your own server"}
    shown = [f"'{name}:{text}' ({what})" for name, what in readings.items() if name in known]
    return f"It could mean {' or '.join(shown)}." if shown else f"Write BACKEND:{text}."
