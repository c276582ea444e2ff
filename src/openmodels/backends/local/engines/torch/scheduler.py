"""What the next step computes: of many sequences together, or of one alone.

In a shared step every running answer gets its next token, and prompts get a part: all of a step where no answer
would wait for it, and else as much as stretches the step by what the running answers can bear. Sequences get their
places in the KV cache in the order of their arrival.
"""

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial

import torch
from typing_extensions import override

from openmodels.backends.local.engines.torch.kv_cache import KVCache, Slot
from openmodels.backends.local.engines.torch.model_runner import ModelRunner, rounded_down
from openmodels.backends.local.engines.torch.prefix_cache import PrefixCache, common_prefix_length
from openmodels.backends.local.engines.torch.running_sequence import RunningSequence
from openmodels.backends.local.engines.torch.sampling import check_finite
from openmodels.backends.local.engines.torch.scoring import ScoringPass, ScoringSequence
from openmodels.backends.local.engines.torch.step_tuning import StepTimes, ThreadTuner, limit_threads

PREFILL = 512  # tokens of prompts computed in one step at most: what a cancelled request may still cost
_SHORT_REST = 16  # tokens up to which a prompt's rest is no more work than a token of an answer
_LEAST_PREFILL = 8  # tokens of prompts in a step in any case
_STRETCH = 0.5  # what a part of a prompt may add to the usual time of a step where few wait, as a share of it
_PATIENCE = 5  # how many times more answers run than wait where a longer step costs those as much as it saves these
_FIRST_PREFILL = 64  # tokens of prompts in a step while the time of one is not known yet
_DRAFTED = 32  # tokens that a step may add to a sequence at most, or so
_FEW_SEQUENCES = 4  # sequences up to which draft tokens cost little: a step then mostly waits for the weights
_DRAFT_COST = 2.0
"""The cost of a draft token relative to one of a prompt: scores are wanted after it, and attention is padded."""
_DRAFT_OVERHEAD = 0.1  # what draft tokens add to a step's time at once, as a share of it

AnySequence = RunningSequence | ScoringSequence  # an answer in the making, or continuations that are scored
Failures = list[tuple[AnySequence, BaseException]]  # the sequences that failed in a step, each with the reason


class Scheduler(ABC):
    """Runs steps over sequences."""

    def __init__(self, runner: ModelRunner) -> None:
        self.runner = runner

    @abstractmethod
    def step(self, running: Sequence[AnySequence]) -> Failures:
        """Advance the sequences by a step, and return those that failed."""

    @abstractmethod
    def release(self, sequence: AnySequence) -> None:
        """Take the KV cache of a sequence back; its content is retained for later ones."""

    def discard(self, sequence: AnySequence) -> None:
        """Take the KV cache of a failed sequence back: it may hold a NaN."""
        self.release(sequence)

    def retain_released(self) -> None:
        """Retain what was released, which is put off so as not to make others wait."""


class UnbatchedScheduler(Scheduler):
    """Runs one sequence at a time."""

    @override
    def step(self, running: Sequence[AnySequence]) -> Failures:
        sequence, model = running[0], self.runner.unbatched
        try:
            if isinstance(sequence, ScoringSequence):
                if sequence.steps is None:
                    sequence.steps = sequence.run_unbatched(model, PREFILL, can_crop=self.runner.can_crop)
                next(sequence.steps, None)
                return []
            if sequence.cache is None:
                sequence.cache = model.start(sequence.tokens[: sequence.prompt_length], sequence.inputs)
            # What stands for an image is computed in one piece with it.
            images, sequence.inputs = sequence.inputs, None
            count = model.next_chunk_size(
                sequence.prompt_length, sequence.computed, len(sequence.pending), PREFILL, has_images=images is not None
            )
            scores = sequence.cache.extend(sequence.pending[:count])
            sequence.computed += count
            if not sequence.pending:
                best = scores[0].max(dim=-1)
                sequence.choose(scores[0], int(best.indices), float(best.values))
                sequence.emit()
        except BaseException as error:  # noqa: BLE001 - of any kind: the caller waits for it
            return [(sequence, error)]
        return []

    @override
    def release(self, sequence: AnySequence) -> None:
        if isinstance(sequence, ScoringSequence):
            sequence.steps = None
        else:
            sequence.cache = None


@dataclass(slots=True)
class ScheduledTokens:
    """What a step computes of one sequence."""

    sequence: AnySequence
    slot: Slot
    tokens: list[int]  # the tokens that follow what the slot holds; draft tokens last
    drafted: int = 0  # how many of them are draft tokens
    is_prompt: bool = False  # whether they are of a long prompt
    is_partial: bool = False  # whether more of the prompt follows in a later step
    scoring: ScoringPass | None = None  # what of continuations is computed, where the sequence scores them

    @property
    def wanted(self) -> int:
        """After how many of the tokens, counted from the last, scores are wanted."""
        return 1 + self.drafted if self.scoring is None else self.scoring.wanted


class BatchScheduler(Scheduler):
    """Runs steps in which all sequences share a forward pass.

    Keys and values may take `budget` bytes; up to `retained` of them are of finished sequences. One sequence always
    runs.
    """

    def __init__(self, runner: ModelRunner, kv_cache: KVCache, *, budget: int, retained: int) -> None:
        super().__init__(runner)
        self.kv_cache, self._budget = kv_cache, budget
        self.prefixes = PrefixCache(kv_cache, retained)
        self._released: list[tuple[Slot, list[int]]] = []
        self._times = StepTimes()
        self._threads = ThreadTuner(torch.get_num_threads()) if kv_cache.device.type == "cpu" else None

    @override
    def step(self, running: Sequence[AnySequence]) -> Failures:
        self.retain_released(1)
        scheduled = self._schedule(running)
        failures: Failures = []
        try:
            self._run(scheduled, failures)
        except BaseException as error:  # noqa: BLE001 - of any kind: the callers wait for it
            if len(scheduled) == 1 and not scheduled[0].drafted:
                return [(scheduled[0].sequence, error)]
            del error
            # Nothing was accepted of the failed step, so each can be tried by itself, without draft tokens.
            for item in scheduled:
                try:
                    self._run([self._without_drafts(item)], failures)
                except BaseException as cause:  # noqa: BLE001 - as above
                    failures.append((item.sequence, cause))
        return failures

    @override
    def release(self, sequence: AnySequence) -> None:
        if sequence.slot is not None:
            self._released.append((sequence.slot, sequence.tokens))
            sequence.slot = None

    @override
    def discard(self, sequence: AnySequence) -> None:
        if (slot := sequence.slot) is not None:
            is_scoring = isinstance(sequence, ScoringSequence)  # its branches lie anywhere behind the prompt
            used = slot.bucket.capacity if is_scoring else len(sequence.tokens) + _DRAFTED
            self.kv_cache.zero(slot, 0, min(slot.bucket.capacity, used))
            self.kv_cache.release(slot)
            sequence.slot = None

    @override
    def retain_released(self, most: int | None = None) -> None:
        for slot, tokens in self._released[:most]:
            self.prefixes.retain(slot, tokens)
        del self._released[:most]

    def _schedule(self, running: Sequence[AnySequence]) -> list[ScheduledTokens]:
        placed = self._place(running)
        answering: list[tuple[RunningSequence, Slot]] = []
        prompts: list[tuple[AnySequence, Slot]] = []
        for sequence, slot in placed:
            if isinstance(sequence, ScoringSequence) or len(sequence.pending) > _SHORT_REST:
                prompts.append((sequence, slot))
            else:
                answering.append((sequence, slot))
        scheduled = [ScheduledTokens(sequence, slot, sequence.pending) for sequence, slot in answering]
        if not prompts:
            self._add_drafts(scheduled)
        # Moving a sequence takes its time too, so prompts wait for the next step.
        has_moved = self._grow_early(answering)
        budget = 0
        if prompts and not has_moved:
            budget = self._prefill_budget(len(answering), len(running) - len(answering))
        for sequence, slot in prompts:
            if budget < 1:
                break
            if isinstance(sequence, ScoringSequence):
                scoring = sequence.schedule(slot, budget)
                item = ScheduledTokens(sequence, slot, scoring.tokens, is_prompt=True, scoring=scoring)
            else:
                chunk = sequence.pending[:budget]
                # A chunk's last scores show that all it stored are finite numbers.
                is_partial = len(chunk) < len(sequence.pending)
                item = ScheduledTokens(sequence, slot, chunk, is_prompt=True, is_partial=is_partial)
            scheduled.append(item)
            budget -= len(item.tokens)
        for item in scheduled:
            self._fit(item, running)
        self.prefixes.trim()
        return [item for item in scheduled if item.sequence.slot is not None]

    def _place(self, running: Sequence[AnySequence]) -> list[tuple[AnySequence, Slot]]:
        """Give the sequences slots, as many as fit, and return those that have one."""
        placed: list[tuple[AnySequence, Slot]] = []
        for sequence in running:
            if (slot := sequence.slot) is None:
                self.retain_released()
                needed = len(sequence.tokens) + 1
                if not self._free(needed) and placed:
                    break
                slot = sequence.slot = self.kv_cache.allocate(needed)
                sequence.record_cached(self.prefixes.restore(slot, sequence.tokens))
            placed.append((sequence, slot))
        return placed

    def _free(self, tokens: int) -> bool:
        """Drop retained content until so many tokens fit; return whether they do."""
        needed = self.kv_cache.allocation_size(tokens)
        if self._released and self.kv_cache.used_bytes + self.prefixes.used_bytes + needed > self._budget:
            self.retain_released()
            needed = self.kv_cache.allocation_size(tokens)
        while self.kv_cache.used_bytes + self.prefixes.used_bytes + needed > self._budget:
            if not self.prefixes.evict_oldest():
                return False
        return True

    def _fit(self, item: ScheduledTokens, running: Sequence[AnySequence]) -> None:
        slot = item.slot
        if item.sequence.slot is None:  # an older one needed its place in this very step
            return
        needed = slot.length + len(item.tokens)
        if needed <= slot.bucket.capacity:
            return
        for younger in reversed(running):
            if self._free(needed) or younger is item.sequence:
                break
            if younger.slot is not None:
                # It computes its tokens again when there is room; what it has emitted stays.
                self.kv_cache.release(younger.slot)
                younger.slot = None
        self.kv_cache.grow(slot, needed)

    def _grow_early(self, answering: Sequence[tuple[RunningSequence, Slot]]) -> bool:
        """Move one sequence, if any, whose slot will soon be full."""
        # Many of one length would else all move in one step.
        for sequence, slot in answering:
            left = slot.bucket.capacity - slot.length
            needed = slot.bucket.capacity + 1
            is_near = _DRAFTED < left <= _DRAFTED + 2 * len(answering)
            if is_near and left <= sequence.output.remaining_tokens and self._free(needed):
                self.kv_cache.grow(slot, needed)
                return True
        return False

    def _prefill_budget(self, answering: int, waiting: int) -> int:
        """Return how many tokens of prompts the step may compute."""
        if not answering:
            return PREFILL
        usual, per_token = self._times.estimate(answering)
        if not per_token:
            return _FIRST_PREFILL
        stretch = _STRETCH * max(1.0, _PATIENCE * waiting / answering)
        budget = min(PREFILL, int(stretch * usual / per_token))
        if self.runner.is_padded:
            budget = rounded_down(answering + budget) - answering
        return max(_LEAST_PREFILL, budget)

    def _add_drafts(self, scheduled: Sequence[ScheduledTokens]) -> None:
        are_few = len(scheduled) <= _FEW_SEQUENCES
        for item in scheduled:
            sequence, slot = item.sequence, item.slot
            if isinstance(sequence, ScoringSequence) or len(item.tokens) != 1:
                continue
            # No sequence is moved, or loses its place, for draft tokens.
            most = min(sequence.output.remaining_tokens, slot.bucket.capacity - slot.length) - 1
            drafts = sequence.drafter.propose(most, use_model=are_few) if most > 0 else []
            item.tokens = [*item.tokens, *drafts]
            item.drafted = len(drafts)
        if not are_few and any(item.drafted for item in scheduled):
            self._cut_drafts(scheduled)

    def _cut_drafts(self, scheduled: Sequence[ScheduledTokens]) -> None:
        """Leave the draft tokens that are worth their time: all sequences wait for them."""
        usual, per_token = self._times.estimate(len(scheduled))
        # Of a draft token, in tokens that the step would give in this time.
        price = _DRAFT_COST * per_token * len(scheduled) / usual if per_token else 1.0
        left, gain, sizes = int(len(scheduled) / price), 0.0, []
        for item in scheduled:
            chance = rate = 0.0 if isinstance(item.sequence, ScoringSequence) else item.sequence.drafter.acceptance_rate
            size = 0
            while size < min(left, item.drafted) and chance > price:
                gain, chance, size = gain + chance - price, chance * rate, size + 1
            left -= size
            sizes.append(size)
        is_worth = gain > _DRAFT_OVERHEAD * len(scheduled)
        for item, size in zip(scheduled, sizes, strict=True):
            if cut := item.drafted - (size if is_worth else 0):
                del item.tokens[-cut:]
                item.drafted -= cut

    def _run(self, scheduled: list[ScheduledTokens], failures: Failures) -> None:
        started = time.perf_counter()
        slots = [(item.slot, item.tokens, item.wanted) for item in scheduled]
        branches = {at: item.scoring.branch_lengths for at, item in enumerate(scheduled) if item.scoring}
        prompt_tokens = sum(len(item.tokens) for item in scheduled if item.is_prompt)
        threads = None if prompt_tokens else self._threads
        with limit_threads(threads.next) if threads else nullcontext():
            execute = partial(self.runner.execute_branched, branches=branches) if branches else self.runner.execute
            scores, begins = execute(slots)
            best = scores.max(dim=-1)  # argmax takes four times as long
            likeliest, largest = best.indices.tolist(), best.values.tolist()
        if len(scheduled) > 1 or scheduled[0].drafted:
            # By themselves, those that are not the cause have finite scores.
            for begin in begins:
                check_finite(largest[begin])
        seconds = time.perf_counter() - started
        if not any(item.drafted for item in scheduled):
            self._times.record(sum(not item.is_prompt for item in scheduled), prompt_tokens, seconds)
        if threads:
            threads.record(sum(len(item.tokens) for item in scheduled), seconds)
        for item, begin in zip(scheduled, begins, strict=True):
            stop = begin + item.wanted
            try:
                accept_scores(item, scores[begin:stop], likeliest[begin:stop], largest[begin:stop], self.kv_cache)
            except BaseException as error:  # noqa: BLE001 - of any kind: the caller waits for it
                failures.append((item.sequence, error))

    def _without_drafts(self, item: ScheduledTokens) -> ScheduledTokens:
        slot, tokens = item.slot, item.tokens[: len(item.tokens) - item.drafted]
        if item.drafted:
            self.kv_cache.zero(slot, slot.length + len(tokens), slot.length + len(item.tokens))
        return replace(item, tokens=tokens, drafted=0)


def accept_scores(
    item: ScheduledTokens, scores: torch.Tensor, likeliest: list[int], largest: list[float], kv_cache: KVCache
) -> None:
    """Let a sequence choose after each of its tokens, as long as the drafts match."""
    sequence, slot = item.sequence, item.slot
    if isinstance(sequence, ScoringSequence):
        if item.scoring is not None:
            sequence.accept(item.scoring, scores, likeliest, largest)
        return
    known = slot.length + len(item.tokens) - item.drafted
    slot.length = known
    if item.is_partial:
        check_finite(largest[0])
        return
    drafts = item.tokens[len(item.tokens) - item.drafted :]
    # A draft token without finite scores may not be what comes; if it is, it fails when it is computed again.
    finite = next((at for at, score in enumerate(largest) if at and not math.isfinite(score)), len(largest))
    at = 0
    try:
        while True:
            sequence.choose(scores[at], likeliest[at], largest[at])
            fresh = sequence.tokens[known:]
            at = len(fresh)
            if sequence.output.is_finished or at >= finite or fresh != drafts[:at]:
                break
    finally:
        sequence.emit()
    if drafts:
        accepted = common_prefix_length(drafts[: finite - 1], sequence.tokens[known:])
        slot.length = min(known + accepted, len(sequence.tokens) - 1)
        sequence.drafter.record(len(drafts), accepted)
        if finite < len(largest):
            kv_cache.zero(slot, slot.length, known + len(drafts))
