"""Every error openmodels raises, in one tree.

OpenModelsError
├── InvalidReference         the model reference cannot be read
├── MissingExtra             an optional dependency is not installed (also ImportError)
├── NotConfigured            an address, key or setting is missing
├── InvalidRequest           an argument is wrong; nothing was sent (also ValueError)
│   └── UnsupportedFeature   the backend cannot honour this option or call
├── AuthenticationFailed     the key or token was refused
├── AccessDenied             known, but not allowed to do this
│   └── GatedModel           the model's terms must be accepted first
├── ModelNotFound            no such model, revision or file
├── EndpointRetired          the vendor has switched this address off
├── ContextTooLong           the prompt does not fit the model's context
├── ContentFiltered          a content filter stopped the prompt or the answer
├── RateLimited              too many requests; `retry_after` says how long to wait
├── QuotaExceeded            no credit or quota left; waiting does not help
├── ServerFailed             the server says it failed
├── ConnectionFailed         no connection: DNS, TLS, refused, reset
├── Offline                  the network is needed but switched off or out of reach
├── DeadlineExceeded         the call's total time is up (also TimeoutError)
├── InvalidResponse          the answer breaks the protocol
├── StreamInterrupted        the stream ended before its end; `partial` holds what came
├── AllModelsFailed          no model of a list answered; `errors` holds every cause
├── OutputInvalid            the answer does not satisfy what was asked; `reply` holds it
├── ToolRoundsExceeded       the model still calls tools; `run` holds what was done
├── WriteFailed              a file cannot be written; the old one is unchanged (also OSError)
└── LoadFailed               the model's files cannot be used
    ├── UnsafeWeights        the weights could run code when loaded
    ├── DoesNotFit           too large for this disk, memory or device
    └── OutOfMemory          memory ran out while loading or running
"""

import os
import traceback
from contextlib import ContextDecorator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from openmodels.types.reply import Attempt, Reply


class OpenModelsError(Exception):
    """The root of every error raised by openmodels.

    Attributes:
        cause: What happened, in a sentence.
        reference: The model reference concerned, or None.
        next_step: What to do about it, in a sentence, or None.
        status: The HTTP status, where there is one.
        request_id: The vendor's id for the request, where there is one.
        retryable: Whether the same call may succeed later; only the core acts on it.
        retry_after: Seconds the vendor asks to wait, or None.
        partial: The part of the answer that had arrived, or None.
        run: What `run_tools` had done before, a `ToolRun`, or None.
        trace: The attempts of a combined model before it failed, as `Reply.trace`.
        refusal: All that a server said of a request it refused, without keys and prompts; `cause` holds its start.
    """

    default_retryable: ClassVar[bool] = False
    refusal: str = ""
    trace: "tuple[Attempt, ...]" = ()

    def __init__(
        self,
        cause: str,
        *,
        reference: str | None = None,
        next_step: str | None = None,
        status: int | None = None,
        request_id: str | None = None,
        retryable: bool | None = None,
        retry_after: float | None = None,
        partial: "Reply | None" = None,
    ) -> None:
        super().__init__(cause)
        self.cause = cause
        self.reference = reference
        self.next_step = next_step
        self.status = status
        self.request_id = request_id
        self.retryable = self.default_retryable if retryable is None else retryable
        self.retry_after = retry_after
        self.partial = partial
        self.run: Any = None

    def _render_traceback_(self) -> list[str]:
        """Return what IPython shows: the caller's line and the message."""
        package = str(Path(__file__).parent)
        frames = [frame for frame in traceback.extract_tb(self.__traceback__) if not frame.filename.startswith(package)]
        # A cell's file is a temporary one that means nothing to its author.
        lines = [f"line {frames[-1].lineno}: {frames[-1].line}"] if frames and frames[-1].line else []
        return [*lines, f"{type(self).__name__}: {self}"]

    def __str__(self) -> str:
        where = f"{self.reference.removesuffix(':')}: " if self.reference else ""
        then = f" {self.next_step}" if self.next_step else ""
        request = f" (request {self.request_id})" if self.request_id else ""
        return f"{where}{self.cause}{then}{request}"


class InvalidReference(OpenModelsError):
    """The model reference cannot be read; the message shows what it could have meant."""


class MissingExtra(OpenModelsError, ImportError):
    """An optional dependency is not installed; the message holds the install command."""


class NotConfigured(OpenModelsError):
    """An address, key or setting is missing; the message names where to put it."""


class InvalidRequest(OpenModelsError, ValueError):
    """An argument is wrong; the message names it, and nothing was sent."""


class UnsupportedFeature(InvalidRequest):
    """The backend cannot honour this option or call; the message names both."""


class AuthenticationFailed(OpenModelsError):
    """The key or token is missing, expired or refused."""


class AccessDenied(OpenModelsError):
    """The caller is known but not allowed to use this model or feature."""


class GatedModel(AccessDenied):
    """The model's terms must be accepted on its page before it can be used."""


class ModelNotFound(OpenModelsError):
    """No such model, revision, deployment or file."""


class EndpointRetired(OpenModelsError):
    """The vendor has switched this address off; the message holds the new one."""


class ContextTooLong(OpenModelsError):
    """The prompt does not fit the context; the message holds both in tokens."""


class ContentFiltered(OpenModelsError):
    """A content filter stopped the prompt or the answer."""


class RateLimited(OpenModelsError):
    """Too many requests; `retry_after` holds the vendor's seconds to wait."""

    default_retryable = True


class QuotaExceeded(OpenModelsError):
    """No credit or quota is left; waiting a moment does not help."""


class ServerFailed(OpenModelsError):
    """The server says that it failed or is overloaded."""

    default_retryable = True


class ConnectionFailed(OpenModelsError):
    """The connection failed; the message names DNS, TLS, refusal or reset."""

    default_retryable = True


class Offline(OpenModelsError):
    """The network is needed but switched off or out of reach."""


class DeadlineExceeded(OpenModelsError, TimeoutError):
    """The call's total time is up; `partial` holds what had arrived."""


class InvalidResponse(OpenModelsError):
    """The answer breaks the protocol: not JSON, not the expected shape, or too large."""


class StreamInterrupted(OpenModelsError):
    """The stream ended without a finish reason; `partial` holds what arrived."""


class AllModelsFailed(OpenModelsError):
    """No model of a list answered.

    Attributes:
        errors: What each attempt failed with, in the order of the attempts.
    """

    errors: tuple[Exception, ...] = ()


class OutputInvalid(OpenModelsError):
    """The answer does not satisfy the schema, pattern or choices asked for.

    Attributes:
        reply: The whole reply, text and usage included.
        errors: What is wrong with the answer, each fault with its place in it.
    """

    def __init__(
        self,
        cause: str,
        *,
        reply: "Reply",
        errors: tuple[str, ...] = (),
        reference: str | None = None,
        next_step: str | None = None,
    ) -> None:
        super().__init__(cause, reference=reference, next_step=next_step, partial=reply)
        self.reply = reply
        self.errors = errors
        self.trace = reply.trace

    def __reduce__(self) -> tuple[object, ...]:
        return partial(OutputInvalid, reply=self.reply), (self.cause,), self.__dict__


class ToolRoundsExceeded(OpenModelsError):
    """The last answer of `run_tools` still calls tools; `run` holds what was done."""


class WriteFailed(OpenModelsError, OSError):
    """A file cannot be written; the old one is unchanged.

    `errno` and `filename` say why and which.
    """


class LoadFailed(OpenModelsError):
    """The model's files are missing, broken or not supported."""


class UnsafeWeights(LoadFailed):
    """The weights could run code when loaded and are refused."""


class DoesNotFit(LoadFailed):
    """The model is too large for this disk, memory or device."""


class OutOfMemory(LoadFailed):
    """Memory ran out; the model stays usable for smaller requests."""


class ErrorBoundary(ContextDecorator):
    """The edge of the public interface, where errors get a short traceback.

    A traceback then ends at the caller's own line, and the chained original is one line: frames of
    this package and of a vendor's client tell a user nothing, and their locals hold prompts and keys.
    OPENMODELS_TRACEBACK=full keeps every frame.

    Args:
        reference: The model's reference, put into errors that have none.
    """

    def __init__(self, reference: str | None = None) -> None:
        self.reference = reference

    def __enter__(self) -> None:
        """Enter the block."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        """Name and shorten an error of the tree on its way out."""
        if isinstance(error, OpenModelsError):
            error.reference = error.reference or self.reference
            shorten(error)


def shorten(error: OpenModelsError) -> None:
    """Drop the frames below the caller's from an error and what it is chained to."""
    if os.environ.get("OPENMODELS_TRACEBACK") == "full":
        return
    error.__traceback__ = None
    link: BaseException | None = error.__cause__ or error.__context__
    seen: set[int] = {id(error)}
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        link.__traceback__ = None
        below = link.__cause__ or link.__context__
        # Still there for a debugger as `__context__`, but not printed: the error's message names the root.
        link.__context__, link.__cause__ = below, None
        link.__suppress_context__ = True
        link = below
