"""The forward pass of a model, for many sequences at once where it can."""

from __future__ import annotations

import logging
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from transformers import PreTrainedModel
from transformers.cache_utils import DynamicLayer

from openmodels.backends.local.engines.torch import attention, fused_llama
from openmodels.backends.local.engines.torch.attention import BatchingUnsupported, ForwardContext
from openmodels.backends.local.engines.torch.equivalence_check import (
    PROBE_LENGTH,
    check_sequential,
    is_close,
    probe_tokens,
)
from openmodels.backends.local.engines.torch.kv_cache import KVCache, LayerShape, Slot
from openmodels.backends.local.engines.torch.loader import LoadedModel, is_out_of_memory
from openmodels.backends.local.engines.torch.single_sequence import SequentialModel

_log = logging.getLogger(__name__)


class ModelRunner:
    """Runs a loaded model.

    Whether sequences can share a forward pass is not looked up in a table but tried: short sequences run side by
    side, as prompts, single tokens, draft tokens and on a restored prefix, and must get the scores that the model
    itself gives. Where they do not, `equivalence_check` finds out how one sequence at a time can be computed.

    Args:
        loaded: The model.
        deterministic: Compute one sequence at a time in any case, through transformers' own cache.

    Attributes:
        sequential: The model as it computes one sequence at a time.
        kv_cache: The keys and values of the sequences; None when the model computes one at a time.
        sequential_reason: Why the model computes one sequence at a time, or None.
    """

    def __init__(self, loaded: LoadedModel, *, deterministic: bool = False) -> None:
        self._model, self._device, self._dtype = loaded.model, loaded.device, loaded.dtype
        self.sequential = SequentialModel(loaded.model, loaded.device)
        self._takes_logits_to_keep = self.sequential.takes_logits_to_keep
        self._configs = _configs(loaded.model)
        self._fused: fused_llama.FusedLlama | None = None
        self.kv_cache: KVCache | None = None
        self.sequential_reason: str | None = None
        try:
            if deterministic:
                raise BatchingUnsupported("deterministic=True asks for it")
            if loaded.processor is not None:
                raise BatchingUnsupported("it reads images, which are computed with the prompt they stand in")
            self._enable_batching(loaded)
        except BatchingUnsupported as error:
            self.kv_cache, self.sequential_reason = None, str(error)
            check_sequential(self.sequential, loaded.dtype)

    @property
    def can_crop(self) -> bool:
        """Whether the newest tokens can be taken out of a cache again."""
        cache = self.sequential.new_cache()
        return cache is not None and all(type(layer) is DynamicLayer for layer in cache.layers)

    @property
    def pads_steps(self) -> bool:
        """Whether steps are padded to `rounded_up` of their tokens, as oneDNN needs it."""
        is_packed = self._fused is not None and self._fused.is_packed
        return is_packed or (self._device.type == "cpu" and self._dtype is torch.bfloat16)

    @torch.inference_mode()
    def execute(self, work: Sequence[tuple[Slot, Sequence[int], int]]) -> tuple[torch.Tensor, list[int]]:
        """Compute the next tokens of several slots in one forward pass.

        Args:
            work: Slots, the tokens that follow what they hold, and after how many of these, counted
                from the last, scores are wanted. The tokens fit; each `length` is left to the caller.

        Returns:
            All scores, shape (wanted, vocabulary), and for each slot where its own begin.
        """
        assert self.kv_cache is not None  # noqa: S101 - the caller has one sequence at a time otherwise
        context = ForwardContext(self.kv_cache, [(slot, len(tokens)) for slot, tokens, _ in work])
        token_ids: list[int] = []
        logits_to_keep: list[int] = []
        begins = [0] * len(work)
        for number in context.order:
            _, tokens, wanted = work[number]
            begins[number] = len(logits_to_keep)
            token_ids.extend(tokens)
            logits_to_keep.extend(range(len(token_ids) - wanted, len(token_ids)))
        return self._forward(context, token_ids, logits_to_keep)[: len(logits_to_keep)], begins

    def _forward(self, context: ForwardContext, token_ids: list[int], logits_to_keep: list[int]) -> torch.Tensor:
        position_ids = context.positions
        if self.pads_steps:
            padding = rounded_up(len(token_ids)) - len(token_ids)
            token_ids, position_ids = token_ids + padding * [0], position_ids + padding * [0]
            padding = rounded_up(len(logits_to_keep)) - len(logits_to_keep)
            logits_to_keep = logits_to_keep + padding * logits_to_keep[-1:]
        wanted = torch.tensor(logits_to_keep, dtype=torch.long, device=self._device)
        if self._fused is not None:
            positions = torch.tensor(position_ids, device=self._device)
            return self._fused(torch.tensor(token_ids, device=self._device), positions, context, wanted)
        with self._own_attention(), attention.set_forward_context(context):
            scores: torch.Tensor = self._model(
                input_ids=torch.tensor([token_ids], device=self._device),
                position_ids=torch.tensor([position_ids], device=self._device),
                use_cache=False,
                **({"logits_to_keep": wanted} if self._takes_logits_to_keep else {}),
            ).logits[0]
        return scores if self._takes_logits_to_keep else scores[wanted]

    @contextmanager
    def _own_attention(self) -> Generator[None, None, None]:
        names = [config._attn_implementation for config in self._configs]  # noqa: SLF001 - transformers has no other name
        for config in self._configs:
            config._attn_implementation = attention.NAME  # noqa: SLF001 - as above
        try:
            yield
        finally:
            for config, name in zip(self._configs, names, strict=True):
                config._attn_implementation = name  # noqa: SLF001 - as above

    @torch.inference_mode()
    def _enable_batching(self, loaded: LoadedModel) -> None:
        config = loaded.model.config.get_text_config(decoder=True)
        if self.sequential.rope_switch_length is not None:
            raise BatchingUnsupported("its positions are scaled by the longest sequence")
        if not getattr(loaded.model, "_supports_attention_backend", False):
            raise BatchingUnsupported("transformers gives no access to its attention")
        if not self.can_crop:
            raise BatchingUnsupported("its cache is not of keys and values alone")
        self._fused = fused_llama.FusedLlama(loaded.model) if fused_llama.is_supported(loaded.model) else None
        self._check_batching(config.vocab_size, loaded.dtype)
        if self._fused is not None:
            self._fused.release_weights()

    def _check_batching(self, vocab_size: int, dtype: torch.dtype) -> None:
        """Try a shared forward pass: the fused one, else transformers' own."""
        try:
            self._run_probes(vocab_size, dtype)
        except Exception as error:
            if is_out_of_memory(error):
                raise
            if self._fused is not None:
                _log.info("a forward pass of fewer operations is left out: %s: %s", type(error).__name__, error)
                self._fused = None
                self._check_batching(vocab_size, dtype)
                return
            if isinstance(error, BatchingUnsupported):
                raise
            raise BatchingUnsupported(f"a shared forward pass failed: {type(error).__name__}") from error

    def _run_probes(self, vocab_size: int, dtype: torch.dtype) -> None:
        texts = [probe_tokens(PROBE_LENGTH, vocab_size, number) for number in (1, 2)]
        expected, shapes = [], []
        for text in texts:
            sequence = self.sequential.start(text)
            expected.append(sequence.extend(text, logits_to_keep=PROBE_LENGTH))
            layers = [(layer.keys.shape, layer.values.shape) for layer in sequence.cache.layers]
            shapes = [LayerShape(keys[1], keys[3], values[3]) for keys, values in layers]
        if len({shape.kv_heads for shape in shapes}) != 1:
            raise BatchingUnsupported("its layers differ in their number of heads")
        self.kv_cache = KVCache(shapes, dtype, self._device)
        slots = [self.kv_cache.allocate(PROBE_LENGTH) for _ in texts]
        # Two prompts; a prompt's next chunk beside a token; two tokens beside draft tokens on a restored prefix; two
        # tokens.
        for step, sizes in enumerate(((3, 5), (3, 1), (1, 1, 3), (1, 1))):
            if step == 2:
                slots.append(self.kv_cache.allocate(PROBE_LENGTH))
                self.kv_cache.fill(slots[-1], self.kv_cache.copy(slots[1]), 5)
            work = [
                (slot, texts[min(at, 1)][slot.length : slot.length + size], size)
                for at, (slot, size) in enumerate(zip(slots, sizes, strict=False))
            ]
            scores, begins = self.execute(work)
            for at, ((slot, tokens, _), begin) in enumerate(zip(work, begins, strict=True)):
                due = expected[min(at, 1)][-PROBE_LENGTH:][slot.length : slot.length + len(tokens)]
                slot.length += len(tokens)
                if len(due) < len(tokens) or not is_close(scores[begin : begin + len(tokens)], due, dtype):
                    raise BatchingUnsupported("sequences that share a forward pass would change each other")
        for slot in slots:
            self.kv_cache.release(slot)


def rounded_up(tokens: int) -> int:
    """Return the next number of tokens that a step may have where oneDNN computes it.

    oneDNN compiles a kernel for every number of tokens that it meets, which takes a millisecond and about half a
    megabyte for each product of a layer, and never frees it: 1.9 GB after all numbers up to 512 in float32. With four
    numbers between a power of two and the next it is 120 MB, for at most a quarter more tokens.
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
    configs = {id(part.config): part.config for part in model.modules() if isinstance(part, PreTrainedModel)}
    return list(configs.values())
