"""The forward pass of a model, for many sequences at once where it can."""

import logging
from collections.abc import Mapping, Sequence

import torch
from transformers import PreTrainedModel
from transformers.cache_utils import DynamicLayer

from openmodels.backends.local.engines.torch import attention, fused_llama
from openmodels.backends.local.engines.torch.attention import BatchingUnsupported, ForwardContext
from openmodels.backends.local.engines.torch.equivalence_check import (
    PROBE_LENGTH,
    check_unbatched,
    is_close,
    probe_tokens,
)
from openmodels.backends.local.engines.torch.kv_cache import KVCache, LayerShape, Slot
from openmodels.backends.local.engines.torch.loader import LoadedModel, is_out_of_memory
from openmodels.backends.local.engines.torch.unbatched_model import UnbatchedModel

_log = logging.getLogger(__name__)


class ModelRunner:
    """Runs a loaded model.

    Whether sequences can share a forward pass is not looked up in a table but tried: short sequences run side by
    side, as prompts, single tokens, draft tokens and on a restored prefix, and must get the scores that the model
    itself gives. Where they do not, or with `deterministic`, `unbatched` computes one sequence at a time, through
    transformers' own cache: `unbatched_reason` says why, and `kv_cache` is None. `equivalence_check` finds out how.
    """

    def __init__(self, loaded: LoadedModel, *, deterministic: bool = False) -> None:
        self.loaded = loaded
        self.unbatched = UnbatchedModel(loaded.model, loaded.device)
        self._takes_logits_to_keep = self.unbatched.takes_logits_to_keep
        parts = [part.config for part in loaded.model.modules() if isinstance(part, PreTrainedModel)]
        self._configs = {id(config): config for config in parts}.values()
        self._fused: fused_llama.FusedLlama | None = None
        self.kv_cache: KVCache | None = None
        self.unbatched_reason: str | None = None
        try:
            if deterministic:
                raise BatchingUnsupported("deterministic=True asks for it")
            if loaded.processor is not None:
                raise BatchingUnsupported("it reads images, which are computed with the prompt they stand in")
            self._enable_batching()
        except BatchingUnsupported as error:
            self.kv_cache, self.unbatched_reason = None, str(error)
            check_unbatched(self.unbatched, loaded.dtype)

    @property
    def can_crop(self) -> bool:
        """Whether the newest tokens can be taken out of a cache again."""
        cache = self.unbatched.new_cache()
        return cache is not None and all(type(layer) is DynamicLayer for layer in cache.layers)

    @property
    def is_padded(self) -> bool:
        """Whether steps are padded to `rounded_up` of their tokens, as oneDNN needs it."""
        is_packed = self._fused is not None and self._fused.is_packed
        return is_packed or (self.loaded.device.type == "cpu" and self.loaded.dtype is torch.bfloat16)

    def execute(self, work: Sequence[tuple[Slot, Sequence[int], int]]) -> tuple[torch.Tensor, list[int]]:
        """Compute the next tokens of several slots in one forward pass.

        The work is slots, the tokens that follow what they hold, and after how many of these, counted from the last,
        scores are wanted. The tokens fit; each `length` is left to the caller. Return all scores, shape (wanted,
        vocabulary), and for each slot where its own begin.
        """
        return self.execute_branched(work, {})

    @torch.inference_mode()
    def execute_branched(
        self, work: Sequence[tuple[Slot, Sequence[int], int]], branches: Mapping[int, Sequence[int]]
    ) -> tuple[torch.Tensor, list[int]]:
        """Compute as `execute` does where tokens end with branches; see `ForwardContext`."""
        assert self.kv_cache is not None  # noqa: S101 - the caller has one sequence at a time otherwise
        context = ForwardContext(self.kv_cache, [(slot, len(tokens)) for slot, tokens, _ in work], branches)
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
        device, position_ids = self.loaded.device, context.positions
        if self.is_padded:
            padding = rounded_up(len(token_ids)) - len(token_ids)
            token_ids, position_ids = token_ids + padding * [0], position_ids + padding * [0]
            padding = rounded_up(len(logits_to_keep)) - len(logits_to_keep)
            logits_to_keep = logits_to_keep + padding * logits_to_keep[-1:]
        wanted = torch.tensor(logits_to_keep, dtype=torch.long, device=device)
        if self._fused is not None:
            positions = torch.tensor(position_ids, device=device)
            return self._fused(torch.tensor(token_ids, device=device), positions, context, wanted)
        with attention.set_forward_context(context, self._configs):
            scores: torch.Tensor = self.loaded.model(
                input_ids=torch.tensor([token_ids], device=device),
                position_ids=torch.tensor([position_ids], device=device),
                use_cache=False,
                **({"logits_to_keep": wanted} if self._takes_logits_to_keep else {}),
            ).logits[0]
        return scores if self._takes_logits_to_keep else scores[wanted]

    @torch.inference_mode()
    def _enable_batching(self) -> None:
        model = self.loaded.model
        if self.unbatched.rope_switch_length is not None:
            raise BatchingUnsupported("its positions are scaled by the longest sequence")
        if not getattr(model, "_supports_attention_backend", False):
            raise BatchingUnsupported("transformers gives no access to its attention")
        if not self.can_crop:
            raise BatchingUnsupported("its cache is not of keys and values alone")
        self._fused = fused_llama.FusedLlama(model) if fused_llama.is_supported(model) else None
        self._check_batching()
        if self._fused is not None:
            self._fused.release_weights()

    def _check_batching(self) -> None:
        """Try a shared forward pass: the fused one, else transformers' own."""
        try:
            self._run_probes()
        except Exception as error:
            if is_out_of_memory(error):
                raise
            if self._fused is not None:
                _log.info("a forward pass of fewer operations is left out: %s: %s", type(error).__name__, error)
                self._fused = None
                self._check_batching()
            elif isinstance(error, BatchingUnsupported):
                raise
            else:
                raise BatchingUnsupported(f"a shared forward pass failed: {type(error).__name__}") from error

    def _run_probes(self) -> None:
        dtype, vocab_size = self.loaded.dtype, self.loaded.model.config.get_text_config(decoder=True).vocab_size
        texts = [probe_tokens(PROBE_LENGTH, vocab_size, number) for number in (1, 2)]
        expected, shapes = [], []
        for text in texts:
            sequence = self.unbatched.start(text)
            expected.append(sequence.extend(text, logits_to_keep=PROBE_LENGTH))
            layers = [(layer.keys.shape, layer.values.shape) for layer in sequence.cache.layers]
            shapes = [LayerShape(keys[1], keys[3], values[3]) for keys, values in layers]
        if len({shape.kv_heads for shape in shapes}) != 1:
            raise BatchingUnsupported("its layers differ in their number of heads")
        self.kv_cache = KVCache(shapes, dtype, self.loaded.device)
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
            for at, ((slot, _, size), begin) in enumerate(zip(work, begins, strict=True)):
                due = expected[min(at, 1)][-PROBE_LENGTH:][slot.length : slot.length + size]
                slot.length += size
                if len(due) < size or not is_close(scores[begin : begin + size], due, dtype):
                    raise BatchingUnsupported("sequences that share a forward pass would change each other")
        # Two branches of a prompt, beside another prompt.
        slots += [self.kv_cache.allocate(2 * PROBE_LENGTH) for _ in texts]
        text, due = texts[0], expected[0][-PROBE_LENGTH:]
        work = [(slots[-1], [*text[:3], *text[3:5], *text[3:7]], 9), (slots[-2], texts[1][:2], 1)]
        scores, (begin, _) = self.execute_branched(work, {0: (2, 4)})
        if not is_close(scores[begin : begin + 9], torch.cat((due[:5], due[3:7])), dtype):
            raise BatchingUnsupported("branches of a prompt would change each other")
        for slot in slots:
            self.kv_cache.release(slot)


def rounded_up(tokens: int) -> int:
    """Return the next number of tokens that a step may have where oneDNN computes it."""
    # oneDNN compiles a kernel for every number of tokens that it meets, which takes a millisecond and about half a
    # megabyte for each product of a layer, and never frees it: 1.9 GB after all numbers up to 512 in float32. With four
    # numbers between a power of two and the next it is 120 MB, for at most a quarter more tokens.
    return tokens + -tokens % _rounding_unit(tokens)


def rounded_down(tokens: int) -> int:
    """Return the largest such number that is not above `tokens`."""
    return tokens - tokens % _rounding_unit(tokens)


def _rounding_unit(tokens: int) -> int:
    return 1 << max(0, (tokens - 1).bit_length() - 3)
