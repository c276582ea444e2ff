"""Questions as prompts with labels, and decisions by the labels' probabilities.

The state comes first, so that all questions about it share a prefix. The labels of a question are prefixes of no other
label: single letters or digits, or, for more than 26 options, pairs of letters. So their probabilities exclude each
other, however many tokens a label has, and their sum is the probability that the answer begins with a label at all.
"""

import itertools
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from string import ascii_uppercase
from typing import Any, Self

from openmodels.errors import InvalidResponse
from openmodels.types.decisions import ChoiceQuestion, Decision, NoulQuestion, Question

_YES_NO = {"yes": ("Yes", "yes"), "no": ("No", "no")}


@dataclass(frozen=True, slots=True)
class LabelledQuestion:
    """A question as a model gets it.

    Attributes:
        question: The question.
        prompt: The state and the question, with a label for each option.
        labels: The labels of each option: what an answer that chooses it begins with.
    """

    question: Question
    prompt: str
    labels: dict[str, tuple[str, ...]]

    @property
    def texts(self) -> list[str]:
        """All labels."""
        return [label for labels in self.labels.values() for label in labels]

    def with_single_labels(self) -> Self:
        """Return the question with the first of each option's labels alone."""
        return replace(self, labels={option: labels[:1] for option, labels in self.labels.items()})

    def decide(self, logprobs: Iterable[float]) -> Decision:
        """Return the decision for the log-probability of each of `texts`.

        Raises:
            InvalidResponse: The model gives no label any probability.
        """
        values = list(logprobs)
        largest = max(values)
        if not math.isfinite(largest):
            raise InvalidResponse("The model gives none of the question's labels any probability.")
        # Relative to the largest: exponentials of what is very unlikely would all be 0.
        shares = iter([math.exp(value - largest) for value in values])
        sums = {option: sum(itertools.islice(shares, len(labels))) for option, labels in self.labels.items()}
        mass = min(1.0, math.fsum(math.exp(value) for value in values))
        return Decision.of(self.question, sums, mass)


def label_question(state: Any, question: Question) -> LabelledQuestion:
    """Return a question about a state as a prompt with labelled options."""
    labels: dict[str, tuple[str, ...]]
    lines = [] if question.instructions is None else [_as_text(question.instructions)]
    if isinstance(question, NoulQuestion):
        labels = dict(_YES_NO)
        meanings = {str(side): meaning for side, meaning in (question.criteria or {}).items()}
        lines += [
            f"{word}: {_as_text(meanings[side])}"
            for word, side in (("Yes", "true"), ("No", "false"))
            if meanings.get(side) is not None
        ]
        lines.append("Answer with Yes or No only.")
    elif isinstance(question, ChoiceQuestion):
        letters = _letters(len(question.criteria))
        labels = {option: (letter,) for option, letter in zip(question.criteria, letters, strict=True)}
        lines += [
            f"{letter}. {option}" + ("" if meaning is None else f": {_as_text(meaning)}")
            for letter, (option, meaning) in zip(letters, question.criteria.items(), strict=True)
        ]
        lines.append(f"Answer with the {'letter' if len(letters[0]) == 1 else 'two letters'} of one option only.")
    else:
        labels = {str(level): (str(level),) for level in range(len(question.criteria))}
        lines += [f"{level}. {_as_text(meaning)}" for level, meaning in enumerate(question.criteria)]
        lines.append("Answer with the number of one level only.")
    return LabelledQuestion(question, "\n".join([_as_text(state), "", *lines]), labels)


def turn_thinking_off(extra: Mapping[str, Any]) -> dict[str, Any]:
    """Return `extra` with thinking off, a variable that chat templates may read."""
    name = "chat_template_kwargs"
    variables = extra.get(name, {})
    # What is no mapping is refused where it is read.
    return {**extra, name: {"enable_thinking": False, **variables} if isinstance(variables, Mapping) else variables}


def _letters(count: int) -> list[str]:
    if count <= len(ascii_uppercase):
        return list(ascii_uppercase[:count])
    return ["".join(pair) for pair in itertools.islice(itertools.product(ascii_uppercase, repeat=2), count)]


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
