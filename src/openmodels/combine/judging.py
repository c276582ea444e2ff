"""What a judge model is asked, and how its verdict is read."""

from __future__ import annotations

import re
from collections.abc import Generator, Sequence

from openmodels.combine.attempts import AttemptLog
from openmodels.combine.combination import MemberModel
from openmodels.combine.planned import Batch, MemberCall
from openmodels.types.messages import Message, system, user
from openmodels.types.reply import Reply
from openmodels.types.request import ChatRequest, ResponseFormat

_CHOOSE = (
    "You compare answers to the same request. Judge whether they are correct, complete and follow the request; their "
    "length and their order do not count. Reply with the number of the best answer and nothing else."
)
_ACCEPT = (
    "You check an answer to a request. Reply with yes if it is correct, complete and follows the request, otherwise "
    "with no, and nothing else."
)
_MERGE = (
    "Several assistants have answered the same request. Write the best answer to it: take what is correct of theirs, "
    "leave out what is wrong, and do not mention them."
)


def choose_best(
    judge: MemberModel, request: ChatRequest, replies: Sequence[Reply], log: AttemptLog
) -> Generator[Batch, None, tuple[int, int] | None]:
    """Return the indices of the best reply by a judge that saw them in both orders.

    The two indices differ where the order decided. None where the judge failed or named none.
    """
    numbers = tuple(str(number) for number in range(1, len(replies) + 1))
    orders = (list(range(len(replies))), list(reversed(range(len(replies)))))
    shown = _show(request)
    calls = [
        _judge_call(judge, request, log, f"{_CHOOSE}\n{shown}\n\n{_list(order, replies)}", numbers) for order in orders
    ]
    yield Batch(calls)
    best = []
    for call, order in zip(calls, orders, strict=True):
        verdict = _read_verdict(call, numbers)
        call.mark(log, f"judge: {'no verdict' if verdict is None else f'answer {order[int(verdict) - 1] + 1}'}")
        if verdict is not None:
            best.append(order[int(verdict) - 1])
    return (best[0], best[-1]) if best else None


def is_accepted(
    judge: MemberModel, request: ChatRequest, reply: Reply, log: AttemptLog
) -> Generator[Batch, None, bool]:
    """Return whether a judge calls an answer right; False where it failed."""
    content = f"{_ACCEPT}\n{_show(request)}\n\n{_list([0], [reply])}"
    call = _judge_call(judge, request, log, content, ("yes", "no"))
    yield Batch([call])
    verdict = _read_verdict(call, ("yes", "no"))
    call.mark(log, f"judge: {verdict or 'no verdict'}")
    return verdict == "yes"


def merge_request(request: ChatRequest, replies: Sequence[Reply]) -> ChatRequest:
    """Return the request that makes one answer of several, with the same options."""
    content = f"{_show(request)}\n\n{_list(range(len(replies)), replies)}"
    return request.model_copy(update={"messages": (system(_MERGE), user(content)), "tools": (), "tool_choice": None})


def _judge_call(
    judge: MemberModel, request: ChatRequest, log: AttemptLog, content: str, verdicts: tuple[str, ...]
) -> MemberCall:
    """Return the call to a judge; the first line of `content` is its task."""
    task, _, content = content.partition("\n")
    options = judge.backend.options
    form = ResponseFormat(kind="choices", choices=verdicts) if "choices" in options else None
    if judge.model.capabilities.choices is False:
        form = None
    judged = ChatRequest(
        messages=(system(task), user(content)),
        output=form,
        temperature=0 if "temperature" in options else None,
        deadline=request.deadline,
        stream=False,
    )
    return MemberCall(judge, judged, log.branch())


def _read_verdict(call: MemberCall, verdicts: tuple[str, ...]) -> str | None:
    """Return the last of the verdicts that a judge writes, after any reasons."""
    text = call.reply.text.casefold() if call.reply is not None else ""
    words = [word for word in re.findall(r"\w+", text) if word in verdicts]
    return words[-1] if words else None


def _show(request: ChatRequest) -> str:
    turns = "\n\n".join(_turn(message) for message in request.messages)
    return f"<request>\n{turns}\n</request>"


def _turn(message: Message) -> str:
    calls = "".join(f"[calls {call.name}]" for call in message.tool_calls)
    return f"{message.role}: {message.text}{calls}{' [with an image]' if message.images else ''}"


def _list(order: Sequence[int], replies: Sequence[Reply]) -> str:
    return "\n\n".join(
        f'<answer number="{number}">\n{replies[index].text}\n</answer>' for number, index in enumerate(order, 1)
    )
