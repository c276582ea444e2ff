"""`route`: one model of a list, chosen for each request."""

from __future__ import annotations

import inspect
import time
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

from pydantic_core import to_json

from openmodels import background
from openmodels.backends.base import Request
from openmodels.combine.attempts import AttemptLog
from openmodels.combine.combination import (
    Combination,
    MemberModel,
    ModelLike,
    combine_capabilities,
)
from openmodels.errors import InvalidRequest, UnsupportedFeature
from openmodels.model import Model
from openmodels.settings import DEFAULT_TIMEOUT
from openmodels.types.capabilities import Capabilities
from openmodels.types.reply import Delta
from openmodels.types.request import ChatRequest

if TYPE_CHECKING:
    from openmodels.combine.facts import FactTable, MemberFacts

RuleName = Literal["cheapest", "fastest", "longest_context", "most_open"]
Rule = RuleName | Callable[[Request], "Model | int | str"]
"""How a model is chosen: a rule's name, or a function of the request."""

_BYTES_PER_TOKEN = 4  # of English text; others have fewer letters a token, but more bytes a letter
_INERTIA = 0.7  # how much of a measured speed is kept when a new answer has been measured


def route(
    rule: Rule,
    models: Iterable[ModelLike],
    *,
    require: Mapping[str, Any] | None = None,
    facts: Mapping[str, Mapping[str, Any]] | None = None,
    max_attempts: int | None = None,
    timeout: float | None = DEFAULT_TIMEOUT,
) -> Model:
    """Return a model that chooses one model of a list for each request.

    A function gets the checked request and returns a `Model` of the list, its index, or its reference. A named rule
    chooses among the models that can do what the request needs (images, tools, `schema` and other options, the context
    length) and that meet `require`:

    - "cheapest": the lowest price of this request, by its estimated tokens. An unknown price is never the lowest.
    - "fastest": the most output tokens per second, as measured by this route, else as published. A model of which
      neither is known is asked once, and so measured.
    - "longest_context": the longest known context.
    - "most_open": the most criteria of `om.openness` that are open, partly open ones as halves.

    Of equals, the earliest in the list is chosen. Where none is left, the error names each model and why.

    Args:
        rule: How a model is chosen.
        models: References, records or `Model` objects.
        require: What a model must meet, as `need` of `om.choose`, e.g. {"license_class": "open", "openness":
            "training_data"}; the license class may also be "permissive". Not for functions.
        facts: What you know of a model, by its reference: "id" (in the catalogs), "price_in" and "price_out" (US
            dollars for a million tokens), "context" (tokens), "speed" (output tokens per second). It goes before what
            the model and the catalogs say.
        max_attempts: How many attempts a call may make, retries included; None is as many as `max_retries` allow.
        timeout: Total seconds of each call that does not set its own; None lifts the limit.

    Raises:
        InvalidRequest: An argument is wrong.
        InvalidReference: A reference cannot be read.
        MissingExtra: What a member needs is not installed.
    """
    backend = RouteBackend(rule, models, require=require, facts=facts, max_attempts=max_attempts)
    return Model(backend, timeout=timeout, max_retries=0)


class RouteBackend(Combination):
    """Passes each request on to one of its members.

    The arguments are those of `route`.
    """

    name: ClassVar[str] = "route"

    def __init__(
        self,
        rule: Rule,
        models: Iterable[ModelLike],
        *,
        require: Mapping[str, Any] | None = None,
        facts: Mapping[str, Mapping[str, Any]] | None = None,
        max_attempts: int | None = None,
    ) -> None:
        is_name = isinstance(rule, str)
        if (is_name and rule not in get_args(RuleName)) or not (is_name or callable(rule)):
            known = ", ".join(get_args(RuleName))
            raise InvalidRequest(
                f"rule: {str(rule)[:60]!r} is not known.", next_step=f"Write {known}, or a function of the request."
            )
        if inspect.iscoroutinefunction(rule) or (not is_name and (require or facts)):
            raise InvalidRequest("rule: a function is a plain one, and has neither `require` nor `facts`.")
        super().__init__(models, max_attempts=max_attempts)
        self.rule = rule
        self.settings: dict[str, Any] = {
            "rule": rule,
            "require": require,
            "facts": facts,
            "max_attempts": max_attempts,
        }
        self.offer_all()
        self._numbers = {name: number for number, member in enumerate(self.members) for name in _names(member)}
        self._measured: dict[int, float] = {}  # output tokens per second by member
        self._facts: background.LazyValue[FactTable] = background.LazyValue()
        self._reader: Any = None
        if is_name:
            from openmodels.combine import facts as fact_table

            needs, needs_permissive = fact_table.read_requirements(require)
            self._reader = fact_table.FactReader(
                self.members,
                fact_table.read_stated(facts or {}, self.members),
                needs,
                needs_permissive=needs_permissive,
                reads_catalog=rule in ("cheapest", "fastest", "longest_context"),
                judges_openness=rule == "most_open",
            )

    def answer(self, request: ChatRequest, log: AttemptLog) -> Generator[Delta, None, None]:
        """Yield the deltas of the member that the rule chooses."""
        number, note = self._choose(request, self._table(request.deadline))
        noted = log.annotate(note)
        try:
            yield from self.members[number].stream_with_retries(request, noted)
        finally:
            self._measure(number, log)

    async def aanswer(self, request: ChatRequest, log: AttemptLog) -> AsyncGenerator[Delta, None]:
        """The asynchronous twin of `answer`."""
        number, note = self._choose(request, await self._atable(request.deadline))
        deltas = self.members[number].astream_with_retries(request, log.annotate(note))
        try:
            async for delta in deltas:
                yield delta
        finally:
            await deltas.aclose()
            self._measure(number, log)

    def call(self, feature: str, request: Any, log: AttemptLog) -> Any:
        """Return the outcome of the member that the rule chooses."""
        number, _ = self._choose(request, self._table(request.deadline))
        return self.members[number].call(feature, request, log)

    async def acall(self, feature: str, request: Any, log: AttemptLog) -> Any:
        """The asynchronous twin of `call`."""
        number, _ = self._choose(request, await self._atable(request.deadline))
        return await self.members[number].acall(feature, request, log)

    def capabilities(self) -> Capabilities:
        """Return what one member at least can do."""
        return combine_capabilities(self.members, self.features)

    def _table(self, deadline: float | None) -> FactTable | None:
        if self._reader is None:
            return None
        return self._facts.value or self._facts.get(self._reader.read, deadline)

    async def _atable(self, deadline: float | None) -> FactTable | None:
        if self._reader is None:
            return None
        return self._facts.value or await self._facts.aget(self._reader.read, deadline)

    def _choose(self, request: Request, table: FactTable | None) -> tuple[int, str]:
        """Return the number of the member for a request, and why.

        Raises:
            UnsupportedFeature: No member can do what it needs, or the chosen one cannot.
            InvalidRequest: The function returned something else than a member.
        """
        if table is None:
            return self._ask_rule(request)
        if table.expires is not None and time.monotonic() > table.expires:
            self._facts.take()
        refusals: dict[str, str] = {}
        ranked: list[tuple[Any, int, str]] = []
        for number, (member, facts) in enumerate(zip(self.members, table.rows, strict=True)):
            reason = _find_refusal(member, facts, request)
            value, note = (None, "") if reason else self._value(number, facts, request)
            if value is None:
                refusals[member.reference] = reason or note
            else:
                ranked.append((value, -number, note))
        if not ranked:
            causes = "; ".join(f"{reference}: {reason}" for reference, reason in refusals.items())
            raise UnsupportedFeature(
                f"The backend 'route' has no model for the request. {causes}.",
                next_step="Ask for less, add a model, or state what is not known in `facts`.",
            )
        _, negative, note = max(ranked)
        return -negative, f"{self.rule}: {note}"

    def _ask_rule(self, request: Request) -> tuple[int, str]:
        choice: Any = self.rule(request) if callable(self.rule) else None
        if isinstance(choice, bool):
            number = None
        elif isinstance(choice, int):
            number = choice if 0 <= choice < len(self.members) else None
        else:
            number = self._numbers.get(choice if isinstance(choice, str) else id(choice))
        if number is not None:
            if missing := self.members[number].find_missing(request):
                raise missing
            return number, "chosen by the rule"
        members = ", ".join(member.reference for member in self.members)
        raise InvalidRequest(
            f"rule: it returned {str(choice)[:80]!r}, which is no member.",
            next_step=f"Return an index, or one of: {members}.",
        )

    def _value(self, number: int, facts: MemberFacts, request: Request) -> tuple[Any, str]:
        """Return what the rule compares, the greater the better, and what to say of it.

        None is unknown, with the reason.
        """
        unknown = f" ({facts.why_unknown})" if facts.why_unknown else ""
        match self.rule:
            case "cheapest":
                tokens_in, tokens_out = _estimate_tokens(request)
                cost = facts.cost(tokens_in, tokens_out)
                if cost is None:
                    return None, f"its price is not known{unknown}"
                return -cost, f"${cost:.6f} for about {tokens_in} + {tokens_out} tokens"
            case "fastest":
                speed = self._measured.get(number, facts.speed)
                if speed is None:
                    return float("inf"), "not measured yet"
                return speed, f"{speed:.0f} tokens/s"
            case "longest_context":
                if facts.context is None:
                    return None, f"its context length is not known{unknown}"
                return facts.context, f"{facts.context:,} tokens"
            case _:
                if facts.openness is None:
                    return None, f"its openness is not known{unknown}"
                return facts.openness, f"{facts.openness:g} criteria open"

    def _measure(self, number: int, log: AttemptLog) -> None:
        """Measure the speed of a member's answer, where that is what the rule compares."""
        if self.rule != "fastest" or not log.attempts:
            return
        attempt = log.attempts[-1]
        tokens = attempt.usage.output_tokens if attempt.is_answer and attempt.usage is not None else None
        if tokens and attempt.seconds:
            speed = tokens / attempt.seconds
            earlier = self._measured.get(number) or speed
            self._measured[number] = _INERTIA * earlier + (1 - _INERTIA) * speed
        else:
            self._measured.setdefault(number, 0.0)  # else a model that fails would be asked again and again


def _names(member: MemberModel) -> tuple[str | int, ...]:
    """Return what names a member: its reference, its name, or the model itself."""
    return member.reference, member.backend.rest, id(member.model)


def _find_refusal(member: MemberModel, facts: MemberFacts, request: Request) -> str:
    """Return why a member cannot do what a request needs, or ""."""
    if missing := member.find_missing(request):
        return missing.cause.rstrip(".")
    if facts.unmet:
        return facts.unmet
    if not isinstance(request, ChatRequest):
        return ""
    known = member.model.capabilities
    used = {*request.options, *(["images"] if any(message.images for message in request.messages) else [])}
    for name in sorted(used):
        if getattr(known, name, None) is False:
            return f"it has no {name!r}"
    tokens_in, _ = _estimate_tokens(request)
    tokens = tokens_in + (request.max_tokens or 0)
    if facts.context is not None and tokens > facts.context:
        return f"its context of {facts.context:,} tokens is too short for about {tokens:,}"
    return ""


def _estimate_tokens(request: Request) -> tuple[int, int]:
    """Return about how many tokens a request has, and its answer will have."""
    if isinstance(request, ChatRequest):
        texts = [request.prompt] if request.prompt is not None else [message.text for message in request.messages]
        size = sum(len(text.encode()) for text in texts)
        size += sum(len(to_json(tool.parameters)) + len(tool.description) for tool in request.tools)
        tokens = size // _BYTES_PER_TOKEN + 1
        return tokens, request.max_tokens or tokens // 3 + 1  # 3:1 is how prices are blended
    size = len(to_json(request.model_dump(exclude={"deadline"}, mode="json")))
    return size // _BYTES_PER_TOKEN + 1, 0
