"""Scores: the request and the log-probabilities of continuations. Data only."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import Field, StringConstraints

from openmodels.types.messages import Frozen, Message, Text
from openmodels.types.reply import Usage
from openmodels.types.request import ChatRequest


class ScoreRequest(Frozen):
    """A checked request for scores: what `Backend.score` gets.

    Attributes:
        messages: The conversation whose answer the continuations begin; empty when `prompt` is given.
        prompt: The text that the continuations follow, without a chat template.
        continuations: The texts to score, in order.
        with_distributions: Whether the distribution at each token and the vocabulary are wanted, from engines that have
            them.
        extra: Vendor options, passed through as they are.
        deadline: When the call must be over, on the clock of `time.monotonic()`; None is never.
    """

    messages: tuple[Message, ...] = ()
    prompt: Annotated[Text, StringConstraints(min_length=1)] | None = None
    continuations: tuple[Annotated[Text, StringConstraints(min_length=1)], ...] = Field(min_length=1)
    with_distributions: bool = False
    extra: dict[str, Any] = Field(default_factory=dict)
    deadline: float | None = None

    def to_chat(self) -> ChatRequest:
        """Return the request that an answer to the same prompt would have."""
        return ChatRequest(messages=self.messages, prompt=self.prompt, extra=self.extra, deadline=self.deadline)


@dataclass(frozen=True, slots=True)
class ScoredToken:
    """A token of a continuation.

    Attributes:
        text: Its text; the replacement character stands for a part of a character.
        logprob: The natural logarithm of its probability after everything before it.
        id: Its number in the model's vocabulary; None where the backend does not say it.
        is_likeliest: Whether no other token was likelier at its place; None where the backend does not say it.
        distribution: The log-probabilities of all tokens at its place, a float32 tensor of shape (vocabulary,); None
            where the request does not want it or the engine does not have it.
    """

    text: str
    logprob: float
    id: int | None = None
    is_likeliest: bool | None = None
    distribution: Any = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class ContinuationScore:
    """How likely a model holds a continuation of a prompt.

    Attributes:
        text: The continuation.
        logprob: The natural logarithm of its probability: the sum over its tokens, not divided by their number.
        tokens: Its tokens, in order.
        token_count: The number of its tokens.
        is_greedy: Whether each of its tokens was the likeliest at its place; None where that is not known.
    """

    text: str
    tokens: tuple[ScoredToken, ...]

    @property
    def logprob(self) -> float:
        """The natural logarithm of the continuation's probability."""
        return sum(token.logprob for token in self.tokens)

    @property
    def token_count(self) -> int:
        """The number of tokens."""
        return len(self.tokens)

    @property
    def is_greedy(self) -> bool | None:
        """Whether each token was the likeliest at its place; None if not known."""
        flags = {token.is_likeliest for token in self.tokens}
        return False if False in flags else None if None in flags else True


@dataclass(frozen=True, slots=True)
class Scores:
    """What `Backend.score` returns: the continuations' scores, in their order.

    Attributes:
        continuations: A score each.
        usage: Tokens consumed.
        model: The model that scored, as the backend names it.
        seconds: Seconds from the call to the answer, retries included.
        vocabulary: The token ids by their text, where the request wants them and the engine knows them.
    """

    continuations: tuple[ContinuationScore, ...]
    usage: Usage = field(default_factory=Usage)
    model: str | None = None
    seconds: float = 0.0
    vocabulary: Mapping[str, int] | None = field(default=None, compare=False, repr=False)
