"""A check of a model's forward pass at load time.

Recurrent models keep their state between single tokens but may drop it between chunks, and some count positions from 0
in every call: the text is wrong then, and nothing fails. So a short sequence is computed in one pass, token by token
and in chunks, with the caches and positions that requests use, and the scores are compared.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch

from openmodels.backends.local.engines.torch.loader import is_out_of_memory
from openmodels.backends.local.engines.torch.unbatched_model import UnbatchedModel

PROBE_LENGTH = 8  # tokens of the sequence that is tried
_MAX_PROBE_LENGTH = 160
"""The longest sequence that is worth its time, so that a window of attention leaves tokens behind."""
_LAST = 3  # tokens that are computed one by one, and as a chunk, after the others
_MAX_STEP_DISTANCE = 0.015  # how far the scores of single tokens may be off in float32
_MAX_STEP_DISTANCE_HALF = 0.2
"""The same in half precision; computing the whole sequence for every token instead is slow."""
_MAX_DISTANCE_HALF = 0.1  # how far the scores of sequences that share a forward pass may be off in half precision
_WINDOW_FIELDS = ("sliding_window", "attention_window_size", "window_size", "attention_chunk_size", "chunk_size")


def check_unbatched(runner: UnbatchedModel, dtype: torch.dtype) -> None:
    """Find out how a model computes a sequence: `whole_prompt` and `recompute`.

    The model's own error for a sequence in one pass is raised: it cannot run at all.
    """
    config = runner.model.config.get_text_config(decoder=True)
    text = probe_tokens(PROBE_LENGTH, config.vocab_size)
    reference = runner.start(text).extend(text, logits_to_keep=PROBE_LENGTH)
    if len(reference) < PROBE_LENGTH:
        runner.whole_prompt = "it gives scores after its last token alone"
        return
    prefix = PROBE_LENGTH - _LAST
    noise, why = _measure(runner, text, prefix, [prefix, *_LAST * [1]], reference=reference, dtype=dtype)
    # `generate` takes the same steps, so what they round differently (0.006 in Zamba2) is as it is there.
    if noise > (_MAX_STEP_DISTANCE if dtype is torch.float32 else _MAX_STEP_DISTANCE_HALF):
        shorter = runner.start(text[:prefix]).extend(text[:prefix])
        if is_close(shorter, reference[prefix - 1 : prefix], dtype):
            runner.recompute = f"its scores are others when its newest token is computed by itself{why}"
        else:
            # The whole sequence's scores are not those of a shorter prompt: steps cannot be judged by them.
            runner.whole_prompt = "each token of its prompt sees the whole prompt"
        return
    # Steps show what rounding does; a state that is lost does little more (0.022 against 0.004 in a small mamba).
    limit = _choose_limit(dtype, min(_MAX_STEP_DISTANCE_HALF, max(2 * noise, 0.005)))
    cases = [(text, PROBE_LENGTH, [prefix, _LAST])]
    if not runner.is_stepwise:
        cases.append((text, prefix, [prefix, _LAST]))
    if (length := _probe_length(config)) > PROBE_LENGTH:
        # Some models forget what their window leaves behind only between passes: `generate` has it in the prompt.
        cases.append((probe_tokens(length, config.vocab_size), length, [prefix, length - PROBE_LENGTH, _LAST]))
    for tokens, prompt, sizes in cases:
        if tokens is not text:
            reference = runner.start(tokens).extend(tokens, logits_to_keep=len(tokens))
        gap, why = _measure(runner, tokens, prompt, sizes, reference=reference, dtype=dtype)
        if gap > limit:
            runner.whole_prompt = f"its scores are others when its prompt is computed in chunks{why}"
            return


def probe_tokens(length: int, vocab_size: int, number: int = 1) -> list[int]:
    """Return a sequence to try."""
    # The first tokens of a vocabulary often have a meaning of their own.
    return [(7 * place + 3 * number) % vocab_size for place in range(length)]


def is_close(scores: torch.Tensor, due: torch.Tensor, dtype: torch.dtype) -> bool:
    """Return whether scores, shape (tokens, vocabulary), differ by rounding alone."""
    return measure_distance(scores, due, dtype) <= _choose_limit(dtype, _MAX_DISTANCE_HALF)


def measure_distance(scores: torch.Tensor, due: torch.Tensor, dtype: torch.dtype) -> float:
    """Return the relative distance of scores from what they should be."""
    # It is infinite where they are NaN. The furthest token decides. In half precision it is the median token, since
    # rounding may route one to another expert.
    scores, due = scores.float(), due.float()
    # A token whose weights are damaged proves nothing; requests with it fail.
    finite = due.isfinite().all(dim=-1)
    scores, due = scores[finite], due[finite]
    if not len(due):
        return 0.0
    # What is added to all scores of a token changes nothing, and would hide a difference.
    centred = due - due.mean(dim=-1, keepdim=True)
    gap = scores - scores.mean(dim=-1, keepdim=True) - centred
    relative = (gap.norm(dim=-1) / centred.norm(dim=-1).clamp(min=1e-6)).nan_to_num(nan=torch.inf)
    return float(relative.max() if dtype is torch.float32 else relative.median())


def _measure(
    runner: UnbatchedModel,
    text: Sequence[int],
    prompt: int,
    sizes: Sequence[int],
    *,
    reference: torch.Tensor,
    dtype: torch.dtype,
) -> tuple[float, str]:
    """Return how far the chunks after the first are from one pass, and the error.

    The distance is infinite where they fail.
    """
    scores, due, done = [], [], sizes[0]
    try:
        sequence = runner.start(text[:prompt])
        sequence.extend(text[:done], logits_to_keep=done)
        for size in sizes[1:]:
            scores.append(sequence.extend(text[done : done + size], logits_to_keep=size))
            done += size
            due.append(reference[done - len(scores[-1]) : done])
        return measure_distance(torch.cat(scores), torch.cat(due), dtype), ""
    except Exception as error:
        if is_out_of_memory(error):
            raise
        return math.inf, f": {type(error).__name__}"


def _choose_limit(dtype: torch.dtype, limit: float) -> float:
    return 1e-3 if dtype is torch.float32 else limit


def _probe_length(config: Any) -> int:
    sizes = [getattr(config, name, None) for name in _WINDOW_FIELDS]
    windows = [size for size in sizes if isinstance(size, int) and 0 < size + PROBE_LENGTH <= _MAX_PROBE_LENGTH]
    context = getattr(config, "max_position_embeddings", None)
    longest = context if isinstance(context, int) and context > 0 else _MAX_PROBE_LENGTH
    return max(PROBE_LENGTH, min(max(windows) + PROBE_LENGTH, longest)) if windows else PROBE_LENGTH
