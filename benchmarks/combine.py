"""What a combination costs per call, beside LiteLLM's Router and Pydantic AI's FallbackModel.

    python benchmarks/combine.py [--seconds 10] [--only openmodels litellm pydantic-ai] [--json]

Each library calls a model in this process that answers at once, directly and through its wrapper of two such models.
The cost of the wrapper is the difference of the two, each the best of many short rounds in turns: a busy machine adds
to most rounds, but not to all. Limits:

    openmodels, sync      at most 30 µs
    every other library   at least 5 times as much as openmodels

LiteLLM's `completion` is replaced by a function that returns a kept response, so that its Router alone is measured;
Pydantic AI has its `FunctionModel`. Peers that are not installed are left out; `pip install litellm pydantic-ai-slim`
brings them. With `--json` the figures come as one line.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import importlib.util
import json
import logging
import os
import sys
import time
from collections.abc import Awaitable, Callable, Generator
from typing import Any, NamedTuple

ROUND = 0.001  # seconds of a round: short, so that some rounds are not interrupted
WARM = 5
TEXT = "What is the capital of France?"
ANSWER = "The capital of France is Paris."
LIMIT = 30.0  # microseconds
TIMES = 5.0

Call = Callable[[], str]
AsyncCall = Callable[[], Awaitable[str]]


class Peer(NamedTuple):
    """A library's calls: of a model alone, and of its wrappers by name, each synchronous and asynchronous."""

    alone: tuple[Call, AsyncCall]
    wrapped: dict[str, tuple[Call, AsyncCall]]


def openmodels() -> Peer:
    import openmodels as om
    from openmodels.backends.base import Backend
    from openmodels.types.request import ChatRequest

    usage = om.Usage(input_tokens=7, output_tokens=7)

    class Instant(Backend):
        name = "instant"

        def run(self, _request: ChatRequest) -> Generator[om.Delta, None, None]:
            yield om.Delta(text=ANSWER, finish_reason="stop", usage=usage)

        async def arun(self, _request: ChatRequest) -> Any:
            yield om.Delta(text=ANSWER, finish_reason="stop", usage=usage)

    def calls(model: om.Model) -> tuple[Call, AsyncCall]:
        async def call() -> str:
            return (await model.achat(TEXT)).text

        return lambda: model.chat(TEXT).text, call

    first, second = om.Model(Instant("a")), om.Model(Instant("b"))
    wrapped = {
        "fallback": om.fallback([first, second]),
        "route": om.route(lambda _: 0, [first, second]),
        "cascade": om.cascade([first, second], accept=lambda _: True),
    }
    return Peer(calls(first), {name: calls(model) for name, model in wrapped.items()})


def litellm() -> Peer:
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else importing it asks a server
    import litellm

    logging.disable(logging.WARNING)
    parameters: dict[str, Any] = {"model": "openai/m", "api_key": "key", "mock_response": ANSWER}
    messages = [{"role": "user", "content": TEXT}]
    router = litellm.Router(
        model_list=[{"model_name": name, "litellm_params": dict(parameters)} for name in ("a", "b")],
        fallbacks=[{"a": ["b"]}],
    )

    def text(response: Any) -> str:
        return str(response.choices[0].message.content)

    # A mocked answer takes milliseconds, in which the Router's part is lost. What is called at once is kept instead.
    response = litellm.completion(messages=messages, **parameters)

    def completion(**_: Any) -> Any:
        return response

    async def acompletion(**_: Any) -> Any:
        return response

    litellm.completion, litellm.acompletion = completion, acompletion

    async def alone() -> str:
        return text(await litellm.acompletion(messages=messages, **parameters))

    async def wrapped() -> str:
        return text(await router.acompletion("a", messages))

    return Peer(
        (lambda: text(litellm.completion(messages=messages, **parameters)), alone),
        {"Router": (lambda: text(router.completion("a", messages)), wrapped)},
    )


def pydantic_ai() -> Peer:
    from pydantic_ai import ModelRequest, ModelResponse, TextPart
    from pydantic_ai.direct import model_request, model_request_sync
    from pydantic_ai.models.fallback import FallbackModel
    from pydantic_ai.models.function import FunctionModel

    def answer(_messages: Any, _info: Any) -> ModelResponse:
        return ModelResponse([TextPart(ANSWER)])

    messages = [ModelRequest.user_text_prompt(TEXT)]

    def calls(model: Any) -> tuple[Call, AsyncCall]:
        async def call() -> str:
            return str((await model_request(model, messages)).parts[0].content)

        return lambda: str(model_request_sync(model, messages).parts[0].content), call

    first, second = FunctionModel(answer), FunctionModel(answer)
    return Peer(calls(first), {"FallbackModel": calls(FallbackModel(first, second))})


PEERS: dict[str, tuple[str, Callable[[], Peer]]] = {
    "openmodels": ("openmodels", openmodels),
    "litellm": ("litellm", litellm),
    "pydantic-ai": ("pydantic_ai", pydantic_ai),
}


def calls_per_round(seconds: float) -> int:
    """Return how many calls of this length make a round."""
    return min(20, max(1, int(ROUND / seconds)))


def best_of_rounds(peer: Peer, seconds: float) -> dict[str, float]:
    """Return the microseconds of a synchronous call of each wrapper, and alone as ""."""
    calls = {"": peer.alone[0], **{name: pair[0] for name, pair in peer.wrapped.items()}}
    best = dict.fromkeys(calls, float("inf"))
    end = time.perf_counter() + seconds
    for name, call in calls.items():
        for _ in range(WARM):
            start = time.perf_counter()
            assert call() == ANSWER, name
            best[name] = min(best[name], time.perf_counter() - start)
    while time.perf_counter() < end:
        for name, call in calls.items():
            count = calls_per_round(best[name])
            start = time.perf_counter()
            for _ in range(count):
                call()
            best[name] = min(best[name], (time.perf_counter() - start) / count)
    return {name: shortest * 1e6 for name, shortest in best.items()}


async def async_best_of_rounds(peer: Peer, seconds: float) -> dict[str, float]:
    """The asynchronous twin of `best_of_rounds`."""
    calls = {"": peer.alone[1], **{name: pair[1] for name, pair in peer.wrapped.items()}}
    best = dict.fromkeys(calls, float("inf"))
    end = time.perf_counter() + seconds
    for name, call in calls.items():
        for _ in range(WARM):
            start = time.perf_counter()
            assert await call() == ANSWER, name
            best[name] = min(best[name], time.perf_counter() - start)
    while time.perf_counter() < end:
        for name, call in calls.items():
            count = calls_per_round(best[name])
            start = time.perf_counter()
            for _ in range(count):
                await call()
            best[name] = min(best[name], (time.perf_counter() - start) / count)
    return {name: shortest * 1e6 for name, shortest in best.items()}


def measure(names: list[str], seconds: float) -> dict[str, dict[str, dict[str, float]]]:
    """Return microseconds by way ("sync", "async"), peer and wrapper; "alone" is the model without one."""
    figures: dict[str, dict[str, dict[str, float]]] = {"sync": {}, "async": {}}
    for name in names:
        peer = PEERS[name][1]()
        gc.collect()
        gc.disable()  # its pauses are none of a wrapper
        for way, by_peer in figures.items():
            best = best_of_rounds(peer, seconds) if way == "sync" else asyncio.run(async_best_of_rounds(peer, seconds))
            alone = best.pop("")
            by_peer[name] = {"alone": alone, **{wrapper: total - alone for wrapper, total in best.items()}}
        gc.enable()
    return figures


def summarise(figures: dict[str, dict[str, dict[str, float]]]) -> dict[str, Any]:
    """Return the figures with the ratios of the peers' wrappers to `om.fallback`, and whether the limits are kept."""
    ratios: dict[str, float] = {}
    for way, by_peer in figures.items():
        ours = by_peer["openmodels"]["fallback"]
        for peer, row in by_peer.items():
            if peer != "openmodels":
                ratios |= {f"{way} {wrapper}": cost / ours for wrapper, cost in row.items() if wrapper != "alone"}
    is_good = figures["sync"]["openmodels"]["fallback"] <= LIMIT and all(ratio >= TIMES for ratio in ratios.values())
    return {"microseconds": figures, "ratios": ratios, "limits_kept": is_good}


def main() -> None:
    """Measure and print; exit 1 when a limit is not kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0, help="for each peer, synchronous and asynchronous")
    parser.add_argument("--only", nargs="+", choices=PEERS, help="the peers to run; openmodels always runs")
    parser.add_argument("--json", action="store_true", help="print one line of JSON")
    options = parser.parse_args()
    wanted = {"openmodels", *(options.only or PEERS)}
    names = [name for name, (module, _) in PEERS.items() if name in wanted and importlib.util.find_spec(module)]
    summary = summarise(measure(names, options.seconds))
    if options.json:
        print(json.dumps(summary))
    else:
        for way, by_peer in summary["microseconds"].items():
            print(f"\n{way:30}{'µs':>10}{'× fallback':>12}")
            ours = by_peer["openmodels"]["fallback"]
            for peer, row in by_peer.items():
                for wrapper, cost in row.items():
                    ratio = "" if wrapper == "alone" else f"{cost / ours:12.1f}"
                    print(f"{f'{peer} {wrapper}':30}{cost:10.1f}{ratio}")
    sys.exit(not summary["limits_kept"])


if __name__ == "__main__":
    main()
