"""One answer in the making: what the step loop keeps for a request from prompt to last token."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from openmodels.backends.local import constraint
from openmodels.backends.local.engines.torch.draft_tokens import Drafter
from openmodels.backends.local.engines.torch.logprobs import LogprobCollector
from openmodels.backends.local.engines.torch.sampling import Sampler, check_finite
from openmodels.backends.local.output_processor import Said, Writing
from openmodels.backends.local.prompt.prepare import (
    check_extra,
    check_tokens,
    prepare_prompt,
    resolve_max_new_tokens,
)
from openmodels.backends.local.repetition import RepetitionDetector
from openmodels.types.reply import Delta, Usage
from openmodels.types.request import ChatRequest

if TYPE_CHECKING:
    import torch

    from openmodels.backends.local.engines.torch.kv_cache import Slot
    from openmodels.backends.local.engines.torch.loader import LoadedModel


class Sequence:
    """A request's tokens, its cache and its way out.

    Args:
        request: What is asked.
        loaded: The model that answers.
        put: Takes the answer's deltas, on the engine's thread.
        repetition_stop: Whether a cycle ends the answer; where its form is demanded, none does.

    Attributes:
        tokens: The tokens of the prompt and of the answer so far.
        cached: Tokens of the prompt whose keys and values were there already.
        slot: The keys and values, while it shares forward passes.
        cache: The same where it runs alone: its `SequenceState`, in which `computed` tokens are computed.
        inputs: The tensors of the prompt's images, until they are computed.
        constraint: Says which tokens may come next; None where any may.

    Raises:
        ContextTooLong: The prompt leaves no room for an answer.
        UnsupportedFeature: `extra` holds more than variables for the chat template.
        OpenModelsError: What `prepare_prompt` raises.
    """

    def __init__(
        self, request: ChatRequest, loaded: LoadedModel, put: Callable[[Delta], None], *, repetition_stop: bool = True
    ) -> None:
        prompt_config = loaded.prompt_config
        check_extra(request)
        own = prepare_prompt(request, prompt_config.tokenizer, prompt_config.context, loaded.processor, loaded.dtype)
        tokens = own.tokens
        check_tokens(tokens, prompt_config.vocab_size)
        self._limit = resolve_max_new_tokens(len(tokens), request, prompt_config)
        self._ends = frozenset(prompt_config.eos_token_ids)
        self._size = len(tokens)
        self._produced = 0
        self._put = put
        self._writing = Writing(request, own, prompt_config.tokenizer, stops=prompt_config.stop_strings)
        self._repetition = RepetitionDetector() if repetition_stop and own.output is None else None
        self._likely = None if request.logprobs is None else LogprobCollector(prompt_config.tokenizer, request.logprobs)
        self._scores: torch.Tensor | None = None
        self._given = 0
        self._said = Said()
        self._reason: str | None = None
        size = loaded.model.config.get_text_config().vocab_size
        self.sampler = Sampler(
            request,
            prompt_config.generation_config,
            tokens,
            size,
            loaded.device,
            max_new_tokens=self._limit,
            eos_token_ids=prompt_config.eos_token_ids,
        )
        self.constraint: constraint.Constraint | None = None
        if own.output is not None:
            self.constraint = constraint.constraint(own.output, prompt_config.tokenizer, size, self._ends)
        # What the answer must begin with is computed together with the prompt.
        self._ahead = self._forced()
        self.tokens = tokens + self._ahead
        self.cached = 0
        self.slot: Slot | None = None
        self.cache: Any = None
        self.computed = 0
        self.inputs = own.inputs
        self.drafter = Drafter(self.tokens, loaded.draft)

    @property
    def pending(self) -> list[int]:
        """Tokens the model has not seen: the prompt's rest, then what was accepted last."""
        return self.tokens[self.computed if self.slot is None else self.slot.length :]

    @property
    def prompt_length(self) -> int:
        """Tokens of the prompt, without those that the answer must begin with."""
        return self._size

    @property
    def finished(self) -> bool:
        """Whether the answer is complete."""
        return self._reason is not None

    @property
    def begun(self) -> bool:
        """Whether the answer has begun."""
        return self._produced > 0

    @property
    def left(self) -> int:
        """How many tokens the answer may still have."""
        return self._limit - self._produced

    def take(self, scores: torch.Tensor, likeliest: int, largest: float) -> None:
        """Choose the next token and accept it; what became complete is kept until `give`.

        Args:
            scores: The model's scores after `tokens`, shape (vocabulary,).
            likeliest: Where they are largest.
            largest: The largest.

        Raises:
            LoadFailed: The scores are no finite numbers.
        """
        check_finite(largest)
        if self.sampler.is_greedy and self.constraint is None:
            self._scores = scores
            self.accept(likeliest)
        else:
            self.accept(self.pick(scores))

    def pick(self, scores: torch.Tensor) -> int:
        """Return the next token by the model's scores, shape (vocabulary,)."""
        self._scores = scores
        return self.sampler.sample(scores, None if self.constraint is None else self.constraint.mask)

    def accept(self, token: int) -> None:
        """Take the next token in, with those that must follow it; what became complete is kept until `give`."""
        fresh = [token]
        if self.constraint is not None and token not in self._ends:
            self.constraint.accept(token)
            fresh += self._forced()
        self.tokens += fresh
        came, picked = self._ahead + fresh, len(self._ahead)
        self._ahead = []
        for place, one in enumerate(came):
            scores = self._scores if place == picked else None
            more, reason = self._add(one, scores, whole=place == len(came) - 1)
            self._said = self._said.then(more)
            if reason is not None:
                self._reason = reason
                return

    def give(self) -> None:
        """Give out what became complete, in one piece."""
        said, self._said = self._said, Said()
        if self._reason is not None:
            self._finish(said, self._reason)
        elif said.text or said.thought or said.calls:
            self._put(self._delta(said))

    def _add(self, token: int, scores: torch.Tensor | None, *, whole: bool) -> tuple[Said, str | None]:
        """Return what became complete with a token, and why the answer ends with it, if so."""
        self._produced += 1
        ended = token in self._ends
        full = whole and self.constraint is not None and self.constraint.finished
        repeats = self._repetition is not None and self._repetition.add_token(token)
        last = ended or full or repeats or self._produced >= self._limit
        said = self._writing.add(token, ended=ended, last=last, whole=ended or full)
        if self._likely is not None and not ended:
            self._likely.add(token, scores, said.size)
        if self._writing.stopped or (last and (ended or full)):
            return said, "tool_calls" if self._writing.called else "stop"
        if repeats:
            return said, "repetition"
        return said, "length" if last else None

    def _forced(self) -> list[int]:
        """Return the tokens that must come next, accepted by constraint and sampler."""
        tokens = [] if self.constraint is None else self.constraint.forced()
        for token in tokens:
            if self.constraint is not None:
                self.constraint.accept(token)
            self.sampler.record(token)
        return tokens

    def _delta(self, said: Said, *, last: bool = False) -> Delta:
        delta = Delta(said.text, said.thought, said.calls)
        self._given += len(said.text)
        if self._likely is not None:
            # What the stop strings hold back may never be given out, and its tokens with it.
            held = self._writing.answering and (self._writing.stopped or not last)
            delta.logprobs = self._likely.take_until(self._given if held else None)
        return delta

    def _finish(self, said: Said, reason: str) -> None:
        delta = self._delta(said, last=True)
        delta.finish_reason = reason
        delta.usage = Usage(
            input_tokens=self._size,
            output_tokens=self._produced,
            cached_tokens=self.cached,
            reasoning_tokens=self._writing.reasoning_tokens,
        )
        self._put(delta)
