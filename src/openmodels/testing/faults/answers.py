"""Responses of a well-behaved server, which the faults then spoil."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from openmodels.testing.faults.expect import TEXT, TOKENS, VECTORS
from openmodels.testing.faults.server import Request, Wire

USAGE = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}
DONE = b"data: [DONE]\n\n"


def completion(message: Mapping[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    """Return the body of a whole answer; `fields` replace those of the first choice."""
    content = {"role": "assistant", "content": TEXT} if message is None else dict(message)
    choice = {"index": 0, "message": content, "finish_reason": "stop"} | fields
    return {"id": "x", "object": "chat.completion", "model": "tiny", "choices": [choice], "usage": USAGE}


def chunk(delta: Mapping[str, Any] | None = None, finish: str | None = None, **fields: Any) -> dict[str, Any]:
    """Return a chunk of a stream."""
    choice = {"index": 0, "delta": dict(delta or {}), "finish_reason": finish}
    return {"id": "x", "object": "chat.completion.chunk", "model": "tiny", "choices": [choice]} | fields


def event(value: Any) -> bytes:
    """Return an event with a value as JSON."""
    return b"data: " + json.dumps(value, ensure_ascii=False).encode() + b"\n\n"


def texts(tokens: Iterable[str] = TOKENS) -> Iterator[bytes]:
    """Yield the events of the text alone, the role first."""
    yield event(chunk({"role": "assistant", "content": ""}))
    for token in tokens:
        yield event(chunk({"content": token}))


def stream(*middle: bytes, finish: str | None = "stop", done: bool = True) -> list[bytes]:
    """Return the events of a whole answer, `middle` in place of the text if given."""
    events = list(middle or texts())
    if finish:
        events.append(event(chunk(finish=finish)))
    events.append(event({"model": "tiny", "choices": [], "usage": USAGE}))
    return [*events, DONE] if done else events


def embeddings(vectors: Iterable[Any] = VECTORS) -> dict[str, Any]:
    """Return the body of an answer with embeddings."""
    rows = [{"object": "embedding", "index": at, "embedding": vector} for at, vector in enumerate(vectors)]
    return {"object": "list", "model": "tiny", "data": rows, "usage": {"prompt_tokens": 7, "total_tokens": 7}}


def correct_body(request: Request) -> Any:
    """Return the body of the right answer to a request without a stream."""
    if request.path.endswith("/pipeline/feature-extraction"):
        return VECTORS
    return embeddings() if request.path.endswith("/embeddings") else completion()


def right(wire: Wire, request: Request) -> None:
    """Answer as a good server does."""
    if request.stream:
        wire.events(stream())
    else:
        wire.answer(correct_body(request))
