"""The `logprobs` of a choice, of chat endpoints and of legacy completions."""

from __future__ import annotations

import math
from collections.abc import Iterator
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
        return tuple(_chat(content))
    if isinstance(listed := value.get("tokens"), list):
        return tuple(_legacy(listed, value.get("token_logprobs"), value.get("top_logprobs")))
    return ()


def _chat(content: list[Any]) -> Iterator[TokenLogprob]:
    for entry in content:
        if (pair := _pair(entry)) is None:
            continue
        _check(pair[1])
        others = entry.get("top_logprobs")
        yield TokenLogprob(*pair, _ordered(map(_pair, others if isinstance(others, list) else ())))


def _legacy(listed: list[Any], chances: Any, tops: Any) -> Iterator[TokenLogprob]:
    chances = chances if isinstance(chances, list) else []
    tops = tops if isinstance(tops, list) else []
    for at, token in enumerate(listed):
        chance = chances[at] if at < len(chances) else None
        top = tops[at] if at < len(tops) else None
        # The first token of an echoed prompt has no probability.
        if not isinstance(token, str) or not _number(chance):
            continue
        _check(chance)
        others = top.items() if isinstance(top, dict) else ()
        yield TokenLogprob(token, float(chance), _ordered((name, float(n)) for name, n in others if _number(n)))


def _pair(entry: Any) -> Pair | None:
    if not isinstance(entry, dict):
        return None
    token, chance = entry.get("token"), entry.get("logprob")
    return (_encodable(token), float(chance)) if isinstance(token, str) and _number(chance) else None


def _ordered(pairs: Any) -> tuple[Pair, ...]:
    finite = [pair for pair in pairs if pair is not None and math.isfinite(pair[1])]
    return tuple(sorted(finite, key=lambda pair: -pair[1]))


def _check(logprob: float) -> None:
    if not math.isfinite(logprob):
        raise InvalidResponse(
            "A token's log-probability in the answer is no finite number.",
            next_step="The server's model computes none: its weights are damaged, or its dtype is too narrow.",
        )


def _number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _encodable(token: str) -> str:
    return token.encode("utf-8", "replace").decode("utf-8") if not token.isascii() else token
