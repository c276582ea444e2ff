"""The choice of the next token, with a random generator for each request.

A token takes one number from the request's own generator: the place where that number falls in the cumulated
probabilities. So a seed gives the same text in a batch of any size. transformers' `generate` draws from the global
random state, where overlapping calls take each other's numbers.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

from openmodels.backends.local import generation_config
from openmodels.backends.local.prompt.prepare import SamplingParams
from openmodels.errors import LoadFailed

_TOP_P_CANDIDATES = 256
"""The likeliest tokens among which `top_p` is searched first: sorting a vocabulary takes milliseconds."""


class Sampler:
    """Samples the tokens of one request.

    Of the penalties, only that for repetition counts the prompt's tokens. `vocab_size` is the number of scores of a
    step (the vocabulary with its padding), `defaults` the model's `GenerationConfig`.
    """

    def __init__(
        self,
        params: SamplingParams,
        defaults: Any,
        prompt: Sequence[int],
        vocab_size: int,
        device: torch.device,
        *,
        max_new_tokens: int = 0,
        eos_token_ids: Sequence[int] = (),
    ) -> None:
        self.params = params
        self._counts: torch.Tensor | None = None
        self._seen: torch.Tensor | None = None
        if params.frequency_penalty or params.presence_penalty:
            self._counts = torch.zeros(vocab_size, device=device)
        self._processors = generation_config.make_processors(
            defaults, params, prompt, max_new_tokens=max_new_tokens, eos_token_ids=eos_token_ids, device=device
        )
        self._warpers = generation_config.make_warpers(defaults, params, size=vocab_size, device=device)
        self._tokens = list(prompt) if self._processors or self._warpers else None
        if params.repetition_penalty != 1.0 and self._processors is None:
            self._seen = torch.zeros(vocab_size, dtype=torch.bool, device=device)
            self._seen[torch.tensor(prompt, dtype=torch.long, device=device)] = True
        self._generator = torch.Generator(device).manual_seed(params.seed) if params.temperature > 0 else None

    def sample(self, scores: torch.Tensor, mask: Callable[[torch.Tensor], torch.Tensor] | None = None) -> int:
        """Return the next token by scores of shape (vocabulary,), any float type.

        `mask` returns scores with minus infinity where a token may not come; None where any may.
        """
        scores = self._masked(scores, mask)
        if self._seen is not None or self._counts is not None:
            scores = self._penalise(scores.float())
        if self._warpers is not None and self._generator is None:
            scores = self._warpers(self._ids(scores), scores.float()[None])[0]
        best = scores.max(dim=-1)
        check_finite(float(best.values))
        token = int(best.indices) if self._generator is None else self._draw(scores.float(), self._generator)
        self.record(token)
        return token

    def record(self, token: int) -> None:
        """Count a token of the answer for the penalties."""
        if self._tokens is not None:
            self._tokens.append(token)
        if self._counts is not None:
            self._counts[token] += 1
        if self._seen is not None:
            self._seen[token] = True

    def _masked(self, scores: torch.Tensor, mask: Callable[[torch.Tensor], torch.Tensor] | None) -> torch.Tensor:
        """Return the scores as the model's own processors and the mask leave them."""
        if self._processors is None:
            return scores if mask is None else mask(scores)
        # Before the mask: processors add to scores, and infinities would become NaN.
        processed: torch.Tensor = self._processors(self._ids(scores), scores.float()[None])[0]
        if mask is None:
            return processed
        masked = mask(processed)
        # Where the model's config suppresses all that the answer's form allows, the form counts.
        return masked if float(masked.max()) > -math.inf else mask(scores)

    def _ids(self, scores: torch.Tensor) -> torch.Tensor:
        return torch.tensor([self._tokens], device=scores.device)

    def _penalise(self, scores: torch.Tensor) -> torch.Tensor:
        if self._seen is not None:
            penalty = self.params.repetition_penalty
            scores = torch.where(self._seen, torch.where(scores > 0, scores / penalty, scores * penalty), scores)
        if self._counts is not None:
            frequency, presence = self.params.frequency_penalty, self.params.presence_penalty
            scores = scores - self._counts * frequency - (self._counts > 0) * presence
        return scores

    @property
    def is_greedy(self) -> bool:
        """Whether the next token is the likeliest one by the raw scores."""
        return self._generator is None and self._counts is None and self._seen is None and self._tokens is None

    def _draw(self, scores: torch.Tensor, generator: torch.Generator) -> int:
        if self._warpers is not None:
            probabilities = self._warpers(self._ids(scores), scores[None])[0].softmax(dim=-1)
            return self._draw_index(probabilities, generator)
        order: torch.Tensor | None = None
        # A tiny temperature would overflow the division; from there on it is greedy anyway.
        scores = scores / max(self.params.temperature, 1e-4)
        if 0 < self.params.top_k < scores.numel():
            scores, order = scores.topk(self.params.top_k)
        probabilities = scores.softmax(dim=-1)
        if self.params.top_p < 1.0:
            probabilities, within = _largest(probabilities, self.params.top_p)
            order = within if order is None else order[within]
            # A token stays while the likelier ones before it have not reached top_p; the first always does.
            probabilities = probabilities[probabilities.cumsum(dim=-1) - probabilities < self.params.top_p]
        at = self._draw_index(probabilities, generator)
        return at if order is None else int(order[at])

    @staticmethod
    def _draw_index(probabilities: torch.Tensor, generator: torch.Generator) -> int:
        """Return the index that the generator's next number falls on."""
        # In float64: the rounding of a hundred thousand float32 sums would move the bounds. MPS has no float64.
        bounds = probabilities.cumsum(
            dim=-1, dtype=torch.float32 if probabilities.device.type == "mps" else torch.float64
        )
        number = torch.rand((), dtype=bounds.dtype, device=bounds.device, generator=generator)
        # Rounding can put the product onto the last bound, behind every token.
        return min(int(torch.searchsorted(bounds, number * bounds[-1], right=True)), int(probabilities.nonzero()[-1]))


def check_finite(score: float) -> None:
    """Raise LoadFailed where the largest of a token's scores is not finite."""
    # A score is NaN or all are minus infinity: the answer would be noise.
    if not math.isfinite(score):
        raise not_finite("scores")


def not_finite(what: str) -> LoadFailed:
    """Return the error for a model that computes NaN or infinities."""
    return LoadFailed(
        f"The model's {what} are not finite numbers: its weights are damaged, or its dtype is too narrow for them.",
        next_step="Load it with dtype='float32'; if that does not help, fetch it again.",
    )


def _largest(probabilities: torch.Tensor, top_p: float) -> tuple[torch.Tensor, torch.Tensor]:
    top = probabilities.topk(min(_TOP_P_CANDIDATES, probabilities.numel()))
    if top.values.sum() >= top_p:
        return top.values, top.indices
    ordered, order = probabilities.sort(descending=True)
    return ordered, order
