"""The `logprobs` of a choice, of chat endpoints and of legacy completions."""

import math
from collections.abc import Iterable, Iterator
from itertools import zip_longest
from typing import Any, TypeGuard

from openmodels.errors import InvalidResponse
from openmodels.types.reply import TokenLogprob

Pair = tuple[str, float]


def read_logprobs(value: Any) -> tuple[TokenLogprob, ...]:
    """Return the logprobs of each token; entries of another shape are left out.

    Raises:
        InvalidResponse: A token's is not a finite number.
    """
    if not isinstance(value, dict):
        return ()
    if isinstance(content := value.get("content"), list):
        return tuple(_read_chat(content))
    return tuple(_read_completion(value))


def _read_chat(content: list[Any]) -> Iterator[TokenLogprob]:
    for entry in content:
        if (pair := _read_pair(entry)) is not None:
            _check(pair[1])
            others = entry.get("top_logprobs")
            yield TokenLogprob(*pair, _sort_pairs(map(_read_pair, others if isinstance(others, list) else ())))


def _read_completion(value: dict[str, Any]) -> Iterator[TokenLogprob]:
    columns = (value.get(name) for name in ("tokens", "token_logprobs", "top_logprobs"))
    for token, logprob, top in zip_longest(*(column if isinstance(column, list) else () for column in columns)):
        # The first token of an echoed prompt has no probability.
        if isinstance(token, str) and _is_number(logprob):
            _check(logprob)
            others = top.items() if isinstance(top, dict) else ()
            pairs = ((name, float(other)) for name, other in others if _is_number(other))
            yield TokenLogprob(token, float(logprob), _sort_pairs(pairs))


def _read_pair(entry: Any) -> Pair | None:
    if not isinstance(entry, dict):
        return None
    token, logprob = entry.get("token"), entry.get("logprob")
    if not isinstance(token, str) or not _is_number(logprob):
        return None
    return token.encode("utf-8", "replace").decode(), float(logprob)


def _sort_pairs(pairs: Any) -> tuple[Pair, ...]:
    finite = [pair for pair in pairs if pair is not None and math.isfinite(pair[1])]
    return tuple(sorted(finite, key=lambda pair: -pair[1]))


def _check(logprob: float) -> None:
    if not math.isfinite(logprob):
        raise InvalidResponse(
            "A token's log-probability in the answer is no finite number.",
            next_step="The server's model computes none: its weights are damaged, or its dtype is too narrow.",
        )


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def encode_chat_logprobs(tokens: Iterable[TokenLogprob]) -> dict[str, Any]:
    """Return the `logprobs` of a chat's choice."""

    def encode(token: str, logprob: float) -> dict[str, Any]:
        return {"token": token, "logprob": logprob, "bytes": list(token.encode())}

    content = [
        {**encode(token, logprob), "top_logprobs": [encode(*pair) for pair in top]} for token, logprob, top in tokens
    ]
    return {"content": content, "refusal": None}


def encode_completion_logprobs(tokens: Iterable[TokenLogprob]) -> dict[str, Any]:
    """Return the `logprobs` of a completion's choice."""
    body: dict[str, Any] = {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}
    offset = 0
    for token, logprob, top in tokens:
        body["tokens"].append(token)
        body["token_logprobs"].append(logprob)
        body["top_logprobs"].append(dict(top))
        body["text_offset"].append(offset)
        offset += len(token)
    return body
