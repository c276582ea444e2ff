"""The cost of a call over the wire, beside raw httpx2 and other clients, against a server that answers at once.

    python benchmarks/wire.py [--rounds 9] [--only openmodels httpx2] [--json FILE]

The server runs in a process of its own on this machine. Three figures, each as a ratio to raw httpx2
(a kept client that posts and reads JSON, and no more), all peers in turns, best of the rounds:

    call    seconds of a plain call, one after the other           at most 1.10
    64-way  calls per second, 64 at a time, asyncio                at least 2.20
    stream  seconds of a stream of 20,000 tokens                   at most 1.00

openmodels runs as everybody uses it: retries, deadline and checks on. Peers that are not installed
are left out; `pip install openai any-llm-sdk` brings them.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib.util
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

TOKENS = 20_000
CALLS = 100
TOGETHER = 64
ASYNC_CALLS = 10 * TOGETHER
MESSAGES = [{"role": "user", "content": "What is the capital of France?"}]
ANSWER = "The capital of France is Paris."
LIMITS = {"call": 1.1, "64-way": 2.2, "stream": 1.0}

Call = Callable[[], str]
AsyncCall = Callable[[], Awaitable[str]]


class Peer(NamedTuple):
    """A client: a plain call, a stream that returns its number of tokens, and a loop's worth of async calls."""

    call: Call
    stream: Callable[[], int]
    many: Callable[[Callable[[AsyncCall], Awaitable[float]]], Awaitable[float]]


# The server.


def answer(content_type: str, body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s" % (
        content_type.encode(),
        len(body),
        body,
    )


def plain_answer() -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": ANSWER}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 37, "completion_tokens": 8, "total_tokens": 45}
    body = {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}
    return answer("application/json", json.dumps(body).encode())


def streamed_answer() -> bytes:
    def chunk(delta: dict[str, str], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        body = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
        return b"data: " + json.dumps(body).encode() + b"\n\n"

    events = [chunk({"content": f" token{number}"}) for number in range(TOKENS)]
    events += [chunk({}, "stop"), b"data: [DONE]\n\n"]
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(event), event) for event in events)
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + chunks + b"0\r\n\r\n"


class Server(asyncio.Protocol):
    """Answers each request as soon as it is whole; each token is an HTTP chunk of its own."""

    plain, streamed = plain_answer(), streamed_answer()

    def __init__(self) -> None:
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, found, body = self.buffer.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0] or 0)
        if found and len(body) >= length:
            self.buffer = b""
            streams = b'"stream":true' in body or b'"stream": true' in body
            self.transport.write(self.streamed if streams else self.plain)


async def serve() -> None:
    server = await asyncio.get_running_loop().create_server(Server, "127.0.0.1", 0, backlog=256)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)  # until the other side has gone


@contextlib.contextmanager
def server() -> Iterator[str]:
    """Start the server in a process of its own and give its base URL."""
    with subprocess.Popen(
        [sys.executable, __file__, "--serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}/v1"
        process.stdin.close()


# The clients.


def raw_httpx2(url: str) -> Peer:
    import httpx2

    payload = {"model": "m", "messages": MESSAGES}
    settings: dict[str, Any] = {
        "base_url": url,
        "headers": {"Authorization": "Bearer key"},
        "timeout": 60,
        "limits": httpx2.Limits(max_connections=TOGETHER, max_keepalive_connections=TOGETHER),
    }
    client = httpx2.Client(**settings)

    def text(response: httpx2.Response) -> str:
        return response.json()["choices"][0]["message"]["content"]

    def stream() -> int:
        count = 0
        with client.stream("POST", "/chat/completions", json={**payload, "stream": True}) as response:
            for line in response.iter_lines():
                if line.startswith("data: ") and line != "data: [DONE]":
                    count += bool(json.loads(line[6:])["choices"][0]["delta"].get("content"))
        return count

    async def many(measure: Callable[[AsyncCall], Awaitable[float]]) -> float:
        async with httpx2.AsyncClient(**settings) as client:

            async def call() -> str:
                return text(await client.post("/chat/completions", json=payload))

            return await measure(call)

    return Peer(lambda: text(client.post("/chat/completions", json=payload)), stream, many)


def raw_urllib3_aiohttp(url: str) -> Peer:
    """The libraries that openmodels stands on: urllib3 for plain calls and streams, aiohttp for asyncio."""
    import aiohttp
    import urllib3

    body = {"model": "m", "messages": MESSAGES}
    headers = {"Authorization": "Bearer key", "Content-Type": "application/json"}
    client = urllib3.PoolManager(maxsize=TOGETHER)
    address = f"{url}/chat/completions"

    def call() -> str:
        response = client.request("POST", address, json=body, headers=headers, timeout=60, retries=False)
        return response.json()["choices"][0]["message"]["content"]

    def stream() -> int:
        count, rest = 0, b""
        payload = {**body, "stream": True}
        response = client.request("POST", address, json=payload, headers=headers, preload_content=False, retries=False)
        for data in response.stream(65536):
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                if line.startswith(b"data: ") and line != b"data: [DONE]":
                    count += bool(json.loads(line[6:])["choices"][0]["delta"].get("content"))
        response.release_conn()
        return count

    async def many(measure: Callable[[AsyncCall], Awaitable[float]]) -> float:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=TOGETHER)) as session:

            async def call() -> str:
                async with session.post(address, json=body, headers=headers) as response:
                    return (await response.json())["choices"][0]["message"]["content"]

            return await measure(call)

    return Peer(call, stream, many)


def openmodels(url: str, backend: str = "server") -> Peer:
    import openmodels as om

    model = om.Model(f"{backend}:m", base_url=url, api_key="key")

    def stream() -> int:
        with model.stream(MESSAGES) as stream:
            return sum(bool(delta.text) for delta in stream)

    async def many(measure: Callable[[AsyncCall], Awaitable[float]]) -> float:
        async def call() -> str:
            return (await model.achat(MESSAGES)).text

        return await measure(call)

    return Peer(lambda: model.chat(MESSAGES).text, stream, many)


def inference_client(url: str) -> Peer:
    from huggingface_hub import AsyncInferenceClient, InferenceClient

    client = InferenceClient(base_url=url, api_key="key")

    def stream() -> int:
        chunks = client.chat_completion(MESSAGES, model="m", stream=True)
        return sum(bool(chunk.choices and chunk.choices[0].delta.content) for chunk in chunks)

    async def many(measure: Callable[[AsyncCall], Awaitable[float]]) -> float:
        async with AsyncInferenceClient(base_url=url, api_key="key") as client:

            async def call() -> str:
                return (await client.chat_completion(MESSAGES, model="m")).choices[0].message.content or ""

            return await measure(call)

    return Peer(lambda: client.chat_completion(MESSAGES, model="m").choices[0].message.content or "", stream, many)


def openai(url: str) -> Peer:
    from openai import AsyncOpenAI, OpenAI

    client = OpenAI(base_url=url, api_key="key")
    payload: dict[str, Any] = {"model": "m", "messages": MESSAGES}

    def stream() -> int:
        chunks = client.chat.completions.create(**payload, stream=True)
        return sum(bool(chunk.choices and chunk.choices[0].delta.content) for chunk in chunks)

    async def many(measure: Callable[[AsyncCall], Awaitable[float]]) -> float:
        async with AsyncOpenAI(base_url=url, api_key="key") as client:

            async def call() -> str:
                return (await client.chat.completions.create(**payload)).choices[0].message.content or ""

            return await measure(call)

    return Peer(lambda: client.chat.completions.create(**payload).choices[0].message.content or "", stream, many)


def any_llm(url: str) -> Peer:
    from any_llm import AnyLLM

    def client() -> Any:
        return AnyLLM.create("openai", api_key="key", api_base=url)

    plain = client()

    def stream() -> int:
        chunks = plain.completion(model="m", messages=MESSAGES, stream=True)
        return sum(bool(chunk.choices and chunk.choices[0].delta.content) for chunk in chunks)

    async def many(measure: Callable[[AsyncCall], Awaitable[float]]) -> float:
        own = client()  # one per loop, since its connections belong to a loop

        async def call() -> str:
            return (await own.acompletion(model="m", messages=MESSAGES)).choices[0].message.content

        try:
            return await measure(call)
        finally:
            await own.client.close()

    return Peer(lambda: plain.completion(model="m", messages=MESSAGES).choices[0].message.content or "", stream, many)


PEERS: dict[str, tuple[str, Callable[[str], Peer]]] = {
    "httpx2": ("httpx2", raw_httpx2),
    "urllib3, aiohttp": ("aiohttp", raw_urllib3_aiohttp),
    "openmodels": ("openmodels", openmodels),
    # The same through Azure's client, which the limits leave out: its policies are not ours.
    "openmodels azure": ("azure", partial(openmodels, backend="azure")),
    "InferenceClient": ("huggingface_hub", inference_client),
    "openai": ("openai", openai),
    "any-llm": ("any_llm", any_llm),
}


# The measurement.


def plain_seconds(peer: Peer) -> float:
    """Return the seconds of one plain call, the mean of `CALLS`."""
    began = time.perf_counter()
    for _ in range(CALLS):
        assert peer.call() == ANSWER
    return (time.perf_counter() - began) / CALLS


def stream_seconds(peer: Peer) -> float:
    """Return the seconds of one long stream."""
    began = time.perf_counter()
    assert peer.stream() == TOKENS
    return time.perf_counter() - began


def async_seconds(peer: Peer) -> float:
    """Return the seconds per call with `TOGETHER` at a time, once their connections are made."""

    async def measure(call: AsyncCall) -> float:
        async def some(times: int) -> None:
            for _ in range(times):
                assert await call() == ANSWER

        await asyncio.gather(*(some(1) for _ in range(TOGETHER)))
        began = time.perf_counter()
        await asyncio.gather(*(some(ASYNC_CALLS // TOGETHER) for _ in range(TOGETHER)))
        return (time.perf_counter() - began) / ASYNC_CALLS

    async def main() -> float:
        return await peer.many(measure)

    return asyncio.run(main())


MEASURES = {"call": plain_seconds, "64-way": async_seconds, "stream": stream_seconds}


def run(url: str, names: list[str], rounds: int) -> dict[str, dict[str, list[float]]]:
    """Return the seconds of every round by measure and peer."""
    peers = {name: PEERS[name][1](url) for name in names}
    seconds: dict[str, dict[str, list[float]]] = {}
    for what, measure in MEASURES.items():
        seconds[what] = {name: [] for name in peers}
        for peer in peers.values():
            measure(peer)  # connections, caches, imports
        for _ in range(rounds):
            for name, peer in peers.items():
                seconds[what][name].append(measure(peer))
    return seconds


def ratio(what: str, ours: float, theirs: float) -> float:
    """Return the ratio to httpx2: of throughputs for "64-way", else of times."""
    return theirs / ours if what == "64-way" else ours / theirs


def report(seconds: dict[str, dict[str, list[float]]]) -> bool:
    """Print the figures; return whether openmodels is within its limits."""
    good = True
    for what, by_peer in seconds.items():
        raw = by_peer["httpx2"]
        print(f"\n{what:18}{'best':>14}{'ratio':>8}{'median of the rounds’ ratios':>32}")
        for name, own in by_peer.items():
            best = min(own)
            shown = f"{1 / best:10,.0f} /s" if what == "64-way" else f"{best * 1000:10.3f} ms"
            ours = ratio(what, best, min(raw))
            middle = statistics.median(ratio(what, *pair) for pair in zip(own, raw, strict=True))
            print(f"{name:18}{shown:>14}{ours:8.2f}{middle:32.2f}")
            if name == "openmodels":
                good &= ours >= LIMITS[what] if what == "64-way" else ours <= LIMITS[what]
    return good


def main() -> None:
    """Measure and print; exit 1 when a limit is not kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--only", nargs="+", choices=PEERS, help="the peers to run; httpx2 always runs")
    parser.add_argument("--json", help="write the figures to this file as well")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve())
        return
    wanted = {"httpx2", *(options.only or PEERS)}
    names = [name for name, (module, _) in PEERS.items() if name in wanted and importlib.util.find_spec(module)]
    with server() as url:
        seconds = run(url, names, options.rounds)
    good = report(seconds)
    if options.json:
        Path(options.json).write_text(json.dumps(seconds, indent=1) + "\n", encoding="utf-8")
    sys.exit(not good)


if __name__ == "__main__":
    main()
