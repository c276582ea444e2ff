"""Log-probabilities of given texts on the wire: `prompt_logprobs` and `echo`.

vLLM's way comes first: the server's own tokenizer makes those of the prompt and of each continuation, so that they are
joined exactly, and the prompt's log-probabilities come by id. A server without `/tokenize` gets the joined text, to be
echoed; that is exact where its tokens fall apart at the end of the prompt.
"""

import math
from collections.abc import Sequence
from typing import Any, TypeGuard

from openmodels.errors import InvalidResponse, UnsupportedFeature
from openmodels.openai_wire.decode import json_object
from openmodels.openai_wire.encode import add_extra, encode_chat
from openmodels.types.scores import ContinuationScore, ScoredToken, ScoreRequest

_NO_LOGPROBS = "The server gives no log-probabilities of a given text, which 'score' needs."
_NEXT_STEP = "Use a server that does, e.g. vLLM, or the backend 'local'."


def encode_prompt(request: ScoreRequest, model: str | None) -> dict[str, Any]:
    """Return the body that asks `/tokenize` for the tokens of the prompt."""
    if request.prompt is not None:
        return encode_text(request.prompt, model, special=True)
    body = encode_chat(request.to_chat().model_copy(update={"extra": {}, "stream": False}), model, ())
    chosen = {name: body[name] for name in ("model", "messages") if name in body}
    variables = {name: request.extra[name] for name in ("chat_template_kwargs",) if name in request.extra}
    return chosen | {"add_generation_prompt": True, "add_special_tokens": False} | variables


def encode_text(text: str, model: str | None, *, special: bool = False) -> dict[str, Any]:
    """Return the body that asks `/tokenize` for the tokens of a text."""
    return ({} if model is None else {"model": model}) | {"prompt": text, "add_special_tokens": special}


def read_tokens(body: bytes) -> list[int]:
    """Return the token ids of an answer of `/tokenize`."""
    tokens = json_object(body).get("tokens")
    if not isinstance(tokens, list) or not all(type(token) is int for token in tokens):
        raise InvalidResponse("The answer of /tokenize holds no list of token ids.")
    return tokens


def encode_sequences(sequences: Sequence[list[int]], model: str | None) -> dict[str, Any]:
    """Return the body that asks for the log-probabilities of sequences of tokens."""
    # One token is made and dropped, since many versions refuse to make none.
    body: dict[str, Any] = {} if model is None else {"model": model}
    return body | {"prompt": list(sequences), "max_tokens": 1, "temperature": 0, "prompt_logprobs": 0}


def encode_scoring(sequences: Sequence[list[int]], request: ScoreRequest, model: str | None) -> dict[str, Any]:
    """Return the body of a request for scores, for its sequences of tokens."""
    extra = {name: value for name, value in request.extra.items() if name != "chat_template_kwargs"}
    return add_extra(encode_sequences(sequences, model), extra, "stream", "n", "echo", "logprobs")


def read_scores(
    body: bytes, prompt: int, continuations: Sequence[list[int]], texts: Sequence[str]
) -> tuple[ContinuationScore, ...]:
    """Return the scores of continuations behind a prompt of `prompt` tokens.

    Raises:
        UnsupportedFeature: The server ignores `prompt_logprobs`.
        InvalidResponse: They are not those of the tokens that were sent.
    """
    choices = json_object(body).get("choices")
    rows = [choice for choice in choices if isinstance(choice, dict)] if isinstance(choices, list) else []
    if rows and all(row.get("prompt_logprobs") is None for row in rows):
        raise UnsupportedFeature(_NO_LOGPROBS, next_step=_NEXT_STEP)
    rows.sort(key=lambda row: row.get("index") or 0)
    if len(rows) != len(continuations):
        raise InvalidResponse(f"The answer has {len(rows)} choices for {len(continuations)} prompts.")
    scores = []
    for row, tokens, text in zip(rows, continuations, texts, strict=True):
        entries = row.get("prompt_logprobs")
        if not isinstance(entries, list) or len(entries) != prompt + len(tokens):
            raise InvalidResponse("The answer's prompt_logprobs are not one for each token of the prompt.")
        scored = tuple(_read_entry(token, entry) for token, entry in zip(tokens, entries[prompt:], strict=True))
        scores.append(ContinuationScore(text, scored))
    return tuple(scores)


def _read_entry(token: int, entry: Any) -> ScoredToken:
    fields = entry.get(str(token)) if isinstance(entry, dict) else None
    logprob = fields.get("logprob") if isinstance(fields, dict) else None
    if not isinstance(fields, dict) or not _is_logprob(logprob):
        raise InvalidResponse("The answer's prompt_logprobs hold no finite number for a token that was sent.")
    text, rank = fields.get("decoded_token"), fields.get("rank")
    is_likeliest = rank == 1 if isinstance(rank, int) else None
    return ScoredToken(text if isinstance(text, str) else "", float(logprob), token, is_likeliest)


def encode_echo(request: ScoreRequest, model: str | None) -> dict[str, Any]:
    """Return the body that asks for an echo of the joined texts."""
    body: dict[str, Any] = {} if model is None else {"model": model}
    prompts = [f"{request.prompt}{text}" for text in request.continuations]
    body |= {"prompt": prompts, "max_tokens": 1, "temperature": 0, "echo": True, "logprobs": 1}
    return add_extra(body, request.extra, "stream", "n", "prompt_logprobs")


def read_echo(body: bytes, request: ScoreRequest) -> tuple[ContinuationScore, ...]:
    """Return the scores of continuations whose joined texts were echoed.

    Raises:
        UnsupportedFeature: The server echoes no log-probabilities, or its tokens do not show where the prompt ends.
        InvalidResponse: One is not a finite number.
    """
    choices = json_object(body).get("choices")
    rows = [choice for choice in choices if isinstance(choice, dict)] if isinstance(choices, list) else []
    rows.sort(key=lambda row: row.get("index") or 0)
    if len(rows) != len(request.continuations):
        raise InvalidResponse(f"The answer has {len(rows)} choices for {len(request.continuations)} prompts.")
    return tuple(
        ContinuationScore(text, tuple(_read_echoed(row.get("logprobs"), request.prompt or "", text)))
        for row, text in zip(rows, request.continuations, strict=True)
    )


def _read_echoed(logprobs: Any, prompt: str, text: str) -> list[ScoredToken]:
    fields = logprobs if isinstance(logprobs, dict) else {}
    tokens, values, tops = (fields.get(name) for name in ("tokens", "token_logprobs", "top_logprobs"))
    if not isinstance(tokens, list) or not isinstance(values, list) or not "".join(map(str, tokens)).startswith(prompt):
        raise UnsupportedFeature(_NO_LOGPROBS, next_step=_NEXT_STEP)
    tops = tops if isinstance(tops, list) else [None] * len(tokens)
    scored, position = [], 0
    for token, logprob, top in zip(map(str, tokens), values, tops, strict=True):
        begin, position = position, position + len(token)
        if begin >= len(prompt) + len(text):
            break  # what was generated
        if position <= len(prompt):
            continue
        if not _is_logprob(logprob):
            raise InvalidResponse("A token's log-probability in the answer is no finite number.")
        best = max(top.values()) if isinstance(top, dict) and all(map(_is_logprob, top.values())) and top else None
        scored.append((begin, ScoredToken(token, float(logprob), None, None if best is None else logprob >= best)))
    # Characters of several tokens, and words that the prompt's end begins, cannot be told apart by their texts.
    if not scored or scored[0][0] != len(prompt) or "".join(token.text for _, token in scored) != text:
        raise UnsupportedFeature(
            "The server's tokens do not show where the prompt ends and a continuation begins, so it has no exact "
            "'score' of it.",
            next_step="End the prompt before a space and begin the continuation with it, or use a server with "
            "/tokenize, e.g. vLLM.",
        )
    return [token for _, token in scored]


def _is_logprob(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
