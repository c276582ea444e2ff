"""What a model's forward pass can be trusted with, tried when the model is loaded.

Recurrent models keep their state between single tokens but may drop it between chunks, and some count positions from 0
in every call: the text is wrong then, and nothing fails. So a short sequence is computed in one pass, in steps and in
chunks, with the caches and positions that requests use, and the scores are compared.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from openmodels.backends.local.engines.torch.loader import is_out_of_memory
from openmodels.backends.local.engines.torch.single_sequence import SequentialModel

PROBE = 8
"""Tokens of the sequence that is tried."""
_LONGEST = 160
"""The longest that is worth its time, to have a window of attention left behind."""
_LAST = 3
"""Tokens that are computed in steps, and as a chunk, after the others."""
_STEPS = 0.015
"""How far single steps may be in float32."""
_MOST = 0.2
"""How far single steps may be in half precision: the alternative is slow."""
_WINDOWS = ("sliding_window", "attention_window_size", "window_size", "attention_chunk_size", "chunk_size")


def prove(runner: SequentialModel, dtype: torch.dtype) -> None:
    """Find out how to feed a model that computes one sequence at a time, and note it on the runner.

    Raises:
        Exception: What the model raises for a whole sequence: it cannot run at all.
    """
    config = runner.model.config.get_text_config(decoder=True)
    text = probe(PROBE, config.vocab_size)
    whole = runner.begin(text).extend(text, keep=PROBE)
    if len(whole) < PROBE:
        runner.whole_prompt = "it gives scores after its last token alone"
        return
    begun = PROBE - _LAST
    noise, why = _try(runner, text, begun, [begun, *_LAST * [1]], whole=whole, dtype=dtype)
    # `generate` takes the same steps, so what they round differently (0.006 in Zamba2) is as it is there.
    if noise > (_STEPS if dtype is torch.float32 else _MOST):
        shorter = runner.begin(text[:begun]).extend(text[:begun])
        if same(shorter, whole[begun - 1 : begun], dtype):
            runner.recompute = f"its scores are others when its newest token is computed by itself{why}"
        else:
            # The whole sequence's scores are not those of a shorter prompt: steps cannot be judged by them.
            runner.whole_prompt = "each token of its prompt sees the whole prompt"
        return
    # Steps show what rounding does; a state that is lost does little more (0.022 against 0.004 in a small mamba).
    limit = _limit(dtype, min(_MOST, max(2 * noise, 0.005)))
    tries = [(text, PROBE, [begun, _LAST])]
    if not runner.steps_singly:
        tries.append((text, begun, [begun, _LAST]))
    if (length := _length(config)) > PROBE:
        # Some models forget what their window leaves behind only between passes: `generate` has it in the prompt.
        tries.append((probe(length, config.vocab_size), length, [begun, length - PROBE, _LAST]))
    for tokens, prompt, sizes in tries:
        if tokens is not text:
            whole = runner.begin(tokens).extend(tokens, keep=len(tokens))
        gap, why = _try(runner, tokens, prompt, sizes, whole=whole, dtype=dtype)
        if gap > limit:
            runner.whole_prompt = f"its scores are others when its prompt is computed in chunks{why}"
            return


def probe(length: int, vocabulary: int, number: int = 1) -> list[int]:
    """Return a sequence to try; the first tokens of a vocabulary often have a meaning of their own."""
    return [(7 * place + 3 * number) % vocabulary for place in range(length)]


def same(scores: torch.Tensor, due: torch.Tensor, dtype: torch.dtype, limit: float = 0.1) -> bool:
    """Return whether scores are equal up to rounding, each of shape (tokens, vocabulary).

    Args:
        scores: What is compared.
        due: What they should be.
        dtype: Of the model.
        limit: The largest distance in half precision.
    """
    return distance(scores, due, dtype) <= _limit(dtype, limit)


def distance(scores: torch.Tensor, due: torch.Tensor, dtype: torch.dtype) -> float:
    """Return how far scores are from what they should be, as a share of these; infinite where they are no numbers.

    The furthest token decides. In half precision it is the median, since one may be routed to another expert.
    """
    scores, due = scores.float(), due.float()
    # A token whose weights are damaged proves nothing; requests with it fail.
    finite = due.isfinite().all(dim=-1)
    scores, due = scores[finite], due[finite]
    if not len(due):
        return 0.0
    # What is added to all scores of a token changes nothing, and would hide a difference.
    centred = due - due.mean(dim=-1, keepdim=True)
    gap = scores - scores.mean(dim=-1, keepdim=True) - centred
    share = (gap.norm(dim=-1) / centred.norm(dim=-1).clamp(min=1e-6)).nan_to_num(nan=torch.inf)
    return float(share.max() if dtype is torch.float32 else share.median())


def _parted(
    runner: SequentialModel, text: Sequence[int], prompt: int, sizes: Sequence[int], whole: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the scores of a sequence computed in parts of these sizes, and what they should be, but for the first."""
    sequence, done, scores, due = runner.begin(text[:prompt]), 0, [], []
    for size in sizes:
        part = sequence.extend(text[done : done + size], keep=size)
        done += size
        if done > size:
            scores.append(part)
            due.append(whole[done - len(part) : done])
    return torch.cat(scores), torch.cat(due)


def _try(
    runner: SequentialModel,
    text: Sequence[int],
    prompt: int,
    sizes: Sequence[int],
    *,
    whole: torch.Tensor,
    dtype: torch.dtype,
) -> tuple[float, str]:
    """Return how far a sequence in parts is from the whole one, infinite where it fails, and the failure's name."""
    try:
        return distance(*_parted(runner, text, prompt, sizes, whole), dtype), ""
    except Exception as error:
        if is_out_of_memory(error):
            raise
        return math.inf, f": {type(error).__name__}"


def _limit(dtype: torch.dtype, limit: float) -> float:
    return 1e-3 if dtype is torch.float32 else limit


def _length(config: Any) -> int:
    sizes = [getattr(config, name, None) for name in _WINDOWS]
    windows = [size for size in sizes if isinstance(size, int) and 0 < size + PROBE <= _LONGEST]
    context = getattr(config, "max_position_embeddings", None)
    longest = context if isinstance(context, int) and context > 0 else _LONGEST
    return max(PROBE, min(max(windows, default=0) + PROBE, longest)) if windows else PROBE
