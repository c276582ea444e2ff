"""Let a model meet a fault, and check what comes of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from openmodels.core import retry
from openmodels.errors import OpenModelsError
from openmodels.model import Model
from openmodels.testing.driver import SURFACES, Driver
from openmodels.testing.faults.expect import KEY, PROMPT, TEXT, Fails, Fault, Right, Vectors
from openmodels.testing.faults.server import FaultServer, faults

EMBEDS = ("embed", "aembed")
"""The two ways to ask for embeddings."""


def expected(fault: Fault, surface: str) -> Right | Vectors | Fails | None:
    """Return what must come of a fault on a surface, or None if it cannot be met there."""
    if surface in EMBEDS:
        # A status or a connection is the same whatever was asked.
        same = fault.plain if fault.group in {"status", "connection"} else None
        return fault.embedded or (Vectors(same.after) if isinstance(same, Right) else same)
    return fault.streamed if "stream" in surface else fault.plain


def cases() -> Iterator[tuple[Fault, str]]:
    """Yield every fault with every surface on which it can be met."""
    for fault in faults().values():
        for surface in (*SURFACES, *EMBEDS):
            if expected(fault, surface) is not None:
                yield fault, surface


def meet(
    server: FaultServer,
    fault: Fault,
    surface: str,
    make: Callable[[str, float], Model],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Ask `PROMPT` (or embed it and `TEXT`) where the fault is, with two retries and no waiting between them.

    Args:
        server: The server.
        fault: The fault.
        surface: One of `SURFACES` or `EMBEDS`.
        make: Returns the model for a base URL and a timeout in seconds; it must use `KEY`.
        caplog: Pytest's fixture, to see that no log tells the key or the prompt.

    Raises:
        AssertionError: Something else came of it than it must, a key or prompt was told, or a
            connection was left open after `Model.close`.
    """
    caplog.set_level(logging.DEBUG)
    url = server.url(fault.name)
    expect = expected(fault, surface)
    told = ""
    with retry.override_retries(attempts=3, wait=0), make(url, fault.timeout or 20.0) as model:
        try:
            reply = _ask(model, surface)
        except OpenModelsError as error:
            if not isinstance(expect, Fails):
                raise
            expect.check(error, len(server.seen(url)))
            told = "".join(f"{one} {one!r} {vars(one)}" for one in _chain(error))
        else:
            assert expect is not None
            assert not isinstance(expect, Fails), reply
            expect.check(reply, len(server.seen(url)))
        told += f"{caplog.text} {model!r} {model.backend!r} {vars(model.backend)}"
    assert KEY not in told
    assert PROMPT not in told
    assert server.wait_open(0)


def _ask(model: Model, surface: str) -> Any:
    if surface == "embed":
        return model.embed([PROMPT, TEXT])
    if surface == "aembed":
        return asyncio.run(model.aembed([PROMPT, TEXT]))
    return Driver(model, surface)(PROMPT).reply


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
