"""The rolling batch: which sequences compute how many tokens in the next step.

In a step every answer in the making gets its next token, and prompts get a share: all of a step
where nobody would wait for it, and else as much as stretches the step by what the running answers
can bear. Sequences get their rows in the order of their arrival.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence as Many
from contextlib import nullcontext
from dataclasses import dataclass

import torch

from openmodels.backends.local.engines.torch.kv_cache import KVCache, Slot
from openmodels.backends.local.engines.torch.model_runner import ModelRunner, rounded_down
from openmodels.backends.local.engines.torch.prefix_cache import PrefixCache, common_prefix_length
from openmodels.backends.local.engines.torch.running_sequence import Sequence
from openmodels.backends.local.engines.torch.sampling import check_finite
from openmodels.backends.local.engines.torch.single_sequence import SequentialModel
from openmodels.backends.local.engines.torch.step_times import StepTimes
from openmodels.backends.local.engines.torch.threads import ThreadTuner, limit_threads

PREFILL = 512
"""Tokens of prompts computed in one step at most: what a cancelled request may still cost."""
_SHORT = 16
"""Tokens up to which a prompt's rest is no more work than a token of an answer."""
_LEAST = 8
"""Tokens of prompts in a step in any case."""
_STRETCH = 0.5
"""What a share of a prompt may add to the usual time of a step where few wait."""
_PATIENCE = 5
"""How many times more answer than wait where a longer step costs those as much as it saves these."""
_FIRST_SHARE = 64
_GUESSED = 32
"""Tokens that a step may add to a row at most, or so."""
_GUESSERS = 4
"""Sequences up to which guessed tokens cost little: a step then mostly waits for the weights."""
_DEARER = 2.0
"""How much dearer a guessed token is than one of a prompt: scores are wanted after it, and attention is padded."""
_TROUBLE = 0.1
"""What guesses add to a step's time at once, as a share of it."""


@dataclass(slots=True)
class _Work:
    sequence: Sequence
    tokens: list[int]
    drafted: int = 0
    wanted: int = 1
    prompt: bool = False
    partial: bool = False


class Batch:
    """Runs steps over sequences.

    Args:
        decoder: Runs the model.
        room: Bytes that keys and values may take, those kept for later included. One sequence always runs.
        kept: Bytes of them that may be kept of finished sequences.
        draft: Whether to guess tokens.
    """

    def __init__(self, model_runner: ModelRunner, *, room: int, kept: int, draft: bool = True) -> None:
        self._model_runner, self._room = model_runner, room
        self.kv_cache = model_runner.kv_cache
        self.prefixes = PrefixCache(self.kv_cache, kept) if self.kv_cache else None
        self._draft = draft
        self._leaving: list[tuple[Slot, list[int]]] = []
        self._times = StepTimes()
        on_cpu = self.kv_cache is not None and self.kv_cache.device.type == "cpu"
        self._threads = ThreadTuner(torch.get_num_threads()) if on_cpu else None

    @property
    def alone(self) -> str | None:
        """Why sequences run one at a time, or None."""
        return self._model_runner.sequential_reason

    @property
    def sequential(self) -> SequentialModel:
        """The model as it computes one sequence at a time."""
        return self._model_runner.sequential

    def step(self, running: Many[Sequence]) -> list[tuple[Sequence, BaseException]]:
        """Advance the sequences by a step; return those that failed, with the reason."""
        if self.kv_cache is None:
            return self._alone(running[:1])
        self._settle(1)
        work = self._plan(running)
        failed: list[tuple[Sequence, BaseException]] = []
        try:
            self._together(work, failed)
        except BaseException as error:  # noqa: BLE001 - whatever it is, the callers wait for it
            if len(work) == 1 and not work[0].drafted:
                return [(work[0].sequence, error)]
            del error
            # Nothing was taken from the failed step, so each can be tried by itself, without what was guessed.
            for item in work:
                try:
                    self._together([self._without_guess(item)], failed)
                except BaseException as own:  # noqa: BLE001 - as above
                    failed.append((item.sequence, own))
        return failed

    def release(self, sequence: Sequence) -> None:
        """Take a sequence's memory back; what it computed is kept for later ones."""
        sequence.cache = None
        if sequence.slot is not None and self.kv_cache is not None and self.prefixes is not None:
            self._leaving.append((sequence.slot, sequence.tokens))
            sequence.slot = None

    def discard(self, sequence: Sequence) -> None:
        """Take a failed sequence's memory back; nothing of it is kept, for it may hold what is no number."""
        sequence.cache = None
        if (slot := sequence.slot) is not None and self.kv_cache is not None:
            self.kv_cache.zero(slot, 0, min(slot.bucket.capacity, len(sequence.tokens) + _GUESSED))
            self.kv_cache.release(slot)
            sequence.slot = None

    def settle(self) -> None:
        """Do now what was put off so as not to make others wait: take in the memory of all that have left."""
        self._settle(len(self._leaving))

    def _settle(self, most: int) -> None:
        assert self.prefixes is not None or not self._leaving  # noqa: S101 - only those with rows leave so
        for slot, tokens in self._leaving[:most]:
            if self.prefixes is not None:
                self.prefixes.retain(slot, tokens)
        del self._leaving[:most]

    def _plan(self, running: Many[Sequence]) -> list[_Work]:
        placed = self._place(running)
        answering = [sequence for sequence in placed if len(sequence.pending) <= _SHORT]
        work = [_Work(sequence, sequence.pending) for sequence in answering]
        prompts = [sequence for sequence in placed if len(sequence.pending) > _SHORT]
        if not prompts and self._draft:
            self._guess(work)
        # Moving a row takes its time too, so prompts wait for the next step.
        moved = self._grow_early(answering)
        budget = self._budget(len(answering), len(running) - len(answering)) if prompts and not moved else 0
        for sequence in prompts:
            chunk = sequence.pending[:budget]
            if not chunk:
                break
            # A chunk's last scores show that all it stored are finite numbers.
            work.append(_Work(sequence, chunk, prompt=True, partial=len(chunk) < len(sequence.pending)))
            budget -= len(chunk)
        for item in work:
            self._fit(item, running)
        if self.prefixes is not None:
            self.prefixes.trim()
        return [item for item in work if item.sequence.slot is not None]

    def _place(self, running: Many[Sequence]) -> list[Sequence]:
        placed: list[Sequence] = []
        assert self.kv_cache is not None  # noqa: S101 - `step` saw to it
        assert self.prefixes is not None  # noqa: S101 - as above
        for sequence in running:
            if sequence.slot is None:
                self.settle()
                needed = len(sequence.tokens) + 1
                if not self._make_room(needed) and placed:
                    break
                sequence.slot = self.kv_cache.allocate(needed)
                found = self.prefixes.restore(sequence.slot, sequence.tokens)
                if not sequence.begun:
                    sequence.cached = found
            placed.append(sequence)
        return placed

    def _make_room(self, tokens: int) -> bool:
        assert self.kv_cache is not None  # noqa: S101 - as above
        assert self.prefixes is not None  # noqa: S101 - as above
        needed = self.kv_cache.allocation_size(tokens)
        if self._leaving and self.kv_cache.used_bytes + self.prefixes.used_bytes + needed > self._room:
            self.settle()
            needed = self.kv_cache.allocation_size(tokens)
        while self.kv_cache.used_bytes + self.prefixes.used_bytes + needed > self._room:
            if not self.prefixes.evict_oldest():
                return False
        return True

    def _fit(self, item: _Work, running: Many[Sequence]) -> None:
        slot = item.sequence.slot
        if slot is None:  # an older one needed its place in this very step
            return
        assert self.kv_cache is not None  # noqa: S101 - as above
        needed = slot.length + len(item.tokens)
        if needed <= slot.bucket.capacity:
            return
        for younger in reversed(running):
            if self._make_room(needed) or younger is item.sequence:
                break
            if younger.slot is not None:
                # It computes its tokens again when there is room; what it said stays said.
                self.kv_cache.release(younger.slot)
                younger.slot = None
        self.kv_cache.grow(slot, needed)

    def _grow_early(self, answering: Many[Sequence]) -> bool:
        """Move one row, if there is one, that will soon be full: many of one length would all move in one step."""
        assert self.kv_cache is not None  # noqa: S101 - as above
        for sequence in answering:
            slot = sequence.slot
            if slot is None:
                continue
            room = slot.bucket.capacity - slot.length
            needed = slot.bucket.capacity + 1
            if _GUESSED < room <= _GUESSED + 2 * len(answering) and room <= sequence.left and self._make_room(needed):
                self.kv_cache.grow(slot, needed)
                return True
        return False

    def _budget(self, answering: int, waiting: int) -> int:
        if not answering:
            return PREFILL
        usual, share = self._times.estimate(answering)
        if not share:
            return _FIRST_SHARE
        stretch = _STRETCH * max(1.0, _PATIENCE * waiting / answering)
        budget = min(PREFILL, int(stretch * usual / share))
        if self._model_runner.pads_steps:
            budget = rounded_down(answering + budget) - answering
        return max(_LEAST, budget)

    def _guess(self, work: Many[_Work]) -> None:
        few = len(work) <= _GUESSERS
        for item in work:
            sequence, slot = item.sequence, item.sequence.slot
            if slot is None or len(item.tokens) != 1:
                continue
            # Nobody is moved, or loses its place, for a guess.
            most = min(sequence.left, slot.bucket.capacity - slot.length) - 1
            guess = sequence.drafter.propose(most, use_model=few) if most > 0 else []
            item.tokens = [*item.tokens, *guess]
            item.drafted, item.wanted = len(guess), 1 + len(guess)
        if not few and any(item.drafted for item in work):
            self._weigh(work)

    def _weigh(self, work: Many[_Work]) -> None:
        """Leave the guesses that are worth their time: what they add to the step, all others wait for."""
        usual, share = self._times.estimate(len(work))
        # Of a guessed token, in tokens that the step would give in this time.
        price = _DEARER * share * len(work) / usual if share else 1.0
        left, gain, sizes = int(len(work) / price), 0.0, []
        for item in work:
            chance = rate = item.sequence.drafter.acceptance_rate
            size = 0
            while size < min(left, item.drafted) and chance > price:
                gain, chance, size = gain + chance - price, chance * rate, size + 1
            left -= size
            sizes.append(size)
        worth = gain > _TROUBLE * len(work)
        for item, size in zip(work, sizes, strict=True):
            if cut := item.drafted - (size if worth else 0):
                del item.tokens[-cut:]
                item.drafted, item.wanted = item.drafted - cut, item.wanted - cut

    def _together(self, work: list[_Work], failed: list[tuple[Sequence, BaseException]]) -> None:
        began = time.perf_counter()
        slots = [(item.sequence.slot, item.tokens, item.wanted) for item in work if item.sequence.slot is not None]
        prompts = sum(len(item.tokens) for item in work if item.prompt)
        threads = None if prompts else self._threads
        with limit_threads(threads.next) if threads else nullcontext():
            scores, begins = self._model_runner.execute(slots)
            best = scores.max(dim=-1)  # argmax takes four times as long
            likeliest, largest = best.indices.tolist(), best.values.tolist()
        if len(work) > 1 or work[0].drafted:
            # By themselves, those that are not the cause have finite scores.
            for begin in begins:
                check_finite(largest[begin])
        seconds = time.perf_counter() - began
        if not any(item.drafted for item in work):
            self._times.record(sum(not item.prompt for item in work), prompts, seconds)
        if threads:
            threads.record(sum(len(item.tokens) for item in work), seconds)
        for item, begin in zip(work, begins, strict=True):
            stop = begin + item.wanted
            try:
                _accept(item, scores[begin:stop], likeliest[begin:stop], largest[begin:stop], self.kv_cache)
            except BaseException as error:  # noqa: BLE001 - as above
                failed.append((item.sequence, error))

    def _without_guess(self, item: _Work) -> _Work:
        slot, tokens = item.sequence.slot, item.tokens[: len(item.tokens) - item.drafted]
        if item.drafted and slot is not None and self.kv_cache is not None:
            self.kv_cache.zero(slot, slot.length + len(tokens), slot.length + len(item.tokens))
        return _Work(item.sequence, tokens, prompt=item.prompt, partial=item.partial)

    def _alone(self, running: Many[Sequence]) -> list[tuple[Sequence, BaseException]]:
        for sequence in running:
            try:
                runner = self._model_runner.sequential
                if sequence.cache is None:
                    sequence.cache = runner.start(sequence.tokens[: sequence.prompt_length], sequence.inputs)
                # What stands for an image is computed in one piece with it.
                seen, sequence.inputs = sequence.inputs, None
                count = runner.next_chunk_size(
                    sequence.prompt_length,
                    sequence.computed,
                    len(sequence.pending),
                    PREFILL,
                    has_images=seen is not None,
                )
                scores = sequence.cache.extend(sequence.pending[:count])
                sequence.computed += count
                if not sequence.pending:
                    best = scores[0].max(dim=-1)
                    sequence.take(scores[0], int(best.indices), float(best.values))
                    sequence.give()
            except BaseException as error:  # noqa: BLE001 - as above
                return [(sequence, error)]
        return []


def _accept(
    item: _Work, scores: torch.Tensor, likeliest: list[int], largest: list[float], kv_cache: KVCache | None
) -> None:
    """Let a sequence choose after each of its tokens, as long as what was guessed is what it chose."""
    sequence = item.sequence
    slot = sequence.slot
    assert slot is not None  # noqa: S101 - it was in the step
    known = slot.length + len(item.tokens) - item.drafted
    slot.length = known
    if item.partial:
        check_finite(largest[0])
        return
    guess = item.tokens[len(item.tokens) - item.drafted :]
    # A guessed token without finite scores may not be what comes; if it is, it fails when it is computed again.
    finite = next((at for at, score in enumerate(largest) if at and not math.isfinite(score)), len(largest))
    at = 0
    try:
        while True:
            sequence.take(scores[at], likeliest[at], largest[at])
            fresh = sequence.tokens[known:]
            at = len(fresh)
            if sequence.finished or at >= finite or fresh != guess[:at]:
                break
    finally:
        sequence.give()
    if guess:
        right = common_prefix_length(guess[: finite - 1], sequence.tokens[known:])
        slot.length = min(known + right, len(sequence.tokens) - 1)
        sequence.drafter.record(len(guess), right)
        if finite < len(largest) and kv_cache is not None:
            kv_cache.zero(slot, slot.length, known + len(guess))
