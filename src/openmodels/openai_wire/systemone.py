"""Decisions on the wire: `/v1/systemone`, as vLLM and others serve it."""

import json
import math
from collections.abc import Mapping
from typing import Any, TypeGuard

from openmodels.errors import InvalidResponse
from openmodels.openai_wire.decode import json_object
from openmodels.openai_wire.encode import add_extra
from openmodels.types.decisions import ChoiceQuestion, DecideRequest, Decision, Decisions, NoulQuestion, Question
from openmodels.types.reply import Usage


def encode_request(request: DecideRequest, model: str | None) -> dict[str, Any]:
    """Return the body of a request for decisions."""
    body: dict[str, Any] = {} if model is None else {"model": model}
    questions = {name: question.model_dump(exclude_unset=True) for name, question in request.questions.items()}
    return add_extra(body | {"state": request.state, "questions": questions}, request.extra)


def read_decisions(body: bytes, request: DecideRequest) -> Decisions:
    """Return the decisions of an answer.

    Their confidence is computed here, since the formulas of servers differ.

    Raises:
        InvalidResponse: A question has no answer, or one without a probability for each option.
    """
    value = json_object(body)
    answers = value.get("answers")
    if not isinstance(answers, dict):
        raise InvalidResponse("The answer has no answers.")
    decisions = {}
    for name, question in request.questions.items():
        answer = answers.get(name)
        if not isinstance(answer, dict):
            raise InvalidResponse(f"The answer has none to the question {name!r}.")
        decisions[name] = Decision.of(question, _read_shares(question, answer, name), _read_mass(answer))
    model, usage = value.get("model"), value.get("usage")
    counts = usage if isinstance(usage, dict) else {}
    tokens = {name: count for name in ("input_tokens", "output_tokens") if type(count := counts.get(name)) is int}
    return Decisions(decisions, Usage(**tokens), model if isinstance(model, str) and model else None)


def _read_shares(question: Question, answer: dict[str, Any], name: str) -> dict[str, float]:
    if isinstance(question, NoulQuestion):
        yes = answer.get("noul")
        shares = {"yes": yes, "no": 1 - yes} if _is_probability(yes) else {}
    else:
        probabilities = answer.get("probabilities")
        options = list(question.criteria)
        if not isinstance(question, ChoiceQuestion):
            options = [str(level) for level in range(len(question.criteria))]
        listed = probabilities if isinstance(probabilities, dict) else {}
        shares = {option: value for option in options if _is_probability(value := listed.get(option))}
        shares = shares if len(shares) == len(options) else {}
    if not sum(shares.values()):
        raise InvalidResponse(f"The answer to the question {name!r} has no probability for each option.")
    return shares


def _read_mass(answer: dict[str, Any]) -> float | None:
    for fields in (answer.get("diagnostics"), answer.get("x_diagnostics"), answer):
        if isinstance(fields, dict) and _is_probability(mass := fields.get("label_mass")):
            return float(mass)
    return None


def _is_probability(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and 0 <= value <= 1


def encode_decisions(decisions: Decisions, questions: Mapping[str, Question], model: str) -> dict[str, Any]:
    """Return the body of an answer; `questions` are those of the request."""
    answers = {name: _encode_decision(decision, questions[name]) for name, decision in decisions.decisions.items()}
    usage = {"input_tokens": decisions.usage.input_tokens or 0, "output_tokens": decisions.usage.output_tokens or 0}
    return {"model": model, "answers": answers, "usage": usage}


def _encode_decision(decision: Decision, question: Question) -> dict[str, Any]:
    # The wire wants the names of extensions to begin so.
    diagnostics = {} if decision.label_mass is None else {"x_diagnostics": {"label_mass": decision.label_mass}}
    if isinstance(question, NoulQuestion):
        return {"type": "noul", "noul": decision.probabilities["yes"], **diagnostics}
    fields = {"probabilities": decision.probabilities, "confidence": decision.confidence, **diagnostics}
    if isinstance(question, ChoiceQuestion):
        return {"type": "choice", "choice": decision.value, **fields}
    legend = {
        str(level): meaning if isinstance(meaning, str) else json.dumps(meaning, ensure_ascii=False)
        for level, meaning in enumerate(question.criteria)
    }
    return {"type": "score", "score": decision.value, "legend": legend, **fields}
