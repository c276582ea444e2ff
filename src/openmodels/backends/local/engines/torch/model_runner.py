"""A model's forward pass as the engine runs it: many sequences at once, or one where that is all it can."""

from __future__ import annotations

import logging
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from transformers import PreTrainedModel
from transformers.cache_utils import DynamicLayer

from openmodels.backends.local.engines.torch import attention, fused_llama
from openmodels.backends.local.engines.torch.attention import Step, Unjoinable
from openmodels.backends.local.engines.torch.kv_cache import Memory, Row, Shape
from openmodels.backends.local.engines.torch.load_check import PROBE, probe, prove, same
from openmodels.backends.local.engines.torch.loader import Loaded, is_out_of_memory
from openmodels.backends.local.engines.torch.single_sequence import SequentialModel

_log = logging.getLogger(__name__)


class Decoder:
    """Runs a loaded model.

    Whether sequences can share a forward pass is not looked up but tried: short sequences run side by side, as
    prompts, steps, guessed tokens and on a kept prefix, and must get the scores that the model itself gives. Where they
    cannot, it is tried how one sequence at a time can be fed (see `proof`).

    Args:
        loaded: The model.
        deterministic: Take one sequence at a time in any case, through transformers' own cache.

    Attributes:
        sequential: The model as it computes one sequence at a time.
        memory: Where sequences keep their keys and values; None when the model takes one at a time.
        alone: Why the model takes one sequence at a time, or None.
    """

    def __init__(self, loaded: Loaded, *, deterministic: bool = False) -> None:
        self._model, self._device, self._dtype = loaded.model, loaded.device, loaded.dtype
        self.sequential = SequentialModel(loaded.model, loaded.device)
        self._keeps = self.sequential.keeps_logits
        self._configs = _configs(loaded.model)
        self._fused: fused_llama.Fused | None = None
        self.memory: Memory | None = None
        self.alone: str | None = None
        try:
            if deterministic:
                raise Unjoinable("deterministic=True asks for it")
            if loaded.processor is not None:
                raise Unjoinable("it reads images, which are computed with the prompt they stand in")
            self._join(loaded)
        except Unjoinable as error:
            self.memory, self.alone = None, str(error)
            prove(self.sequential, loaded.dtype)

    @property
    def crops(self) -> bool:
        """Whether the newest tokens can be taken out of a cache again."""
        cache = self.sequential.new_cache()
        return cache is not None and all(type(layer) is DynamicLayer for layer in cache.layers)

    @property
    def rounds(self) -> bool:
        """Whether oneDNN computes its products, so that steps are padded to `rounded_up` of their tokens."""
        packs = self._fused is not None and self._fused.packs
        return packs or (self._device.type == "cpu" and self._dtype is torch.bfloat16)

    @torch.inference_mode()
    def many(self, work: Sequence[tuple[Row, Sequence[int], int]]) -> tuple[torch.Tensor, list[int]]:
        """Compute the next tokens of several rows in one forward pass.

        Args:
            work: Rows, the tokens that follow what they hold, and after how many of these, counted
                from the last, scores are wanted. Rows have room; their `length` is left to the caller.

        Returns:
            All scores, shape (wanted, vocabulary), and for each row where its own begin.
        """
        assert self.memory is not None  # noqa: S101 - asked only where sequences can be joined
        step = Step(self.memory, [(row, len(tokens)) for row, tokens, _ in work])
        together: list[int] = []
        keep: list[int] = []
        begins = [0] * len(work)
        for index in step.order:
            _, tokens, wanted = work[index]
            begins[index] = len(keep)
            together.extend(tokens)
            keep.extend(range(len(together) - wanted, len(together)))
        return self._forward(step, together, keep)[: len(keep)], begins

    def _forward(self, step: Step, tokens: list[int], keep: list[int]) -> torch.Tensor:
        positions = step.positions
        if self.rounds:
            more = rounded_up(len(tokens)) - len(tokens)
            tokens, positions = tokens + more * [0], positions + more * [0]
            keep = keep + (rounded_up(len(keep)) - len(keep)) * keep[-1:]
        wanted = torch.tensor(keep, dtype=torch.long, device=self._device)
        if self._fused is not None:
            places = torch.tensor(positions, device=self._device)
            return self._fused(torch.tensor(tokens, device=self._device), places, step, wanted)
        with self._attending(), attention.running(step):
            scores: torch.Tensor = self._model(
                input_ids=torch.tensor([tokens], device=self._device),
                position_ids=torch.tensor([positions], device=self._device),
                use_cache=False,
                **({"logits_to_keep": wanted} if self._keeps else {}),
            ).logits[0]
        return scores if self._keeps else scores[wanted]

    @contextmanager
    def _attending(self) -> Generator[None, None, None]:
        usual = [config._attn_implementation for config in self._configs]  # noqa: SLF001 - transformers has no other name
        for config in self._configs:
            config._attn_implementation = attention.NAME  # noqa: SLF001 - as above
        try:
            yield
        finally:
            for config, name in zip(self._configs, usual, strict=True):
                config._attn_implementation = name  # noqa: SLF001 - as above

    @torch.inference_mode()
    def _join(self, loaded: Loaded) -> None:
        config = loaded.model.config.get_text_config(decoder=True)
        if self.sequential.switch is not None:
            raise Unjoinable("its positions are scaled by the longest sequence")
        if not getattr(loaded.model, "_supports_attention_backend", False):
            raise Unjoinable("transformers gives no access to its attention")
        if not self.crops:
            raise Unjoinable("its cache is not of keys and values alone")
        self._fused = fused_llama.Fused(loaded.model) if fused_llama.known(loaded.model) else None
        self._prove(config.vocab_size, loaded.dtype)
        if self._fused is not None:
            self._fused.let_go()

    def _prove(self, vocabulary: int, dtype: torch.dtype) -> None:
        """Try a shared forward pass: with fewer operations where they are known, else with transformers' own."""
        try:
            self._try(vocabulary, dtype)
        except Exception as error:
            if is_out_of_memory(error):
                raise
            if self._fused is not None:
                _log.info("a forward pass of fewer operations is left out: %s: %s", type(error).__name__, error)
                self._fused = None
                self._prove(vocabulary, dtype)
                return
            if isinstance(error, Unjoinable):
                raise
            raise Unjoinable(f"a shared forward pass failed: {type(error).__name__}") from error

    def _try(self, vocabulary: int, dtype: torch.dtype) -> None:
        texts = [probe(PROBE, vocabulary, number) for number in (1, 2)]
        expected, shapes = [], []
        for text in texts:
            sequence = self.sequential.begin(text)
            expected.append(sequence.extend(text, keep=PROBE))
            layers = [(layer.keys.shape, layer.values.shape) for layer in sequence.cache.layers]
            shapes = [Shape(keys[1], keys[3], values[3]) for keys, values in layers]
        if len({shape.heads for shape in shapes}) != 1:
            raise Unjoinable("its layers differ in their number of heads")
        self.memory = Memory(shapes, dtype, self._device)
        rows = [self.memory.open(PROBE) for _ in texts]
        # Two prompts; a prompt's next chunk beside a step; two steps beside guessed tokens on a kept prefix; two steps.
        for step, sizes in enumerate(((3, 5), (3, 1), (1, 1, 3), (1, 1))):
            if step == 2:
                rows.append(self.memory.open(PROBE))
                self.memory.fill(rows[-1], self.memory.copy(rows[1]), 5)
            work = [
                (row, texts[min(at, 1)][row.length : row.length + size], size)
                for at, (row, size) in enumerate(zip(rows, sizes, strict=False))
            ]
            scores, begins = self.many(work)
            for at, ((row, tokens, _), begin) in enumerate(zip(work, begins, strict=True)):
                due = expected[min(at, 1)][-PROBE:][row.length : row.length + len(tokens)]
                row.length += len(tokens)
                if len(due) < len(tokens) or not same(scores[begin : begin + len(tokens)], due, dtype):
                    raise Unjoinable("sequences that share a forward pass would change each other")
        for row in rows:
            self.memory.close(row)


def rounded_up(tokens: int) -> int:
    """Return the next number of tokens that a step may have where oneDNN computes it.

    It makes a kernel for every number that it meets, which takes a millisecond and, in float32, a megabyte for each
    of a layer's products, and never gives that back. So there are four numbers between a power of two and the next.
    """
    grain = _grain(tokens)
    return -(-tokens // grain) * grain


def rounded_down(tokens: int) -> int:
    """Return the largest such number that is not above `tokens`."""
    return tokens - tokens % _grain(tokens)


def _grain(tokens: int) -> int:
    return 1 << max(0, (tokens - 1).bit_length() - 3)


def _configs(model: Any) -> list[Any]:
    """Return every config of a model and its parts, each once."""
    found = {id(part.config): part.config for part in model.modules() if isinstance(part, PreTrainedModel)}
    return list(found.values())
