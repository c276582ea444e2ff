"""`cascade`: the first model of a list whose answer is accepted."""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Any, ClassVar, Literal, get_args

from openmodels.backends.base import Backend
from openmodels.combine import judging
from openmodels.combine.attempts import AttemptLog
from openmodels.combine.combination import MemberModel, ModelLike
from openmodels.combine.fallback import all_failed, falls_over_by_default
from openmodels.combine.planned import (
    Batch,
    FormCheck,
    MemberCall,
    Plan,
    PlannedCombination,
    member_features,
    trim_logprobs,
)
from openmodels.errors import InvalidRequest, UnsupportedFeature
from openmodels.model import Model
from openmodels.settings import DEFAULT_TIMEOUT
from openmodels.types.reply import CUT_SHORT, Reply
from openmodels.types.request import ChatRequest
from openmodels.types.scores import ScoreRequest

Measure = Literal["valid", "probability", "margin"]
Accept = Measure | Callable[[Reply], bool] | ModelLike
"""How answers are accepted: by a measure, a function of the reply, or a judge model."""

THRESHOLD = 0.5
_TOP = 2  # likeliest tokens at each place, for the margin between the first two


def cascade(
    models: Iterable[ModelLike],
    *,
    accept: Accept,
    threshold: float = THRESHOLD,
    max_attempts: int | None = None,
    timeout: float | None = DEFAULT_TIMEOUT,
) -> Model:
    """Return a model that asks models in turn until an answer is accepted.

    The last model's answer is always accepted, and streams as it comes; of the others nothing is shown before it is
    accepted. A model that fails, or that cannot honour an option of the call, is passed over. Never accepted is an
    answer that is empty or has not the form that `schema`, `choices` or `pattern` ask for. The reply's usage is that of
    its answer, its cost that of all models together.

    Args:
        models: References, records or `Model` objects, the cheapest first.
        accept: How the answers are accepted:
            "valid": they have the form asked for, and are not cut short.
            "probability": the geometric mean of their tokens' probabilities is `threshold` or more.
            "margin": the mean distance between the probabilities of their tokens and of the next likeliest ones is
            `threshold` or more. With `choices`, and a model that scores, the distance between the best two choices.
            A function of the `Reply`, whose `parsed` is plain data, that returns whether it is accepted.
            A judge model, or a reference with its colon, that is asked whether the answer is right.
        threshold: From 0 to 1, for "probability" and "margin".
        max_attempts: How many attempts a call may make on all members together, retries included; None is as many as
            the members' `max_retries` allow.
        timeout: Total seconds of each call that does not set its own; None lifts the limit.

    Raises:
        InvalidRequest: An argument is wrong.
        UnsupportedFeature: A member gives neither the log-probabilities nor the scores that `accept` needs.
        InvalidReference: A reference cannot be read.
        MissingExtra: What a member needs is not installed.
    """
    backend = CascadeBackend(models, accept=accept, threshold=threshold, max_attempts=max_attempts)
    return Model(backend, timeout=timeout, max_retries=0)


class CascadeBackend(PlannedCombination):
    """Asks its members until an answer is accepted.

    The arguments are those of `cascade`.
    """

    name: ClassVar[str] = "cascade"

    def __init__(
        self,
        models: Iterable[ModelLike],
        *,
        accept: Accept,
        threshold: float = THRESHOLD,
        max_attempts: int | None = None,
    ) -> None:
        is_measure = isinstance(accept, str) and ":" not in accept
        if is_measure and accept not in get_args(Measure):
            raise InvalidRequest(
                f"accept: {str(accept)[:60]!r} is neither a measure nor a reference.",
                next_step=f"Write {', '.join(get_args(Measure))}, a function of the reply, or a judge's BACKEND:MODEL.",
            )
        is_judge = isinstance(accept, Model | Backend | os.PathLike | str) and not is_measure
        if not is_measure and not is_judge and (not callable(accept) or inspect.iscoroutinefunction(accept)):
            raise InvalidRequest("accept: expected a measure, a plain function of the reply, or a judge model.")
        if isinstance(threshold, bool) or not isinstance(threshold, int | float) or not 0 <= threshold <= 1:
            raise InvalidRequest("threshold: expected a number from 0 to 1.")
        super().__init__(models, judges=[accept] if is_judge else [], max_attempts=max_attempts)
        self.accept = accept
        self.threshold = threshold
        self.settings: dict[str, Any] = {"accept": accept, "threshold": threshold, "max_attempts": max_attempts}
        self.features = member_features(self.members[-1:])
        if is_judge:
            self.features -= {"complete"}
        self.options = self.members[-1].backend.options - {"n"}  # one answer is shown, so `n` has no meaning
        if accept in ("probability", "margin"):
            for member in self.members[:-1]:
                if "logprobs" not in member.backend.options:
                    raise UnsupportedFeature(
                        f"accept: {member.reference} gives no log-probabilities.", next_step="Accept by something else."
                    )

    @property
    def answering(self) -> Sequence[MemberModel]:
        """The last member: the others are passed over where they cannot answer."""
        return self.members[-1:]

    def plan(self, request: ChatRequest, log: AttemptLog) -> Plan:
        """Ask the members in turn, and each time whether the answer is accepted."""
        form = FormCheck(request.output)
        failures: list[Exception] = []
        for member in self.members[:-1]:
            if missing := member.find_missing(request):
                log.refuse(member.reference, missing)
                failures.append(missing)
                continue
            call = MemberCall(member, self._probe(request), log.branch())
            yield Batch([call])
            if call.error is not None or call.reply is None:
                failures.append(self._pass_over(call.error))
                continue
            reply = form.check(call.reply)
            if reply is None:
                call.mark(log, "not accepted: it is empty or has another form")
                continue
            is_accepted, reason = yield from self._judge(call, reply, request, log)
            call.mark(log, f"{'accepted' if is_accepted else 'not accepted'}: {reason}", is_answer=is_accepted)
            if is_accepted:
                call.deltas = trim_logprobs(call.deltas, request.logprobs)
                return call
        last = MemberCall(self.members[-1], request, log, is_live=True)
        yield Batch([last])
        if last.error is not None:
            failures.append(self._pass_over(last.error))
            raise all_failed(failures, self.members)
        return last

    def _probe(self, request: ChatRequest) -> ChatRequest:
        if self.accept not in ("probability", "margin") and not request.stream:
            return request
        update: dict[str, Any] = {"stream": False}
        if self.accept in ("probability", "margin"):
            update["logprobs"] = max(request.logprobs or 0, _TOP)
        return request.model_copy(update=update)

    def _pass_over(self, error: Exception | None) -> Exception:
        """Return an error that another model may not have; raise any other."""
        if error is None or not falls_over_by_default(error):
            raise error or AssertionError
        return error

    def _judge(
        self, call: MemberCall, reply: Reply, request: ChatRequest, log: AttemptLog
    ) -> Generator[Batch, None, tuple[bool, str]]:
        """Return whether an answer is accepted, and why."""
        if self.judges:
            is_accepted = yield from judging.is_accepted(self.judges[0], request, reply, log)
            return is_accepted, "by the judge"
        if self.accept == "valid":
            is_cut = reply.finish_reason in CUT_SHORT
            return not is_cut, "cut short" if is_cut else "it has the form asked for"
        if callable(self.accept):
            return bool(self.accept(reply)), "by the function"
        value = None
        if self.accept == "margin" and request.output is not None and request.output.choices:
            value = yield from self._choice_margin(call, reply, request, log)
        if value is None:
            value = _probability(reply) if self.accept == "probability" else _margin(reply)
        if value is None:
            return False, "no log-probabilities"
        sign = "≥" if value >= self.threshold else "<"
        return value >= self.threshold, f"{self.accept} {value:.3f} {sign} {self.threshold:g}"

    def _choice_margin(
        self, call: MemberCall, reply: Reply, request: ChatRequest, log: AttemptLog
    ) -> Generator[Batch, None, float | None]:
        """Return how far the choice is above the next likeliest; None if not scored."""
        member, output = call.member, request.output
        if "score" not in member.backend.features or output is None or len(output.choices) < 2:
            return None
        prompt = {"messages": request.messages} if request.prompt is None else {"prompt": request.prompt}
        scored = MemberCall(
            member, ScoreRequest(continuations=output.choices, deadline=request.deadline, **prompt), log.branch()
        )
        yield Batch([scored])
        scored.mark(log, "scores of the choices")
        if scored.scores is None:
            return None
        likelihoods = [score.logprob for score in scored.scores.continuations]
        weights = [math.exp(logprob - max(likelihoods)) for logprob in likelihoods]
        chances = dict(zip(output.choices, (weight / sum(weights) for weight in weights), strict=True))
        answer = chances.pop(str(reply.parsed))
        return answer - max(chances.values())


def _probability(reply: Reply) -> float | None:
    """Return the geometric mean of the tokens' probabilities."""
    if not reply.logprobs:
        return None
    return math.exp(sum(entry.logprob for entry in reply.logprobs) / len(reply.logprobs))


def _margin(reply: Reply) -> float | None:
    """Return how far the tokens are above the next likeliest ones, on average."""
    if not reply.logprobs:
        return None
    margins = []
    for entry in reply.logprobs:
        others = [logprob for token, logprob in entry.top if token != entry.token]
        margins.append(math.exp(entry.logprob) - (math.exp(max(others)) if others else 0.0))
    return sum(margins) / len(margins)
