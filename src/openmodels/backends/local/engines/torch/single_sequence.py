"""One sequence computed by itself, fed as transformers' own `generate` feeds it.

What a model takes beside its tokens differs: positions in one or four rows, token types, masks that grow, a cache of
its own or none. `prepare_inputs_for_generation` and `_update_model_kwargs_for_generation` know it, model by model, so
the scores are those of `generate`. All of it belongs to the sequence; what a forward pass keeps on the model itself is
taken back before the next sequence begins.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from transformers import DynamicCache, GenerationMixin

_CACHES = ("cache", "past_key_values", "cache_params")
"""The argument's name in transformers 5.24, before, and for recurrent models before."""
_ALONG = ("position_ids", "token_type_ids", "mm_token_type_ids", "moe_mm_token_type_ids")
"""What is as long as the sequence; the last dimension counts its tokens."""
_KEPT = ("rope_deltas", "recurrent_states", "conv1d_state", "num_buckets", "max_seq_len_cached")
"""Attributes in which forward passes keep what belongs to a sequence, or follows from one."""
_ORIGINAL = "original_max_position_embeddings"


class SequentialModel:
    """A model that computes one sequence at a time.

    Args:
        model: A transformers model that generates.
        device: Where its inputs go.

    Attributes:
        whole_prompt: Why a prompt, and what is forced later, is not computed in chunks; None where it may be.
        recompute: Why the whole sequence is computed for every token; None where its newest tokens are enough.
        switch: The length at which the positions' frequencies change, or None. `generate` chooses them by the
            prompt's whole length and then token by token, so no chunk may lie on both sides, or beyond.
    """

    def __init__(self, model: Any, device: torch.device) -> None:
        self.model, self.device = model, device
        takes = inspect.signature(model.forward).parameters
        self.positioned = "position_ids" in takes and not model.config.is_encoder_decoder
        self.keeps_logits = "logits_to_keep" in takes
        self.cache_argument = next((name for name in _CACHES if name in takes), _CACHES[0])
        self.switch = _switch(model.config)
        self.whole_prompt: str | None = None
        self.recompute: str | None = None
        states = [(module, _state(module)) for module in model.modules()]
        self._initial = [(module, state) for module, state in states if state]

    def new_cache(self) -> Any:
        """Return the empty cache that `generate` would make; None where the model makes its own."""
        if not self.model._supports_default_dynamic_cache():  # noqa: SLF001 - transformers has no other name for it
            return None
        return DynamicCache(config=self.model.config.get_text_config(decoder=True))

    @property
    def steps_singly(self) -> bool:
        """Whether tokens after the prompt are computed one by one, as `generate` does."""
        # A mask of the model's own may grow by one token at a time.
        own = type(self.model)._update_model_kwargs_for_generation  # noqa: SLF001 - as above
        usual = GenerationMixin._update_model_kwargs_for_generation  # noqa: SLF001 - as above
        return own is not usual or self.whole_prompt is not None

    @torch.inference_mode()
    def begin(self, prompt: Sequence[int], inputs: Mapping[str, Any] | None = None) -> Generation:
        """Return a new sequence; nothing of it is computed yet.

        Args:
            prompt: Its first tokens, which set what goes along with them: positions, for example.
            inputs: What else the model takes with them: the tensors of images.
        """
        self.restore()
        return Generation(self, prompt, inputs or {})

    def restore(self) -> None:
        """Take back what forward passes kept on the model: it belongs to a sequence that is over."""
        for module, state in self._initial:
            for name, value in state.items():
                if getattr(module, name) is not value:
                    # A rotary embedding that follows the longest length replaces its buffer.
                    held = module._buffers if name in module._buffers else module.__dict__  # noqa: SLF001 - as above
                    held[name] = value

    def next_chunk(self, prompt: int, computed: int, pending: int, most: int, *, images: bool = False) -> int:
        """Return how many of a sequence's next tokens to compute in one pass.

        Args:
            prompt: The prompt's length.
            computed: Tokens that are computed.
            pending: Tokens that are not, of the prompt and after.
            most: The largest chunk.
            images: Whether the prompt's images are yet to be computed: they are in one pass with it.
        """
        if computed < prompt:
            whole = images or self.whole_prompt is not None or self.recompute is not None
            whole = whole or (self.switch is not None and prompt > self.switch)
            return prompt - computed if whole else min(most, prompt - computed)
        if self.recompute is not None:
            return pending
        beyond = self.switch is not None and computed + pending > self.switch
        return 1 if self.steps_singly or beyond else min(most, pending)


class Generation:
    """One sequence's passes.

    Args:
        runner: The model.
        prompt: Its first tokens.
        inputs: What else the model takes with them.

    Attributes:
        tokens: The tokens that are computed.
    """

    def __init__(self, runner: SequentialModel, prompt: Sequence[int], inputs: Mapping[str, Any]) -> None:
        self._runner = runner
        self._prompt = len(prompt)
        self._inputs = dict(inputs)
        self._outputs: Any = None
        self.tokens: list[int] = []
        model, device = runner.model, runner.device
        values: dict[str, Any] = {name: value.to(device) for name, value in inputs.items()}
        ids = torch.tensor([list(prompt)], device=device)
        if runner.positioned:
            mask = {"attention_mask": torch.ones_like(ids)}
            positions = model._prepare_position_ids_for_generation(ids, values | mask)  # noqa: SLF001 - as above
            values["position_ids"] = positions
        self._along = {name: values[name] for name in _ALONG if values.get(name) is not None}
        cache = runner.new_cache()
        self._kwargs: dict[str, Any] = values | {"use_cache": True}
        if cache is not None:
            self._kwargs[runner.cache_argument] = cache
        self._covered = self._prompt

    @property
    def cache(self) -> Any:
        """The sequence's cache of transformers."""
        return self._kwargs.get(self._runner.cache_argument)

    @torch.inference_mode()
    def extend(self, tokens: Sequence[int], *, keep: int = 1) -> torch.Tensor:
        """Compute the next tokens; they are of the prompt, or behind it, but not both unless all are recomputed.

        Args:
            tokens: The tokens that follow `tokens`.
            keep: After how many of them, counted from the last, scores are wanted.

        Returns:
            The scores, shape (keep, vocabulary).
        """
        if self._runner.recompute is not None and self.tokens:
            return self._recomputed([*self.tokens, *tokens], keep)
        model, first = self._runner.model, not self.tokens
        end = len(self.tokens) + len(tokens)
        if (missing := end - self._covered) > 0:
            self._kwargs = self._updated(missing)
            self._covered = end
        kwargs = dict(self._kwargs)
        if end <= self._prompt:
            kwargs |= {name: value[..., :end] for name, value in self._along.items()}
        inputs = model.prepare_inputs_for_generation(
            torch.tensor([[*self.tokens, *tokens]], device=self._runner.device),
            next_sequence_length=None if first else len(tokens),
            is_first_iteration=end <= self._prompt,
            **kwargs,
        )
        if self._runner.keeps_logits:
            inputs["logits_to_keep"] = keep
        outputs = model(**inputs, return_dict=True)
        self.tokens.extend(tokens)
        self._outputs = outputs
        if (name := self._runner.cache_argument) in outputs:
            self._kwargs[name] = outputs[name]
        logits: torch.Tensor = outputs.logits[0, -keep:]
        return logits

    def crop(self, count: int) -> None:
        """Take the newest tokens out of the cache again, where `Decoder.crops`."""
        self.cache.crop(-count)
        del self.tokens[-count:]
        kept = {name: value[..., : len(self.tokens)] for name, value in self._kwargs.items() if name in _ALONG}
        self._kwargs |= kept
        self._covered = self._prompt = min(self._covered, len(self.tokens))
        self._along = kept

    def _recomputed(self, tokens: list[int], keep: int) -> torch.Tensor:
        more = len(tokens) - self._prompt
        inputs = {
            name: torch.nn.functional.pad(value, (0, more)) if name in _ALONG else value
            for name, value in self._inputs.items()
        }
        scores = self._runner.begin(tokens, inputs).extend(tokens, keep=keep)
        self.tokens = tokens
        return scores

    def _updated(self, count: int) -> dict[str, Any]:
        """Return the arguments for `count` more tokens."""
        updated: dict[str, Any] = self._runner.model._update_model_kwargs_for_generation(  # noqa: SLF001 - as above
            self._outputs,
            self._kwargs,
            is_encoder_decoder=False,
            num_new_tokens=count,
        )
        return updated


def _state(module: torch.nn.Module) -> dict[str, Any]:
    """Return what forward passes may replace on a module, as it is now."""
    buffers = dict(module.named_buffers(recurse=False))
    state = {name: value for name, value in buffers.items() if name.endswith("inv_freq")}
    state |= {name: module.__dict__[name] for name in _KEPT if name in module.__dict__}
    return state


def _switch(config: Any) -> int | None:
    """Return the length in tokens up to which the positions' frequencies are those of short sequences."""
    text = config.get_text_config(decoder=True)
    rope = getattr(text, "rope_parameters", None) or {}
    lengths: list[Any] = []
    for part in (rope, *rope.values()):
        kind = str(part.get("rope_type")) if isinstance(part, dict) else ""
        if kind == "longrope" or "dynamic" in kind:
            lengths += [part.get(_ORIGINAL), getattr(text, _ORIGINAL, None)]
        if "dynamic" in kind:
            lengths.append(getattr(text, "max_position_embeddings", None))
    return min((length for length in lengths if isinstance(length, int)), default=0) if lengths else None
