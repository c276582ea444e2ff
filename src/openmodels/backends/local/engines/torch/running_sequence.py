"""A running sequence: a request from its prompt to its last token."""

from typing import TYPE_CHECKING, Any

from openmodels.backends.local import constraint
from openmodels.backends.local.engines.engine_loop import QueuedRequest
from openmodels.backends.local.engines.torch.draft_tokens import Drafter
from openmodels.backends.local.engines.torch.logprobs import LogprobCollector
from openmodels.backends.local.engines.torch.sampling import Sampler, check_finite
from openmodels.backends.local.output_processor import OutputProcessor
from openmodels.backends.local.prompt.prepare import prepare_request
from openmodels.types.request import ChatRequest

if TYPE_CHECKING:
    import torch

    from openmodels.backends.local.engines.torch.kv_cache import Slot
    from openmodels.backends.local.engines.torch.loader import LoadedModel


class RunningSequence:
    """The tokens of a request, their KV cache, and the processor of its output.

    A cycle ends the answer with `repetition_stop`; where its form is demanded, none does.
    """

    def __init__(
        self, queued: QueuedRequest, request: ChatRequest, loaded: "LoadedModel", *, repetition_stop: bool = True
    ) -> None:
        self.queued, config = queued, loaded.prompt_config
        prepared = prepare_request(request, config, processor=loaded.processor, dtype=loaded.dtype)
        prompt = prepared.prompt
        self._eos_token_ids = frozenset(config.eos_token_ids)
        self.output = OutputProcessor(
            request,
            prompt,
            config,
            max_new_tokens=prepared.max_new_tokens,
            repetition_stop=repetition_stop,
            logprobs=None if request.logprobs is None else LogprobCollector(config.tokenizer, request.logprobs),
        )
        self.output.cached_tokens = 0
        vocab_size = loaded.model.config.get_text_config().vocab_size
        self.sampler = Sampler(
            prepared.sampling,
            config.generation_config,
            prompt.tokens,
            vocab_size,
            loaded.device,
            max_new_tokens=prepared.max_new_tokens,
            eos_token_ids=config.eos_token_ids,
        )
        self.constraint: constraint.Constraint | None = None
        if prompt.output is not None:
            self.constraint = constraint.make_constraint(
                prompt.output, config.tokenizer, vocab_size, self._eos_token_ids
            )
        self.prompt_length = len(prompt.tokens)  # tokens of the prompt, without those that the answer must begin with
        # What the answer must begin with is computed together with the prompt.
        self._forced_first = self._accept_forced()
        self.tokens = prompt.tokens + self._forced_first  # the tokens of the prompt and of the answer so far
        self.slot: Slot | None = None  # the place of the keys and values, while the sequence shares forward passes
        # The same where it runs alone: its `UnbatchedSequence`, in which `computed` tokens are computed.
        self.cache: Any = None
        self.computed = 0
        self.inputs = prompt.inputs  # the tensors of the prompt's images, until they are computed
        self.drafter = Drafter(self.tokens, loaded.draft)

    @property
    def is_finished(self) -> bool:
        """Whether the answer is complete."""
        return self.output.is_finished

    def record_cached(self, tokens: int) -> None:
        """Note how many tokens of the prompt a slot came with."""
        if not self.output.output_tokens:
            self.output.cached_tokens = tokens

    @property
    def pending(self) -> list[int]:
        """Tokens that are not computed: the prompt's rest, then what was accepted last."""
        return self.tokens[self.computed if self.slot is None else self.slot.length :]

    def choose(self, scores: "torch.Tensor", likeliest: int, largest: float) -> None:
        """Choose the next token by its scores, shape (vocabulary,), and accept it."""
        check_finite(largest)
        token = likeliest
        if self.constraint is not None:
            token = self.sampler.sample(scores, self.constraint.mask)
        elif not self.sampler.is_greedy:
            token = self.sampler.sample(scores)
        self.accept(token, scores)

    def accept(self, token: int, scores: "torch.Tensor | None" = None) -> None:
        """Append the next token, and those that must follow it, for `emit` to give out."""
        forced_before, self._forced_first = self._forced_first, []
        forced_after: list[int] = []
        if self.constraint is not None and token not in self._eos_token_ids:
            self.constraint.accept(token)
            forced_after = self._accept_forced()
        self.tokens += [token, *forced_after]
        for forced in forced_before:
            self.output.add(forced)
            if self.output.is_finished:
                return
        self.output.add(token, scores, complete=not forced_after and self._is_complete)
        for number, forced in enumerate(forced_after, 1):
            if self.output.is_finished:
                return
            self.output.add(forced, complete=number == len(forced_after) and self._is_complete)

    def emit(self) -> None:
        """Give out what became complete, in one delta."""
        if (delta := self.output.take_delta()) is not None:
            self.queued.put(delta)

    @property
    def _is_complete(self) -> bool:
        """Whether nothing but the end may follow."""
        return self.constraint is not None and self.constraint.finished

    def _accept_forced(self) -> list[int]:
        """Return the tokens that must come next, accepted by constraint and sampler."""
        if self.constraint is None:
            return []
        tokens = self.constraint.forced()
        for token in tokens:
            self.constraint.accept(token)
            self.sampler.record(token)
        return tokens
