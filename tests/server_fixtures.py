"""Fixtures for tests of servers; each checks that nothing shows the key or the prompt."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator
from typing import Any

import pytest

from openmodels.backends import openai_compatible
from openmodels.backends.openai_compatible import OpenAICompatible
from openmodels.core.stream import AsyncStream, ReplyAssembler, Stream
from openmodels.errors import OpenModelsError
from openmodels.http.client import HttpClient
from openmodels.http.messages import HttpRequest
from openmodels.http.status_errors import FailedResponse
from openmodels.model import Model
from openmodels.openai_wire.decode import ChatDecoder, ResponseBody
from openmodels.testing.faults import KEY, PROMPT, FaultServer

SHOWN = (
    Model,
    OpenAICompatible,
    Stream,
    AsyncStream,
    FailedResponse,
    ResponseBody,
    ChatDecoder,
    HttpRequest,
    HttpClient,
)


class Told:
    """Collects what is told while a patch lasts.

    Attributes:
        parts: What was told, in order.

    Every logger counts, whatever its level and wherever it propagates to. Objects of `SHOWN` and
    errors are shown when they are made, errors again when they leave a call, with all they are chained to.
    """

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.parts: list[str] = []
        formatter = logging.Formatter("%(name)s %(message)s")
        handle, explain, made = logging.Logger.handle, ReplyAssembler.fail, OpenModelsError.__init__

        def log(logger: logging.Logger, record: logging.LogRecord) -> None:
            self.parts.append(f"{formatter.format(record)} {vars(record)}")
            handle(logger, record)

        def make(error: OpenModelsError, *args: Any, **options: Any) -> None:
            made(error, *args, **options)
            self.parts.append(f"{error} {error!r} {vars(error)}")

        def leave(assembler: ReplyAssembler, error: OpenModelsError) -> None:
            explain(assembler, error)
            self.parts.append(f"{error!r} {vars(error)} {''.join(traceback.format_exception(error))}")

        patch.setattr(logging.Logger, "isEnabledFor", lambda *_: True)
        patch.setattr(logging.Logger, "handle", log)
        patch.setattr(OpenModelsError, "__init__", make)
        patch.setattr(ReplyAssembler, "fail", leave)
        for kind in SHOWN:
            patch.setattr(kind, "__init__", self._showing(kind.__init__))

    def _showing(self, init: Any) -> Any:
        def made(one: Any, *args: Any, **options: Any) -> None:
            init(one, *args, **options)
            self.parts.append(f"{one!r} {one}")

        made.__wrapped__ = init  # signatures are read by `Model`
        return made

    @property
    def leaks(self) -> list[str]:
        """What was told and holds the key or the prompt."""
        return [part for part in self.parts if KEY in part or PROMPT in part]

    def forget(self) -> None:
        """Start again."""
        self.parts.clear()


@pytest.fixture(autouse=True)
def told(monkeypatch: pytest.MonkeyPatch) -> Iterator[Told]:
    """Checks of every test here that no log, representation or error holds the key or the prompt."""
    told = Told(monkeypatch)
    yield told
    assert not told.leaks


@pytest.fixture(scope="session")
def server() -> Iterator[FaultServer]:
    """The misbehaving server."""
    with FaultServer() as server:
        yield server


@pytest.fixture
def own() -> Iterator[FaultServer]:
    """A server of the test's own, to count connections."""
    with FaultServer() as server:
        yield server


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits only a moment for what may follow a whole answer."""
    monkeypatch.setattr(openai_compatible, "AFTER_END", 0.05)
    monkeypatch.setattr(openai_compatible, "AFTER_FINISH", 0.05)
