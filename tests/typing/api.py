"""Correct and incorrect uses of the public names, for type checkers alone: never run.

Each `type: ignore` expects an error; a checker that finds none reports the comment.
"""

# pyright: strict, reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any, assert_type

import openmodels as om
from openmodels.backends.base import Backend
from openmodels.types.request import ChatRequest

model = om.Model("echo:", timeout=30, max_retries=1, script=["x"])
assert_type(model.reference, str)
assert_type(model.backend, Backend)
assert_type(model.timeout, float | None)
assert_type(om.__version__, str)
default: str = om.DEFAULT_MODEL

reply = model.chat("hello", temperature=0.5, max_tokens=10, stop=["\n"], seed=1, timeout=None, extra={"x": 1})
assert_type(reply, om.Reply)
assert_type(reply.text, str)
assert_type(reply.finish_reason, str | None)
assert_type(reply.usage.input_tokens, int | None)
assert_type(reply.model, str | None)
assert_type(reply.seconds, float)
assert_type(reply.cost, float | None)
assert_type(reply.message, om.Message)
assert_type(reply.tool_calls, tuple[om.ToolCall, ...])

model.chat(om.user("hello"))
model.chat({"role": "user", "content": "hello"})
model.chat([om.system("brief"), "hello", om.assistant("hi"), {"role": "user", "content": "bye"}])
assert_type(model.complete("Once"), om.Reply)
assert_type(model.embed(["a", "b"], dimensions=2, timeout=None), om.Embeddings)
ranking = model.rerank("q", ["a", "b"], top_n=1)
assert_type(ranking, om.Ranking)
assert_type([one.score for one in ranking], list[float])
model.chat(om.user("What is this?", om.Image("cat.png")))
assert_type(om.Image.fetch("https://example.com/cat.png", timeout=5), om.Image)


def look(city: str) -> str:
    """Look up the weather."""
    return city


@om.tool
def one(x: int) -> int:
    """Add one."""
    return x + 1


@om.tool(name="second")
def two(x: int) -> int:
    """Add two."""
    return x + 2


assert_type(one, om.Tool)
assert_type(two, om.Tool)
done = model.run_tools("hello", [look, one], max_rounds=2, parallel=False, temperature=0)
assert_type(done, om.ToolRun)
assert_type(done.reply, om.Reply)
assert_type(done.rounds[0].results[0], om.ToolResult)
model.run_tools("hello", [look], tools=[look])  # type: ignore[misc]
assert_type(om.providers("org/model"), list[om.Provider])
assert_type(model.load(), om.Model)

with model.stream("hello", top_p=0.9, top_k=5) as stream:
    assert_type(stream, om.Stream)
    for delta in stream:
        assert_type(delta, om.Delta)
        assert_type(delta.text, str)
assert_type(stream.reply, om.Reply)
assert_type(stream.finished, bool)

with model.map(["a", om.user("b"), [om.system("c"), "d"]], concurrency=4, save=Path("x"), max_tokens=5) as run:
    assert_type(run, om.Bulk)
    for item in run:
        assert_type(item, om.BulkItem)
        assert_type(item.reply, om.Reply | None)
        assert_type(item.error, om.OpenModelsError | None)
        assert_type(item.result(), om.Reply)
assert_type(run.summary, om.BulkSummary)
assert_type(run.summary.cost, float | None)

with om.Model(om.DEFAULT_MODEL, device="cpu") as opened:
    assert_type(opened, om.Model)


async def asynchronous() -> None:
    assert_type(await model.achat("hello", max_tokens=5), om.Reply)
    assert_type(await model.acomplete("Once", max_tokens=5), om.Reply)
    assert_type(await model.aembed("a"), om.Embeddings)
    async with model.amap(iter(["a"]), method="complete") as run:
        assert_type(run, om.AsyncBulk)
        async for item in run:
            assert_type(item, om.BulkItem)
    assert_type(await om.aproviders("org/model", timeout=5), list[om.Provider])
    async with model.astream("hello") as stream:
        assert_type(stream, om.AsyncStream)
        async for delta in stream:
            assert_type(delta, om.Delta)
    assert_type(stream.reply, om.Reply)
    assert_type(await talk.asend("hello"), om.Reply)
    async with talk.astream("hello") as said:
        assert_type(said, om.AsyncStream)


talk = om.Conversation(model, system="brief")
assert_type(talk.send("hello", temperature=0), om.Reply)
with talk.stream("hello") as said:
    assert_type(said, om.Stream)
assert_type(talk.messages, list[om.Message])
talk.model = om.Model("echo:")
talk.save(Path("talk.json"))
assert_type(om.Conversation.restore("talk.json", model), om.Conversation)

options: om.CallOptions = {"temperature": 0.5, "max_tokens": 5}
model.chat("hello", **options)


class MyBackend(Backend):
    name = "mine"
    options = frozenset({"seed"})

    def run(self, request: ChatRequest) -> Generator[om.Delta, None, None]:
        assert_type(request.seed, int | None)
        assert_type(request.extra, dict[str, Any])
        yield om.Delta(text="x", finish_reason="stop", usage=om.Usage(output_tokens=1))


om.register_backend("mine", MyBackend)
om.Model(MyBackend())

try:
    model.chat("hello")
except om.DeadlineExceeded as error:
    assert_type(error.partial, om.Reply | None)
    assert_type(error.retry_after, float | None)
    raise TimeoutError from error
except om.OutputInvalid as error:
    assert_type(error.reply, om.Reply)
except (om.InvalidRequest, om.MissingExtra) as error:
    assert_type(error.reference, str | None)
    assert_type(error.next_step, str | None)

found = om.search("chat", license=["mit", "apache-2.0"], parameters="1B..8B", context=32768, limit=5)
assert_type(found, om.Results)
assert_type(found[0], om.ModelRecord)
assert_type(found.facets("license"), dict[str, int])
assert_type(om.info("org/model", live=False).downloads, int | None)
assert_type(om.family("org/model").ancestors, list[str])

assert_type(model.score("a", [" b"]), list[om.ContinuationScore])
assert_type(model.score("a", [" b"])[0].tokens, tuple[om.ScoredToken, ...])
assert_type(model.decide("a", {"q": {"type": "noul"}}), dict[str, om.Decision])

# What must be found wrong.
om.Modle  # type: ignore[attr-defined]
om.RateLimted  # type: ignore[attr-defined]
om.retry_after  # type: ignore[attr-defined]
om.search("chat", licence="mit")  # type: ignore[call-arg]
model.chta("hello")  # type: ignore[attr-defined]
model.chat("hello", temprature=1)  # type: ignore[call-arg]
model.chat("hello", temperature="hot")  # type: ignore[arg-type]
model.chat(5)  # type: ignore[arg-type]
model.embed("x", temperature=1)  # type: ignore[call-arg]
model.map(["hello"], concurency=1)  # type: ignore[call-arg]
model.map(["hello"], method="embed")  # type: ignore[arg-type]
model.complete(["x"])  # type: ignore[arg-type]
reply.txt  # type: ignore[attr-defined]
om.Message(role="robot", content="x")  # type: ignore[arg-type]
om.Delta(finish="stop")  # type: ignore[call-arg]
om.register_backend("mine", dict)  # type: ignore[arg-type]
