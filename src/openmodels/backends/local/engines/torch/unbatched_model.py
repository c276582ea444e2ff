"""One sequence computed by itself, with the inputs that `generate` gives it.

Models differ in what they take beside tokens: positions in one or four rows, token types, masks that grow, a cache of
their own or none. `prepare_inputs_for_generation` and `_update_model_kwargs_for_generation` know it, model by model, so
the scores are those of `generate`. All of it belongs to the sequence; what a forward pass stores on the model itself is
restored before the next sequence starts.
"""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from transformers import DynamicCache, GenerationMixin

_CACHE_ARGUMENTS = ("cache", "past_key_values", "cache_params")
"""The name of the cache's argument in transformers 5.24, before that, and for recurrent models before that."""
_PER_TOKEN = ("position_ids", "token_type_ids", "mm_token_type_ids", "moe_mm_token_type_ids")
"""Inputs as long as the sequence; their last dimension counts its tokens."""
_STATE_ATTRIBUTES = ("rope_deltas", "recurrent_states", "conv1d_state", "num_buckets", "max_seq_len_cached")
"""Attributes in which forward passes store what belongs to, or follows from, one sequence."""
_ORIGINAL = "original_max_position_embeddings"


class UnbatchedModel:
    """A transformers model that generates one sequence at a time."""

    def __init__(self, model: Any, device: torch.device) -> None:
        self.model, self.device = model, device
        arguments = inspect.signature(model.forward).parameters
        self.takes_position_ids = "position_ids" in arguments and not model.config.is_encoder_decoder
        self.takes_logits_to_keep = "logits_to_keep" in arguments
        self.cache_argument = next((name for name in _CACHE_ARGUMENTS if name in arguments), _CACHE_ARGUMENTS[0])
        # The length at which the frequencies of the positions change, or None. `generate` chooses them by the whole
        # length of the prompt and then token by token, so a chunk may neither lie on both sides nor beyond.
        self.rope_switch_length = _rope_switch_length(model.config)
        # Why a prompt, and what is forced later, is not computed in chunks; None where it may be.
        self.whole_prompt: str | None = None
        # Why the whole sequence is computed for every token; None where its newest tokens are enough.
        self.recompute: str | None = None
        states = [(module, _read_state(module)) for module in model.modules()]
        self._initial = [(module, state) for module, state in states if state]

    def new_cache(self) -> Any:
        """Return a cache as `generate` creates it; None where the model creates its own."""
        has_default = self.model._supports_default_dynamic_cache()  # noqa: SLF001 - transformers has no other name for it
        return DynamicCache(config=self.model.config.get_text_config(decoder=True)) if has_default else None

    @property
    def is_stepwise(self) -> bool:
        """Whether tokens after the prompt are computed one by one, as `generate` does."""
        # A mask of the model's own may grow by one token at a time.
        update = type(self.model)._update_model_kwargs_for_generation  # noqa: SLF001 - as above
        default = GenerationMixin._update_model_kwargs_for_generation  # noqa: SLF001 - as above
        return update is not default or self.whole_prompt is not None

    @torch.inference_mode()
    def start(self, prompt: Sequence[int], inputs: Mapping[str, Any] | None = None) -> "UnbatchedSequence":
        """Return the state of a new sequence, of which nothing is computed yet.

        Its prompt sets its other inputs, e.g. the positions; `inputs` are further ones, e.g. the tensors of images.
        """
        self.restore()
        return UnbatchedSequence(self, prompt, inputs or {})

    def restore(self) -> None:
        """Reset what forward passes stored on the model for a sequence that has ended."""
        for module, state in self._initial:
            for name, value in state.items():
                if getattr(module, name) is not value:
                    # A rotary embedding that follows the longest length replaces its buffer.
                    attributes = module._buffers if name in module._buffers else module.__dict__  # noqa: SLF001 - as above
                    attributes[name] = value

    def next_chunk_size(self, prompt: int, computed: int, pending: int, limit: int, *, has_images: bool = False) -> int:
        """Return how many `pending` tokens to compute in a pass, usually up to `limit`.

        Images that are not computed are in one pass with their prompt.
        """
        if computed < prompt:
            in_one_pass = has_images or self.whole_prompt is not None or self.recompute is not None
            if in_one_pass or (self.rope_switch_length is not None and prompt > self.rope_switch_length):
                return prompt - computed
            return min(limit, prompt - computed)
        if self.recompute is not None:
            return pending
        beyond = self.rope_switch_length is not None and computed + pending > self.rope_switch_length
        return 1 if self.is_stepwise or beyond else min(limit, pending)


class UnbatchedSequence:
    """The cache and the inputs of one sequence, of which `tokens` are computed."""

    def __init__(self, runner: UnbatchedModel, prompt: Sequence[int], inputs: Mapping[str, Any]) -> None:
        self._runner = runner
        self._prompt = len(prompt)
        self._inputs = dict(inputs)
        self._outputs: Any = None
        self.tokens: list[int] = []
        model, device = runner.model, runner.device
        values: dict[str, Any] = {name: value.to(device) for name, value in inputs.items()}
        ids = torch.tensor([list(prompt)], device=device)
        if runner.takes_position_ids:
            mask = {"attention_mask": torch.ones_like(ids)}
            positions = model._prepare_position_ids_for_generation(ids, values | mask)  # noqa: SLF001 - as above
            values["position_ids"] = positions
        self._per_token = {name: values[name] for name in _PER_TOKEN if values.get(name) is not None}
        cache = runner.new_cache()
        self._kwargs: dict[str, Any] = values | {"use_cache": True}
        if cache is not None:
            self._kwargs[runner.cache_argument] = cache
        self._prepared = self._prompt

    @property
    def cache(self) -> Any:
        """The sequence's cache, of a class of transformers."""
        return self._kwargs.get(self._runner.cache_argument)

    @torch.inference_mode()
    def extend(self, tokens: Sequence[int], *, logits_to_keep: int = 1) -> torch.Tensor:
        """Return the scores after the last tokens, shape (logits_to_keep, vocabulary).

        The tokens are of the prompt, or behind it, but not both unless all are recomputed.
        """
        if self._runner.recompute is not None and self.tokens:
            return self._recomputed([*self.tokens, *tokens], logits_to_keep)
        model, is_first = self._runner.model, not self.tokens
        end = len(self.tokens) + len(tokens)
        if (missing := end - self._prepared) > 0:
            self._kwargs = model._update_model_kwargs_for_generation(  # noqa: SLF001 - as above
                self._outputs, self._kwargs, is_encoder_decoder=False, num_new_tokens=missing
            )
            self._prepared = end
        kwargs = dict(self._kwargs)
        if end <= self._prompt:
            kwargs |= {name: value[..., :end] for name, value in self._per_token.items()}
        inputs = model.prepare_inputs_for_generation(
            torch.tensor([[*self.tokens, *tokens]], device=self._runner.device),
            next_sequence_length=None if is_first else len(tokens),
            is_first_iteration=end <= self._prompt,
            **kwargs,
        )
        if self._runner.takes_logits_to_keep:
            inputs["logits_to_keep"] = logits_to_keep
        outputs = model(**inputs, return_dict=True)
        self.tokens.extend(tokens)
        self._outputs = outputs
        if (name := self._runner.cache_argument) in outputs:
            self._kwargs[name] = outputs[name]
        logits: torch.Tensor = outputs.logits[0, -logits_to_keep:]
        return logits

    def crop(self, count: int) -> None:
        """Take the newest tokens out of the cache again, where `ModelRunner.can_crop`."""
        self.cache.crop(-count)
        del self.tokens[-count:]
        cropped = {name: value[..., : len(self.tokens)] for name, value in self._kwargs.items() if name in _PER_TOKEN}
        self._kwargs |= cropped
        self._prepared = self._prompt = min(self._prepared, len(self.tokens))
        self._per_token = cropped

    def _recomputed(self, tokens: list[int], logits_to_keep: int) -> torch.Tensor:
        padding = len(tokens) - self._prompt
        inputs = {
            name: torch.nn.functional.pad(value, (0, padding)) if name in _PER_TOKEN else value
            for name, value in self._inputs.items()
        }
        scores = self._runner.start(tokens, inputs).extend(tokens, logits_to_keep=logits_to_keep)
        self.tokens = tokens
        return scores


def _read_state(module: torch.nn.Module) -> dict[str, Any]:
    """Return the current values of what forward passes may replace on a module."""
    state = {name: value for name, value in module.named_buffers(recurse=False) if name.endswith("inv_freq")}
    return state | {name: module.__dict__[name] for name in _STATE_ATTRIBUTES if name in module.__dict__}


def _rope_switch_length(config: Any) -> int | None:
    """Return the length up to which positions have their short-text frequencies."""
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
