"""`vote`: several models answer, and one answer is made of theirs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, Literal, get_args

from openmodels.combine import judging
from openmodels.combine.attempts import AttemptLog, AttemptsUsedUp
from openmodels.combine.combination import ModelLike
from openmodels.combine.fallback import all_failed
from openmodels.combine.planned import Batch, FormCheck, MemberCall, Plan, PlannedCombination, member_features
from openmodels.errors import InvalidRequest
from openmodels.model import Model
from openmodels.settings import DEFAULT_TIMEOUT
from openmodels.types.request import ChatRequest

How = Literal["majority", "judge", "merge", "first"]


def vote(
    models: Iterable[ModelLike],
    *,
    how: How = "majority",
    judge: ModelLike | None = None,
    max_attempts: int | None = None,
    timeout: float | None = DEFAULT_TIMEOUT,
) -> Model:
    """Return a model that makes one answer of those of several models.

    All of them are asked at the same time, and the answer is, by `how`:

    - "majority": the answer that most of them give. Texts count as the same without regard to case, spaces and
      punctuation at their ends; with `schema` or `choices` the values are compared, and answers of another form do not
      count; tool calls by name and arguments. Of a tie, the answer of the earliest model in the list is taken.
    - "judge": the answer that a judge model calls the best. It sees them in both orders; where the order decides, the
      one with more votes is taken, else that of the earliest model.
    - "merge": the answer that a judge model writes from theirs.
    - "first": the first good answer, which has the form asked for; the other calls are cancelled.

    A model that fails has no vote. Where the judge fails, the majority decides. `reply.trace` says what became of each
    answer, and how a tie was broken. The reply's usage is that of its answer, its cost that of all models together.

    Args:
        models: References, records or `Model` objects. The options of a call must be those of every one.
        how: How the answer is found.
        judge: The judge model, for "judge" and "merge".
        max_attempts: How many attempts a call may make on all members together, retries included; None is as many as
            the members' `max_retries` allow.
        timeout: Total seconds of each call that does not set its own; None lifts the limit.

    Raises:
        InvalidRequest: An argument is wrong.
        InvalidReference: A reference cannot be read.
        MissingExtra: What a member needs is not installed.
    """
    return Model(VoteBackend(models, how=how, judge=judge, max_attempts=max_attempts), timeout=timeout, max_retries=0)


class VoteBackend(PlannedCombination):
    """Asks its members at the same time; the arguments are those of `vote`."""

    name: ClassVar[str] = "vote"

    def __init__(
        self,
        models: Iterable[ModelLike],
        *,
        how: How = "majority",
        judge: ModelLike | None = None,
        max_attempts: int | None = None,
    ) -> None:
        if how not in get_args(How):
            raise InvalidRequest(
                f"how: {str(how)[:60]!r} is not known.", next_step=f"Write {' or '.join(get_args(How))}."
            )
        if (judge is not None) != (how in ("judge", "merge")):
            need = "needs a judge model" if judge is None else "has no judge"
            raise InvalidRequest(f"judge: how={how!r} {need}.")
        super().__init__(models, judges=[] if judge is None else [judge], max_attempts=max_attempts)
        self.how = how
        self.settings: dict[str, Any] = {"how": how, "judge": judge, "max_attempts": max_attempts}
        self.features = member_features(self.members)
        answering = [*self.members, *(self.judges if how == "merge" else ())]
        # One answer is shown, so `n` has no meaning.
        self.options = frozenset.intersection(*(member.backend.options for member in answering)) - {"n"}
        if how == "merge":
            self.options -= {"logprobs"}
        if self.judges:
            self.features -= {"complete"}

    def plan(self, request: ChatRequest, log: AttemptLog) -> Plan:
        """Ask all members, and choose one answer or merge them."""
        form = FormCheck(request.output)
        buffered = request.model_copy(update={"stream": False})
        calls = [MemberCall(member, buffered, log.branch()) for member in self.members]
        yield Batch(calls, form.is_good if self.how == "first" else None)
        answers = [call for call in calls if call.reply is not None]
        if not answers:
            errors = [call.error for call in calls if call.error is not None]
            raise all_failed([error for error in errors if not isinstance(error, AttemptsUsedUp)], self.members)
        # Where none is good, the majority of the others is shown: its error says what is wrong with it.
        answers = [call for call in answers if form.is_good(call)] or answers
        if self.how == "first":
            answers[0].mark(log, "first good answer", is_answer=True)
            return answers[0]
        groups: dict[Any, list[MemberCall]] = {}
        for call in answers:
            groups.setdefault(form.vote_of(call), []).append(call)
        if self.how == "judge" and len(groups) > 1:
            return (yield from self._judge(request, list(groups.values()), log))
        if self.how == "merge" and len(groups) > 1:
            return (yield from self._merge(request, list(groups.values()), log))
        return _count(list(groups.values()), log)

    def _judge(self, request: ChatRequest, groups: list[list[MemberCall]], log: AttemptLog) -> Plan:
        replies = [group[0].reply for group in groups if group[0].reply is not None]
        best = yield from judging.choose_best(self.judges[0], request, replies, log)
        if best is None:
            return _count(groups, log, "the judge gave no verdict, ")
        # `max` takes the first of equals, which comes first in the list of models.
        chosen = max((groups[index] for index in sorted(set(best))), key=len)
        note = "chosen by the judge"
        if len(set(best)) > 1:
            note = (
                "the judge's choice hung on the order: the one of the two with more votes, else the earlier, is taken"
            )
        for group in groups:
            _mark(group, log, note if group is chosen else "not chosen", is_answer=group is chosen)
        return chosen[0]

    def _merge(self, request: ChatRequest, groups: list[list[MemberCall]], log: AttemptLog) -> Plan:
        replies = [group[0].reply for group in groups if group[0].reply is not None]
        if any(reply.tool_calls for reply in replies):
            return _count(groups, log, "calls are not merged, ")
        merged = MemberCall(self.judges[0], judging.merge_request(request, replies), log, is_live=True)
        yield Batch([merged])
        if merged.error is not None:
            return _count(groups, log, "the judge failed, ")
        for group in groups:
            _mark(group, log, "merged", is_answer=True)
        return merged


def _count(groups: list[list[MemberCall]], log: AttemptLog, before: str = "") -> MemberCall:
    """Return the answer with the most votes, of a tie the one of the earliest model."""
    total = sum(map(len, groups))
    chosen = max(groups, key=len)
    votes = f"{before}{len(chosen)} of {total} votes"
    if tied := sum(len(group) == len(chosen) for group in groups) - 1:
        votes = f"{before}tie of {tied + 1} answers with {len(chosen)} of {total} votes: the earliest model's is taken"
    for group in groups:
        _mark(group, log, votes if group is chosen else "outvoted", is_answer=group is chosen)
    return chosen[0]


def _mark(group: list[MemberCall], log: AttemptLog, note: str, *, is_answer: bool) -> None:
    """Mark the answers of a group; the first is the one that is shown."""
    for call in group:
        call.mark(log, note, is_answer=is_answer and call is group[0])
