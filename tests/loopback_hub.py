"""A Hub on 127.0.0.1 for tests, in the shape that `huggingface_hub` 2.4 asks for.

What it answers was taken from the requests that client makes and from the Hub's published API
description: `/api/models` with its filters, `expand` and `Link` paging; `/api/models/{id}` with and
without a revision; the tree, `paths-info` and `resolve` of downloads, with `X-Repo-Commit`, `ETag` and
`X-Linked-Size`; errors by `X-Error-Code`; and the providers' router, `/v1/models`. Not modelled:
uploads, accounts, searches inside cards, and the Hub's real limits.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from loopback_server import LoopbackServer, ReceivedRequest, Response

_ORDERS = {
    "downloads": "downloads",
    "likes": "likes",
    "lastModified": "lastModified",
    "last_modified": "lastModified",
    "createdAt": "createdAt",
    "created_at": "createdAt",
    "trendingScore": "trendingScore",
    "trending_score": "trendingScore",
}
_ALWAYS = ("_id", "id", "modelId", "private")
_SLIM = ("tags", "downloads", "likes", "pipeline_tag", "library_name", "createdAt", "trendingScore")
_FULL = (*_SLIM, "author", "sha", "lastModified", "gated", "siblings", "cardData", "config", "safetensors", "gguf")
_HUB_KEYS = {*_FULL, "baseModels", "evalResults", "inferenceProviderMapping", "disabled", "spaces", "model-index"}


class LoopbackHub(LoopbackServer):
    """Serves models.

    Args:
        models: Rows in the Hub's shape. `readme` (headings, links, claims, or the text of a card) becomes
            README.md, `config` becomes config.json; other files of `siblings` are served empty.
            Keys that the Hub does not have are not shown.
        page: Rows on a page where the client does not say.
        providers: Rows of the router's list.
        gated: Whether files of gated models need a token.
    """

    def __init__(
        self,
        models: Iterable[Mapping[str, Any]],
        *,
        page: int = 1000,
        providers: Iterable[Mapping[str, Any]] = (),
        gated: bool = True,
    ) -> None:
        super().__init__()
        self.rows: list[Any] = list(models)
        self.page = page
        self.providers = list(providers)
        self.gated = gated

    def respond(self, request: ReceivedRequest) -> Response:
        """Return what the Hub would."""
        parts = request.path.strip("/").split("/")
        if request.path == "/v1/models":
            return Response({"object": "list", "data": self.providers})
        if request.path == "/api/whoami-v2":
            return Response({"name": "tester", "type": "user"} if "authorization" in request.headers else {}, 200)
        if request.path == "/api/models":
            return self._listing(request)
        if parts[:2] == ["api", "models"]:
            return self._api(request, parts[2:])
        if "resolve" in parts:
            at = parts.index("resolve")
            return self._file(request, "/".join(parts[:at]), parts[at + 1], "/".join(parts[at + 2 :]))
        return super().respond(request)

    def _named(self, model_id: str) -> Mapping[str, Any] | None:
        rows = (row for row in self.rows if isinstance(row, Mapping))
        return next((row for row in rows if str(row.get("id")).lower() == model_id.lower()), None)

    def _listing(self, request: ReceivedRequest) -> Response:
        matches = [row for row in self.rows if not isinstance(row, Mapping) or _matches(row, request)]
        if order := _ORDERS.get(request.first("sort") or ""):
            matches.sort(key=lambda row: _sortable(row, order), reverse=request.first("direction") != "1")
        start = int(base64.b64decode(request.first("cursor") or "") or 0)
        size = min(int(request.first("limit") or self.page), self.page)
        headers = {"RateLimit": '"api";r=499;t=1'}
        if start + size < len(matches):
            cursor = base64.b64encode(str(start + size).encode()).decode()
            others = "&".join(f"{name}={value}" for name, value in request.query if name != "cursor")
            headers["Link"] = f'<{self.address}/api/models?{others}&cursor={cursor}>; rel="next"'
        return Response([_shown(row, request, many=True) for row in matches[start : start + size]], headers=headers)

    def _api(self, request: ReceivedRequest, parts: list[str]) -> Response:
        names = ("revision", "tree", "paths-info")
        at = next((place for place, part in enumerate(parts) if part in names), len(parts))
        row = self._named("/".join(parts[:at]))
        if row is None:
            return _unknown()
        kind = parts[at] if at < len(parts) else "revision"
        if at + 1 < len(parts) and parts[at + 1] not in ("main", _commit(row)):
            return Response({"error": "Invalid rev id"}, 404, {"X-Error-Code": "RevisionNotFound"})
        if kind == "revision":
            return Response(_shown(row, request, many=False))
        listed = [_entry(path, content) for path, content in files(row).items()]
        if kind == "paths-info":
            wanted = _paths(request)
            listed = [entry for entry in listed if entry["path"] in wanted]
        return Response(listed)

    def _file(self, request: ReceivedRequest, model_id: str, revision: str, path: str) -> Response:
        row = self._named(model_id)
        if row is None:
            return _unknown()
        if revision not in ("main", _commit(row)):
            return Response({"error": "Invalid rev id"}, 404, {"X-Error-Code": "RevisionNotFound"})
        if self.gated and row.get("gated") and "authorization" not in request.headers and path != "README.md":
            message = f"Access to model {model_id} is restricted."
            return Response({"error": message}, 401, {"X-Error-Code": "GatedRepo", "X-Error-Message": message})
        content = files(row).get(path)
        if content is None:
            return Response({"error": "Entry not found"}, 404, {"X-Error-Code": "EntryNotFound"})
        etag = f'"{_git_hash(content)}"'
        return Response(content, headers={"X-Repo-Commit": _commit(row), "ETag": etag, "Accept-Ranges": "bytes"})


def snapshot(folder: Path) -> list[dict[str, Any]]:
    """Return the rows of a folder with one JSON file per model."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]


def files(row: Mapping[str, Any]) -> dict[str, bytes]:
    """Return a model's files: its card, its config, and the others empty."""
    contents = {str(entry["rfilename"]): b"" for entry in row.get("siblings") or () if isinstance(entry, Mapping)}
    contents["README.md"] = card(row).encode()
    if row.get("config"):
        contents["config.json"] = json.dumps(row["config"]).encode()
    return contents


def card(row: Mapping[str, Any]) -> str:
    """Return a model's card: front matter, then headings, links and claims as prose."""
    readme = row.get("readme") or {}
    matter = "".join(f"{name}: {json.dumps(value)}\n" for name, value in (row.get("cardData") or {}).items())
    front = f"---\n{matter}---\n" if matter else ""
    if isinstance(readme, str):
        return front + readme
    lines = [f"# {heading}" for heading in readme.get("headings") or ()]
    lines += [f"- {link['text']}: [{link['text']}]({link['url']})" for link in readme.get("links") or ()]
    lines += [str(claim["fact"]) for claim in readme.get("claims") or ()]
    return front + "\n\n".join(lines) + "\n"


def _matches(row: Mapping[str, Any], request: ReceivedRequest) -> bool:
    tags = {str(tag).lower() for tag in row.get("tags") or ()}
    languages = (row.get("cardData") or {}).get("language") or []
    listed = [languages] if isinstance(languages, str) else languages
    tags |= {f"language:{language}" for language in (*listed, *(tag for tag in tags if len(tag) == 2))}
    wanted: dict[str, Callable[[str], bool]] = {
        "search": lambda text: text.lower() in str(row.get("id")).lower(),
        "author": lambda name: str(row.get("id")).lower().startswith(f"{name.lower()}/"),
        "pipeline_tag": lambda task: row.get("pipeline_tag") == task,
        "gated": lambda gated: bool(row.get("gated")) == (gated == "true"),
        "inference_provider": lambda name: name in (row.get("inferenceProviderMapping") or {}),
        "num_parameters": lambda limits: _within(row, limits),
    }
    for name, value in request.query:
        if name in wanted and not wanted[name](value):
            return False
    return all(tag.lower() in tags for tag in request.all("filter"))


def _within(row: Mapping[str, Any], limits: str) -> bool:
    count = (row.get("safetensors") or {}).get("total")
    units = {"K": 10**3, "M": 10**6, "B": 10**9}
    bounds = dict(part.split(":", 1) for part in limits.split(","))
    numbers = {name: float(bound.rstrip("KMB")) * units.get(bound[-1], 1) for name, bound in bounds.items()}
    return count is not None and numbers.get("min", 0) <= count <= numbers.get("max", float("inf"))


def _sortable(row: Any, order: str) -> Any:
    value = row.get(order) if isinstance(row, Mapping) else None
    return (value is not None, value if value is not None else 0)


def _shown(row: Any, request: ReceivedRequest, *, many: bool) -> Any:
    if not isinstance(row, Mapping):
        return row
    expand = request.all("expand")
    is_full = not many or request.first("full") == "true"
    keys = expand or (_FULL if is_full else _SLIM)
    shown = {key: value for key, value in row.items() if key in _ALWAYS or (key in keys and key in _HUB_KEYS)}
    if "id" in row:
        shown |= {"_id": hashlib.sha256(str(row["id"]).encode()).hexdigest()[:24], "modelId": row["id"]}
    shown.setdefault("private", False)
    if is_full and not expand:
        shown["sha"] = _commit(row)
        sizes = request.first("blobs") == "true"
        shown["siblings"] = [
            {"rfilename": path, **(_blob(content) if sizes else {})} for path, content in files(row).items()
        ]
    return shown


def _blob(content: bytes) -> dict[str, Any]:
    return {"size": len(content), "blobId": _git_hash(content)}


def _entry(path: str, content: bytes) -> dict[str, Any]:
    return {"type": "file", "path": path, "size": len(content), "oid": _git_hash(content)}


def _paths(request: ReceivedRequest) -> set[str]:
    from urllib.parse import parse_qsl

    if request.headers.get("content-type", "").startswith("application/json"):
        return set(json.loads(request.body).get("paths", []))
    return {value for name, value in parse_qsl(request.body.decode()) if name == "paths"}


def _git_hash(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _commit(row: Mapping[str, Any]) -> str:
    return str(row.get("sha") or hashlib.sha1(str(row.get("id")).encode(), usedforsecurity=False).hexdigest())


def _unknown() -> Response:
    message = "Repository not found"
    return Response({"error": message}, 404, {"X-Error-Code": "RepoNotFound", "X-Error-Message": message})
