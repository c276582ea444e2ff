"""A judge model: which of two answers is better, asked in both orders."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal

from openmodels.compare.calls import ComparedCall
from openmodels.compare.prompts import ComparedPrompt
from openmodels.model import Model

Slot = Literal["first", "second", "tie"]

_VERDICT = re.compile(r"\b(A|B|[Tt]ie|TIE)\b")
_QUESTION = """\
Two assistants answered the same request. Which answer is better? Judge whether it is correct, helpful and complete; \
do not prefer an answer for its length or its place.

[Request]
{prompt}
{reference}
[Answer A]
{first}

[Answer B]
{second}

[End]
Reply with one word: A, B or tie."""


@dataclass(slots=True)
class JudgedPair:
    """Two answers to a prompt, judged in both orders.

    Attributes:
        a: The name of the first model.
        b: The name of the second model.
        index: The prompt's index.
        calls: The judge's calls: a's answer first, then b's answer first; empty where both answers are the same text.
    """

    a: str
    b: str
    index: int
    calls: tuple[ComparedCall, ...]

    @property
    def slots(self) -> tuple[Slot | None, ...]:
        """What the judge said in each order, by the place of the better answer."""
        return tuple(_read_verdict(call) for call in self.calls)

    @property
    def outcome(self) -> float | None:
        """1 where a is better in both orders, -1 where b is, else 0.

        None where an order has no verdict.
        """
        if not self.calls:
            return 0.0
        first, second = self.slots
        if first is None or second is None:
            return None
        return {("first", "second"): 1.0, ("second", "first"): -1.0}.get((first, second), 0.0)


@dataclass(frozen=True, slots=True)
class JudgeReport:
    """How far a judge can be relied on.

    Attributes:
        model: The judge's reference.
        judged: Pairs of answers with a verdict in both orders.
        identical: Pairs with the same text, which count as ties and were not asked.
        unreadable: Calls without a verdict.
        consistency: The share of judged pairs where both orders agree; None without any.
        first_slot_share: The share of verdicts for one answer that name the first one; 0.5 is neutral.
        ratings: By model the Bradley-Terry strength on the scale of logits, with the ends of its 95 % interval.
        tie_strength: Davidson's tie parameter, 0 without ties.
        cost: US dollars of the judge's calls, where known.
        error: The most frequent error of its calls, or None.
    """

    model: str
    judged: int
    identical: int
    unreadable: int
    consistency: float | None
    first_slot_share: float | None
    ratings: dict[str, tuple[float, float, float]]
    tie_strength: float
    cost: float | None
    error: str | None = None

    def __str__(self) -> str:
        slot = "" if self.first_slot_share is None else f"; it chose the first answer in {self.first_slot_share:.0%}"
        unreadable = f"; {self.unreadable} of its calls gave no verdict" if self.unreadable else ""
        unreadable += f" ({self.error.rstrip('.')})" if self.error else ""
        same = "pair was" if self.identical == 1 else "pairs were"
        identical = f"; {self.identical} {same} the same text" if self.identical else ""
        if self.consistency is None:
            return f"The judge {self.model} compared no answers{identical}{unreadable}."
        return (
            f"The judge {self.model} kept its verdict in {self.consistency:.0%} of {self.judged} pairs when the "
            f"answers changed places{slot}{identical}{unreadable}."
        )


def build_judgements(
    judge: Model,
    name: str,
    answers: Sequence[tuple[ComparedPrompt, int, dict[str, str]]],
    options: dict[str, Any],
) -> Iterator[JudgedPair]:
    """Yield the pairs to judge.

    `answers` are texts by model, each with the prompt and the number of the repeat.
    """
    accepted = judge.backend.options
    judge_options: dict[str, Any] = {"choices": ["A", "B", "tie"]} if "choices" in accepted else {}
    judge_options |= {"temperature": 0.0} if "temperature" in accepted else {}
    judge_options |= {"max_tokens": 16} if "max_tokens" in accepted and "choices" not in judge_options else {}
    judge_options |= {key: value for key, value in options.items() if key in {"timeout", "max_retries"}}
    for prompt, repeat, texts in answers:
        for a, b in combinations(texts, 2):
            if texts[a] == texts[b]:
                yield JudgedPair(a, b, prompt.index, ())
                continue
            orders = ((texts[a], texts[b]), (texts[b], texts[a]))
            calls = [
                ComparedCall(name, _write_question(prompt, *order), judge_options, f"judge {repeat}")
                for order in orders
            ]
            yield JudgedPair(a, b, prompt.index, tuple(calls))


def _write_question(prompt: ComparedPrompt, first: str, second: str) -> str:
    reference = "" if prompt.reference is None else f"\n[Reference answer]\n{prompt.reference}\n"
    return _QUESTION.format(prompt=prompt.text, reference=reference, first=first, second=second)


def _read_verdict(call: ComparedCall) -> Slot | None:
    if call.reply is None or call.error is not None:
        return None
    words = _VERDICT.findall(call.reply.text)
    if not words:
        return None
    slots: dict[str, Slot] = {"a": "first", "b": "second", "tie": "tie"}
    # A judge that explains itself ends with its verdict.
    return slots[words[-1].lower()]


def summarize_judge(
    judge: Model,
    pairs: Sequence[JudgedPair],
    ratings: dict[str, tuple[float, float, float]],
    tie_strength: float,
) -> JudgeReport:
    """Return how far the judge of these pairs can be relied on."""
    both = [pair.slots for pair in pairs if pair.calls and None not in pair.slots]
    agreed = sum(slots in {("first", "second"), ("second", "first"), ("tie", "tie")} for slots in both)
    decided = [slot for slots in both for slot in slots if slot != "tie"]
    calls = [call for pair in pairs for call in pair.calls]
    costs = [call.cost for call in calls if call.cost is not None]
    errors = [call.error for call in calls if call.error is not None]
    return JudgeReport(
        judge.reference,
        judged=len(both),
        identical=sum(not pair.calls for pair in pairs),
        unreadable=sum(_read_verdict(call) is None for call in calls),
        consistency=agreed / len(both) if both else None,
        first_slot_share=decided.count("first") / len(decided) if decided else None,
        ratings=ratings,
        tie_strength=tie_strength,
        cost=sum(costs) if costs else None,
        error=max(errors, key=errors.count, default=None),
    )
