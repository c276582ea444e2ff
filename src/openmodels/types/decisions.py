"""Decisions: typed questions, and a probability for every option. Data only."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, PlainValidator, StringConstraints

from openmodels.types.messages import Frozen, Text
from openmodels.types.reply import Usage

MAX_QUESTIONS = 64
MAX_OPTIONS = 255
MAX_LEVELS = 10


def _check_structured(value: Any) -> Any:
    if not isinstance(value, str | Mapping | list | tuple):
        raise ValueError("expected a text, or a dict or list as JSON")  # noqa: TRY004 - pydantic makes its own error of it
    try:
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    except (TypeError, ValueError, RecursionError):
        raise ValueError("what it holds is no JSON, or text that cannot be encoded") from None
    return value


def _check_levels(value: Any) -> Any:
    if not isinstance(value, list | tuple):
        raise ValueError("expected an ordered list of levels")  # noqa: TRY004 - as above
    return tuple(value)


Structured = Annotated[Any, PlainValidator(_check_structured)]
"""A text, or a dict or list that is shown to the model as JSON."""


class _Question(Frozen):
    instructions: Structured | None = None


class NoulQuestion(_Question):
    """A question that is answered with yes or no.

    Attributes:
        instructions: The question.
        criteria: What "true" (yes) and "false" (no) mean, both or one of them; None is what they say.
    """

    type: Literal["noul"]
    criteria: dict[Literal["true", "false"], Structured | None] | None = None


class ChoiceQuestion(_Question):
    """A question that is answered with one of some options.

    Attributes:
        instructions: The question.
        criteria: The options, 255 at most, each with a description or None.
    """

    type: Literal["choice"]
    criteria: dict[Annotated[Text, StringConstraints(min_length=1)], Structured | None] = Field(
        min_length=1, max_length=MAX_OPTIONS
    )


class ScoreQuestion(_Question):
    """A question that is answered with a level.

    Attributes:
        instructions: The question.
        criteria: What the levels mean, the lowest first, 10 at most.
    """

    type: Literal["score"]
    criteria: Annotated[tuple[Structured, ...], BeforeValidator(_check_levels)] = Field(
        min_length=1, max_length=MAX_LEVELS
    )


Question = NoulQuestion | ChoiceQuestion | ScoreQuestion


class DecideRequest(Frozen):
    """A checked request for decisions: what `Backend.decide` gets.

    Attributes:
        state: What the questions are about: a text, or JSON.
        questions: The questions by name, 64 at most.
        extra: Vendor options, passed through as they are.
        deadline: When the call must be over, on the clock of `time.monotonic()`; None is never.
    """

    state: Structured
    questions: dict[
        Annotated[Text, StringConstraints(min_length=1)], Annotated[Question, Field(discriminator="type")]
    ] = Field(min_length=1, max_length=MAX_QUESTIONS)
    extra: dict[str, Any] = Field(default_factory=dict)
    deadline: float | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer to a question.

    Attributes:
        value: The likeliest option of a choice; "yes" or "no"; the expected level of a score, counted from 0.
        probabilities: A probability for every option of a choice, for "yes" and "no", or for the levels "0", "1"
            and so on; they add up to 1.
        confidence: How far the likeliest option is above chance: (p - 1/n) / (1 - 1/n) for the probability p of
            the likeliest of n options. 1 is certain, 0 is all alike.
        label_mass: The probability that the model's answer begins with an allowed label at all; None where the
            backend does not say it. The probabilities are shares of it, so a small one speaks against them.
    """

    value: str | float
    probabilities: dict[str, float]
    confidence: float
    label_mass: float | None

    @classmethod
    def of(cls, question: Question, shares: Mapping[str, float], mass: float | None) -> Self:
        """Return the decision for shares by option, which are divided by their sum."""
        total = sum(shares.values())
        probabilities = {option: weight / total for option, weight in shares.items()}
        best = max(probabilities, key=lambda option: probabilities[option])
        count = len(probabilities)
        confidence = (probabilities[best] - 1 / count) / (1 - 1 / count) if count > 1 else 1.0
        value: str | float = best
        if isinstance(question, ScoreQuestion):
            value = sum(int(level) * probability for level, probability in probabilities.items())
        return cls(value, probabilities, max(0.0, confidence), mass)


@dataclass(frozen=True, slots=True)
class Decisions:
    """What `Backend.decide` returns: decisions by the names of their questions.

    Attributes:
        decisions: A decision for each question.
        usage: Tokens consumed.
        model: The model that decided, as the backend names it.
        seconds: Seconds from the call to the answer, retries included.
    """

    decisions: dict[str, Decision]
    usage: Usage = field(default_factory=Usage)
    model: str | None = None
    seconds: float = 0.0
