"""One answer of an engine that takes tokens in and gives tokens out: what stands around these two.

The prompt, the sampling defaults and the ends are those that the transformers engine uses, so that
a change of engine changes the arithmetic and nothing else.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from openmodels.backends.local import templates
from openmodels.backends.local.detokenise import Detokeniser
from openmodels.backends.local.thinking import Thinking
from openmodels.backends.stops import StopStrings
from openmodels.errors import ContextTooLong, InvalidRequest, UnsupportedFeature
from openmodels.types import ChatRequest, Delta, Usage

VARIABLES = "chat_template_kwargs"
"""The entry of `extra` that holds variables for the chat template."""


@dataclass(frozen=True, slots=True)
class Voice:
    """How a model is spoken to, whichever engine runs it.

    Attributes:
        tokenizer: Its transformers tokenizer.
        generation: Its transformers `GenerationConfig`.
        context: The most tokens that prompt and answer may have together.
    """

    tokenizer: Any
    generation: Any
    context: int

    @property
    def ends(self) -> list[int]:
        """The tokens that end an answer, as the model's files name them."""
        ends = getattr(self.generation, "eos_token_id", None)
        listed = ends if isinstance(ends, list) else [ends]
        found = [token for token in (*listed, self.tokenizer.eos_token_id) if token is not None]
        return list(dict.fromkeys(found))


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is chosen, with the model's own defaults filled in.

    Attributes:
        temperature: 0 is greedy.
        top_p: 1 is all.
        top_k: 0 is all.
        repetition: Divides the scores of tokens that came; 1 is none.
        seed: The caller's, or a random one.
    """

    temperature: float
    top_p: float
    top_k: int
    repetition: float
    seed: int

    @classmethod
    def of(cls, request: ChatRequest, defaults: Any) -> Sampling:
        """Fill what the request leaves open from a `GenerationConfig`, as transformers does."""
        sampled = getattr(defaults, "do_sample", False)

        def own(name: str) -> Any:
            return getattr(defaults, name, None) if sampled else None

        asked = request.top_p is not None or request.top_k is not None
        usual = own("temperature") or (1.0 if asked or own("top_p") or own("top_k") else 0.0)
        return cls(
            temperature=usual if request.temperature is None else request.temperature,
            top_p=request.top_p or own("top_p") or 1.0,
            top_k=request.top_k or own("top_k") or 0,
            repetition=request.repetition_penalty or getattr(defaults, "repetition_penalty", None) or 1.0,
            seed=secrets.randbits(31) if request.seed is None else request.seed,
        )


def prompt(request: ChatRequest, tokenizer: Any) -> list[int]:
    """Return a request's prompt as tokens, the chat template rendered.

    Raises:
        InvalidRequest: Nothing can be made of it.
        UnsupportedFeature: The model has no chat template, or its variables in `extra` are no dict.
        LoadFailed: The chat template is broken or hostile.
    """
    if request.prompt is not None:
        tokens: list[int] = tokenizer(request.prompt)["input_ids"]
        if not tokens:
            raise InvalidRequest("prompt: the model's tokenizer makes no token of it.")
        return tokens
    variables = request.extra.get(VARIABLES, {})
    if not isinstance(variables, Mapping):
        raise UnsupportedFeature(f"extra: {VARIABLES!r} must hold a dict of variables.")
    return templates.encode(tokenizer, request.messages, variables)


def room(tokens: int, request: ChatRequest, voice: Voice) -> int:
    """Return how many tokens the answer to a prompt of so many tokens may have.

    Raises:
        ContextTooLong: The prompt leaves no room.
    """
    left = voice.context - tokens
    if left < 1:
        raise ContextTooLong(
            f"The prompt has {tokens} tokens and the model's context holds {voice.context}.",
            next_step=f"Shorten it to less than {voice.context} tokens, or use a model with a longer context.",
        )
    usual = getattr(voice.generation, "max_new_tokens", None)
    return min(left, request.max_tokens or usual or left)


class Answer:
    """Turns an engine's tokens into deltas, up to the end that comes first.

    Args:
        request: What is asked.
        voice: How the model is spoken to.

    Attributes:
        prompt: The prompt's tokens.
        limit: How many tokens the answer may have.
        sampling: How they are to be chosen.
        finished: Whether the answer is complete.

    Raises:
        ContextTooLong: The prompt leaves no room for an answer.
        UnsupportedFeature: `extra` holds more than variables for the chat template.
        OpenModelsError: What `prompt` raises.
    """

    def __init__(self, request: ChatRequest, voice: Voice) -> None:
        if unknown := sorted(set(request.extra) - {VARIABLES}):
            raise UnsupportedFeature(
                f"extra: the backend 'local' does not know {unknown[0]!r}.",
                next_step=f"It takes {VARIABLES!r}: variables for the chat template.",
            )
        self.prompt = prompt(request, voice.tokenizer)
        self.limit = room(len(self.prompt), request, voice)
        self.sampling = Sampling.of(request, voice.generation)
        self.finished = False
        self._ends = frozenset(voice.ends)
        self._text = Detokeniser(voice.tokenizer, self.prompt if request.prompt is not None else ())
        # What must have a certain form has no room for reasoning before it.
        thinks = request.prompt is None and request.output is None
        self._thinking = Thinking(voice.tokenizer, self.prompt if thinks else None)
        self._stops = StopStrings(request.stop)
        self._produced = 0

    def accept(self, token: int) -> Delta | None:
        """Take the next token in; return the delta that it completes, if any."""
        self._produced += 1
        ended = token in self._ends
        last = ended or self._produced >= self.limit
        piece = "" if ended else self._text.add(token)
        if last:
            piece += self._text.flush()
        thought, answer = self._thinking.feed(piece, token, last=last)
        # Stop strings end the answer, not the reasoning that speaks of them.
        text = self._stops.feed(answer)
        if self._stops.found is not None:
            return self._finish(thought, text, "stop")
        if last:
            return self._finish(thought, text + self._stops.flush(), "stop" if ended else "length")
        return Delta(text, thought) if text or thought else None

    def end(self, reason: str) -> Delta:
        """Return the last delta of an answer that the engine itself has ended."""
        thought, answer = self._thinking.feed(self._text.flush(), -1, last=True)
        text = self._stops.feed(answer)
        return self._finish(thought, text + self._stops.flush(), reason)

    def _finish(self, thought: str, text: str, reason: str) -> Delta:
        if self._stops.found is not None:
            reason = "stop"
        self.finished = True
        usage = Usage(
            input_tokens=len(self.prompt), output_tokens=self._produced, reasoning_tokens=self._thinking.tokens
        )
        return Delta(text, thought, finish_reason=reason, usage=usage)
