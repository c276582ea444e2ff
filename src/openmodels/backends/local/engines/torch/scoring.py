"""Continuations of one prompt, scored in forward passes that they share.

The prompt is computed once. The continuations follow it as branches: they are stored one behind the other in the
prompt's slot, each at the positions right after the prompt, and none sees another. So no keys and values are copied,
and eight continuations cost one pass over the prompt and one over their own tokens, mostly the same.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from openmodels.backends.local.engines.torch.sampling import check_finite
from openmodels.backends.local.prompt.scoring import PreparedScores, prepare_scores
from openmodels.errors import UnsupportedFeature
from openmodels.types.scores import ScoreRequest

if TYPE_CHECKING:
    from openmodels.backends.local.engines.engine_loop import QueuedRequest
    from openmodels.backends.local.engines.torch.kv_cache import Slot
    from openmodels.backends.local.engines.torch.loader import LoadedModel
    from openmodels.backends.local.engines.torch.unbatched_model import UnbatchedModel, UnbatchedSequence

_MAX_BRANCHED = 256
"""Tokens of continuations in one step at most: the scores after each of them are held at once."""
_ROWS = 32
"""Tokens whose scores are made log-probabilities at once, in float32."""


@dataclass(slots=True)
class ScoringPass:
    """What a step computes for a scoring sequence.

    Attributes:
        tokens: The tokens that follow what the slot holds: the rest of the prompt, then those of branches.
        branches: For each branch, its continuation and which of its tokens, as (number, start, stop).
        has_prompt_end: Whether the prompt's last token is among them, after which every continuation begins.
        is_partial: Whether more of the prompt follows in a later step.
    """

    tokens: list[int]
    branches: list[tuple[int, int, int]]
    has_prompt_end: bool = False
    is_partial: bool = False

    @property
    def branch_lengths(self) -> list[int]:
        """The lengths of the branches."""
        return [stop - start for _, start, stop in self.branches]

    @property
    def wanted(self) -> int:
        """After how many of the tokens, counted from the last, scores are wanted."""
        return sum(self.branch_lengths) + (self.has_prompt_end or self.is_partial)


class ScoringSequence:
    """The continuations of a prompt while they are scored.

    Attributes:
        tokens: The tokens of the prompt.
        slot: The place of the keys and values; while a continuation is computed in parts, with those of its parts.
        cached_tokens: Tokens of the prompt that were not computed again.
        is_finished: Whether every token has its score.
        steps: The steps of `run_unbatched`, where the model computes one sequence at a time.
    """

    def __init__(self, queued: QueuedRequest, request: ScoreRequest, loaded: LoadedModel) -> None:
        self.queued = queued
        self.prepared: PreparedScores = prepare_scores(request, loaded.prompt_config)
        self.tokens = self.prepared.prompt
        self.slot: Slot | None = None
        self.cached_tokens = 0
        self.is_finished = False
        self.steps: Generator[None, None, None] | None = None
        self._logprobs: list[list[tuple[float, bool]]] = [[] for _ in self.prepared.continuations]
        # On the CPU, whose memory holds more of them.
        self._distributions: dict[int, list[torch.Tensor]] = {}
        self._with_distributions = request.with_distributions
        self._waiting = list(range(len(self.prepared.continuations)))
        self._partial = 0  # tokens of the first waiting continuation that the slot holds behind the prompt

    @property
    def pending(self) -> list[int]:
        """Tokens of the prompt that are not computed."""
        return self.tokens if self.slot is None else self.tokens[self.slot.length :]

    def record_cached(self, tokens: int) -> None:
        """Note how many tokens of the prompt a slot came with."""
        self.cached_tokens = tokens

    def schedule(self, slot: Slot, limit: int) -> ScoringPass:
        """Return what a step of up to `limit` tokens computes, at least one."""
        rest = self.tokens[slot.length :]
        if len(rest) > limit:
            return ScoringPass(rest[:limit], [], is_partial=True)
        scoring = ScoringPass(rest, self._choose_branches(min(limit - len(rest), _MAX_BRANCHED), rest), bool(rest))
        for number, start, stop in scoring.branches:
            scoring.tokens += self.prepared.continuations[number][start:stop]
        return scoring

    def _choose_branches(self, limit: int, rest: list[int]) -> list[tuple[int, int, int]]:
        start = 0 if rest else self._partial  # without its slot, a part is computed again
        branches: list[tuple[int, int, int]] = []
        for number in self._waiting:
            # The scores after a continuation's last token are of no use.
            needed = len(self.prepared.continuations[number]) - 1
            if needed - start > limit:
                if not branches and limit:
                    branches.append((number, start, start + limit))
                break
            if needed > start:
                branches.append((number, start, needed))
                limit -= needed - start
            if start:  # the places behind the prompt are taken
                break
        return branches

    def accept(self, scoring: ScoringPass, scores: torch.Tensor, likeliest: list[int], largest: list[float]) -> None:
        """Take the scores after the wanted tokens of a pass, shape (wanted, vocabulary)."""
        for value in largest:
            check_finite(value)
        if self.slot is not None:
            self.slot.length += len(scoring.tokens) - sum(scoring.branch_lengths)
        if scoring.is_partial:
            return
        if scoring.has_prompt_end:  # not for the first time where the sequence has lost its slot in between
            for number in self._waiting:
                self._logprobs[number].clear()
                self._distributions.pop(number, None)
        rows, numbers, tokens = self._list_targets(scoring)
        values = compute_logprobs(scores, rows, tokens)
        for row, number, token, value in zip(rows, numbers, tokens, values, strict=True):
            self._logprobs[number].append((value, likeliest[row] == token))
            self._keep_distribution(number, scores[row])
        lengths = [len(tokens) for tokens in self.prepared.continuations]
        self._waiting = [number for number in self._waiting if len(self._logprobs[number]) < lengths[number]]
        is_cut = bool(scoring.branches) and scoring.branches[0][0] in self._waiting
        self._partial = scoring.branches[0][2] if is_cut else 0
        if self.slot is not None:
            self.slot.length = len(self.tokens) + self._partial
        if not self._waiting:
            self._finish()

    def _list_targets(self, scoring: ScoringPass) -> tuple[list[int], list[int], list[int]]:
        """Return rows of scores, with a continuation's number and next token each."""
        continuations = self.prepared.continuations
        rows: list[int] = []
        numbers: list[int] = []
        tokens: list[int] = []
        if scoring.has_prompt_end:
            rows += [0] * len(self._waiting)
            numbers += self._waiting
            tokens += (continuations[number][0] for number in self._waiting)
        at = int(scoring.has_prompt_end)
        for number, start, stop in scoring.branches:
            rows += range(at, at + stop - start)
            numbers += [number] * (stop - start)
            tokens += continuations[number][start + 1 : stop + 1]
            at += stop - start
        return rows, numbers, tokens

    def run_unbatched(self, model: UnbatchedModel, limit: int, *, can_crop: bool) -> Generator[None, None, None]:
        """Score on a model that computes one sequence at a time.

        A step takes up to `limit` tokens. With `can_crop` the prompt is computed once, else again for each continuation
        of several tokens.
        """
        prompt, can_share = self.tokens, can_crop and not (model.whole_prompt or model.recompute)
        state: UnbatchedSequence | None = None
        first = torch.empty(0)
        for number, continuation in enumerate(self.prepared.continuations):
            inputs, done = continuation[:-1], 0
            if state is None or (inputs and not can_share):
                state = model.start(prompt)
                while (computed := len(state.tokens)) < len(prompt):
                    size = model.next_chunk_size(len(prompt), computed, len(prompt) - computed, limit)
                    first = state.extend(prompt[computed : computed + size])
                    yield
            rows = [first]
            while done < len(inputs):
                size = model.next_chunk_size(len(prompt), len(prompt) + done, len(inputs) - done, limit)
                rows.append(state.extend(inputs[done : done + size], logits_to_keep=size))
                done += size
                yield
            scores = torch.cat(rows)
            if len(scores) < len(continuation):
                raise UnsupportedFeature("The model gives scores after its last token alone, so it has no 'score'.")
            best = scores.max(dim=-1)
            for value in best.values.tolist():
                check_finite(value)
            values = compute_logprobs(scores, range(len(continuation)), continuation)
            likeliest = best.indices.tolist()
            self._logprobs[number] = [
                (value, token == top) for value, token, top in zip(values, continuation, likeliest, strict=True)
            ]
            for row in scores[: len(continuation)]:
                self._keep_distribution(number, row)
            if inputs and can_share:
                state.crop(len(inputs))
            elif inputs:
                state = None
        self._finish()

    def _keep_distribution(self, number: int, scores: torch.Tensor) -> None:
        if self._with_distributions:
            self._distributions.setdefault(number, []).append(scores.float().log_softmax(dim=-1).cpu())

    def _finish(self) -> None:
        self.is_finished = True
        self.queued.put(self.prepared.build(self._logprobs, self.cached_tokens, self._distributions))


def compute_logprobs(scores: torch.Tensor, rows: Sequence[int], tokens: Sequence[int]) -> list[float]:
    """Return the log-probability of a token in each of some rows of scores."""
    # In parts: all in float32 would be twice what the scores of a model in half precision take.
    totals = torch.cat([part.float().logsumexp(dim=-1) for part in torch.split(scores, _ROWS)])
    at = torch.tensor(rows, device=scores.device)
    values: list[float] = (scores[at, torch.tensor(tokens, device=scores.device)].float() - totals[at]).tolist()
    return values
