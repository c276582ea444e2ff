"""A model is run against a fault, and its result compared with the expected one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from openmodels import retry
from openmodels.errors import OpenModelsError
from openmodels.model import Model
from openmodels.testing.driver import SURFACES, Driver
from openmodels.testing.faults.expect import KEY, PROMPT, TEXT, Fails, Fault, Right, Vectors
from openmodels.testing.faults.server import FaultServer, list_faults

EMBEDS = ("embed", "aembed")
"""The two methods that give embeddings."""


def expected_result(fault: Fault, surface: str) -> Right | Vectors | Fails | None:
    """Return the expected result of a fault on a surface, or None if it has none."""
    if surface in EMBEDS:
        # A status or a connection is the same for every kind of request.
        same = fault.plain if fault.group in {"status", "connection"} else None
        return fault.embedded or (Vectors(same.after) if isinstance(same, Right) else same)
    return fault.streamed if "stream" in surface else fault.plain


def list_cases() -> Iterator[tuple[Fault, str]]:
    """Yield every fault with every surface on which it has an expected result."""
    for fault in list_faults().values():
        for surface in (*SURFACES, *EMBEDS):
            if expected_result(fault, surface) is not None:
                yield fault, surface


def check_fault(
    server: FaultServer,
    fault: Fault,
    surface: str,
    make: Callable[[str, float], Model],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Send `PROMPT` to the URL of a fault and check the result.

    On a surface of `EMBEDS`, embed `PROMPT` and `TEXT`. Retries are two, without waiting between them.

    Args:
        server: The server.
        fault: The fault.
        surface: One of `SURFACES` or `EMBEDS`.
        make: Returns the model for a base URL and a timeout in seconds; it must use `KEY`.
        caplog: Pytest's fixture, to check that no log contains the key or the prompt.

    Raises:
        AssertionError: The result is not the expected one, a key or prompt was disclosed, or a
            connection was left open after `Model.close`.
    """
    caplog.set_level(logging.DEBUG)
    url = server.url(fault.name)
    expect = expected_result(fault, surface)
    disclosed = ""
    with retry.override_retries(attempts=3, wait=0), make(url, fault.timeout or 20.0) as model:
        try:
            reply = _ask(model, surface)
        except OpenModelsError as error:
            if not isinstance(expect, Fails):
                raise
            expect.check(error, len(server.seen(url)))
            disclosed = "".join(f"{link} {link!r} {vars(link)}" for link in _chain(error))
        else:
            assert expect is not None
            assert not isinstance(expect, Fails), reply
            expect.check(reply, len(server.seen(url)))
        disclosed += f"{caplog.text} {model!r} {model.backend!r} {vars(model.backend)}"
    assert KEY not in disclosed
    assert PROMPT not in disclosed
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
