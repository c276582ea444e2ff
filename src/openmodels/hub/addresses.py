"""Model ids in what people paste.

Addresses of pages and files, references of other programs, cache folders.
"""

import re
from urllib.parse import parse_qs, unquote, urlsplit

_HOST_NAMES = """
huggingface.co hf.co hf-mirror.com api-inference.huggingface.co router.huggingface.co modelscope.cn modelscope.ai
openrouter.ai ollama.com ollama.ai registry.ollama.ai lmstudio.ai
"""
_HOSTS = frozenset(_HOST_NAMES.split())  # where the first two parts of a path are owner and name of a model

_REPOSITORY_HOSTS = frozenset(["github.com", "gitlab.com", "replicate.com", "build.nvidia.com"])
"""Where they are owner and name of a repository, whose model has another owner elsewhere at times."""

_SCHEME = re.compile(r"(?:git\+)?(?:https?|ssh|git)://(?:git@)?|git@(?=[\w.-]+[:/])", re.IGNORECASE)
_HOST = re.compile(r"(?:www\.)?([a-z0-9-]+(?:\.[a-z0-9-]+)*\.[a-z]{2,})(?=[:/?#]|$)(?::\d+(?=/))?[:/]?", re.IGNORECASE)
_REFERENCE = re.compile(
    r"(?:hf|huggingface|hub|local|ollama|vllm|transformers)(?::(?://)?|/(?=[^/]+/[^/]+$))", re.IGNORECASE
)
_AZURE = re.compile(r"azureml://registries/([\w.-]+)/models/([\w.-]+)(?:/.*)?", re.IGNORECASE)
_CACHE_FOLDER = re.compile(r"(?:^|[\\/])models--([\w.-]+?)--([\w.-]+?)(?=[\\/]|$)")
_ID = re.compile(r"([\w.-]+/[\w.-]+?)(?:\.git)?(?:@[\w./-]+|:([\w.-]+))?", re.ASCII)
_NAME = re.compile(r"[\w.-]+(?::[\w.-]+)?", re.ASCII)
# Parts of a path before an id, and pages that are no model.
_BEFORE_ID = frozenset({"api", "models", "model", "library", "hf-inference", "hf", "x"})
_OTHER_PAGES = frozenset({"datasets", "spaces", "papers", "collections", "docs", "blog", "organizations", "tasks"})
_PARTS_OF_ADDRESSES = """
orgs teams catalog explore resource registry versions version tree blob main resolve raw marketplace r releases issues
discussions wiki tags news learn azureml
"""
_NO_WORDS = _BEFORE_ID | _OTHER_PAGES | frozenset(_PARTS_OF_ADDRESSES.split())
_AROUND = " \t\r\n<>\"'`()[]{},;!"


def model_id_of(text: str) -> str:
    """Return the model id in an address or a reference, any other text as it is.

    "https://huggingface.co/org/name/tree/main?x=1", "hf.co/org/name:Q4_K_M", "hf:org/name", "org/name@revision" and
    "models--org--name" all give "org/name".
    """
    model_id, _ = _split(text)
    return model_id if model_id is not None else text


def replace_address(piece: str) -> str:
    """Return the model id, or the words, for an address, any other text as it is."""
    if not any(mark in piece for mark in ("/", "--", ":")):
        return piece
    model_id, suffix = _split(piece)
    if model_id is not None:
        return f"{model_id} {suffix}" if suffix else model_id
    bare = piece.strip(_AROUND)
    scheme = _SCHEME.match(bare)
    rest = bare[scheme.end() :] if scheme else bare
    host = _HOST.match(rest)
    if not scheme and not (host and "/" in rest):
        return piece
    try:
        address = urlsplit("//" + rest)
    except ValueError:  # an address with half a bracket
        return piece
    path = filter(None, unquote(address.path).split("/"))
    parts = [part for part in path if part.lower() not in _NO_WORDS and not part.isdigit()]
    if parts and host and host[1].lower() in _REPOSITORY_HOSTS:
        # Where dots are not allowed they are underscores: "llama-3_1-8b".
        parts = [re.sub(r"(?<=\d)_(?=\d)", ".", "/".join(parts[:2]).removesuffix(".git"))]
    # A page of search results: "?license=license:mit&num_parameters=min:3B,max:8B".
    values = [value for listed in parse_qs(address.query).values() for value in listed]
    stated = [part for value in values for part in re.split(r"[:,\s]+", value.removeprefix("license:"))]
    return " ".join([*parts, *stated])


def _split(text: str) -> tuple[str | None, str]:
    """Return the id that a text holds, or None, and the tag after its colon."""
    bare = text.strip(_AROUND).rstrip(_AROUND + ".")
    if folder := _CACHE_FOLDER.search(bare):
        return f"{folder[1]}/{folder[2]}", ""
    if azure := _AZURE.fullmatch(bare):
        return f"azure:{azure[1]}/{azure[2]}", ""
    scheme = _SCHEME.match(bare)
    rest = bare[scheme.end() :] if scheme else bare
    host = _HOST.match(rest)
    if host and host[1].lower() in _HOSTS:
        return _split_path(rest[host.end() :])
    if scheme:
        return None, ""
    if reference := _REFERENCE.match(bare):
        rest = bare[reference.end() :]
        if rest.startswith(("/", ".", "~", "\\")):
            return None, ""  # a folder
        return _split_path(rest)
    match = _ID.fullmatch(bare)
    # A text without revision and tag is an id, or a folder, as it is.
    return _of_id(match) if match and match[0] != match[1] else (None, "")


def _split_path(path: str) -> tuple[str | None, str]:
    parts = [part for part in unquote(re.split(r"[?#]", path, maxsplit=1)[0]).split("/") if part]
    while parts and parts[0].lower() in _BEFORE_ID:
        parts = parts[1:]
    if not parts or parts[0].lower() in _OTHER_PAGES:
        return None, ""
    if len(parts) > 1 and (match := _ID.fullmatch("/".join(parts[:2]))):
        return _of_id(match)
    return (parts[0], "") if _NAME.fullmatch(parts[0]) else (None, "")


def _of_id(match: re.Match[str] | None) -> tuple[str | None, str]:
    return (match[1], match[2] or "") if match else (None, "")
