"""Choosing the next token, with randomness that belongs to the request alone.

A token takes one number from the request's own generator and is where that number falls in the
cumulated chances, so a seed gives the same text whatever runs beside it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

from openmodels.backends.local import generation_config
from openmodels.backends.local.prompt.prepare import SamplingParams
from openmodels.errors import LoadFailed
from openmodels.types.request import ChatRequest

_FEW = 256
"""The likeliest tokens among which `top_p` is looked for first."""


class Sampler:
    """Picks tokens for one request.

    Args:
        request: Temperature, top_p, top_k, penalties and seed; what it leaves open is taken from
            the model's own `generation_config`, as transformers does.
        defaults: The model's `generation_config`.
        prompt: The prompt's tokens; only the repetition penalty counts them.
        size: The number of scores a step gives (the vocabulary with its padding).
        device: Where the scores are.
        max_new_tokens: Tokens that the answer may have.
        eos_token_ids: The tokens that end it.

    Attributes:
        sampling: What the request and the defaults come to.
    """

    def __init__(
        self,
        request: ChatRequest,
        defaults: Any,
        prompt: Sequence[int],
        size: int,
        device: torch.device,
        *,
        max_new_tokens: int = 0,
        eos_token_ids: Sequence[int] = (),
    ) -> None:
        self.sampling = SamplingParams.from_request(request, defaults)
        self._frequency = request.frequency_penalty or 0.0
        self._presence = request.presence_penalty or 0.0
        self._counts: torch.Tensor | None = None
        self._seen: torch.Tensor | None = None
        if self._frequency or self._presence:
            self._counts = torch.zeros(size, device=device)
        self._processors = generation_config.processors(
            defaults, self.sampling, prompt, max_new_tokens=max_new_tokens, eos_token_ids=eos_token_ids, device=device
        )
        self._warpers = generation_config.warpers(defaults, self.sampling, size=size, device=device)
        self._tokens = list(prompt) if self._processors or self._warpers else None
        if self.sampling.repetition_penalty != 1.0 and self._processors is None:
            self._seen = torch.zeros(size, dtype=torch.bool, device=device)
            self._seen[torch.tensor(prompt, dtype=torch.long, device=device)] = True
        self._generator: torch.Generator | None = None
        if self.sampling.temperature > 0:
            self._generator = torch.Generator(device)
            self._generator.manual_seed(self.sampling.seed)

    def pick(self, scores: torch.Tensor, mask: Callable[[torch.Tensor], torch.Tensor] | None = None) -> int:
        """Return the next token.

        Args:
            scores: The model's scores for the next token, shape (vocabulary,), any float type.
            mask: Returns scores with minus infinity where a token may not come; None where any may.

        Raises:
            LoadFailed: They are no finite numbers, or no token is left.
        """
        scores = self._masked(scores, mask)
        if self._seen is not None or self._counts is not None:
            scores = self._penalise(scores.float())
        if self._warpers is not None and self._generator is None:
            scores = self._warpers(self._ids(scores), scores.float()[None])[0]
        best = scores.max(dim=-1)
        check_largest(float(best.values))
        token = int(best.indices) if self._generator is None else self._draw(scores.float(), self._generator)
        self.count(token)
        return token

    def count(self, token: int) -> None:
        """Let the penalties count a token that came."""
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
        # Processors add to scores, so that they come before the mask: infinities would give what is no number.
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
            worse = torch.where(
                scores > 0, scores / self.sampling.repetition_penalty, scores * self.sampling.repetition_penalty
            )
            scores = torch.where(self._seen, worse, scores)
        if self._counts is not None:
            scores = scores - self._counts * self._frequency - (self._counts > 0) * self._presence
        return scores

    @property
    def plain(self) -> bool:
        """Whether the token is the likeliest one by the raw scores."""
        return self._generator is None and self._counts is None and self._seen is None and self._tokens is None

    def _draw(self, scores: torch.Tensor, generator: torch.Generator) -> int:
        if self._warpers is not None:
            return self._fallen(self._warpers(self._ids(scores), scores[None])[0].softmax(dim=-1), generator)
        order: torch.Tensor | None = None
        # A tiny temperature would overflow the division; from there on it is greedy anyway.
        scores = scores / max(self.sampling.temperature, 1e-4)
        if 0 < self.sampling.top_k < scores.numel():
            scores, order = scores.topk(self.sampling.top_k)
        chances = scores.softmax(dim=-1)
        if self.sampling.top_p < 1.0:
            chances, within = _largest(chances, self.sampling.top_p)
            order = within if order is None else order[within]
            # A token stays while the likelier ones before it have not reached top_p; the first always does.
            chances = chances[chances.cumsum(dim=-1) - chances < self.sampling.top_p]
        at = self._fallen(chances, generator)
        return at if order is None else int(order[at])

    @staticmethod
    def _fallen(chances: torch.Tensor, generator: torch.Generator) -> int:
        """Return where the generator's next number falls in the cumulated chances."""
        bounds = chances.cumsum(dim=-1, dtype=torch.float32 if chances.device.type == "mps" else torch.float64)
        number = torch.rand((), dtype=bounds.dtype, device=bounds.device, generator=generator)
        # Rounding can put the product onto the last bound, behind every token.
        return min(int(torch.searchsorted(bounds, number * bounds[-1], right=True)), int(chances.nonzero()[-1]))


def check_largest(score: float) -> None:
    """Check the largest of a token's scores, which is not finite where one is no number, or all are minus infinity.

    Raises:
        LoadFailed: It is not finite: any token would be as good, and the answer would be noise.
    """
    if not math.isfinite(score):
        raise not_finite("scores")


def not_finite(what: str) -> LoadFailed:
    """Return the error for a model that computes what is no number."""
    return LoadFailed(
        f"The model's {what} are not finite numbers: its weights are damaged, or its dtype is too narrow for them.",
        next_step="Load it with dtype='float32'; if that does not help, fetch it again.",
    )


def _largest(chances: torch.Tensor, share: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Return enough of the largest chances to add up to `share`, and where they are, largest first."""
    few = chances.topk(min(_FEW, chances.numel()))
    # Sorting a whole vocabulary takes milliseconds, and is hardly ever needed.
    if few.values.sum() >= share:
        return few.values, few.indices
    ordered, order = chances.sort(descending=True)
    return ordered, order
