"""A backend whose answers depend on the last message, for what `echo:` cannot do."""

from __future__ import annotations

import threading
import time

import numpy as np

from openmodels import errors
from openmodels.backends.base import Backend
from openmodels.openai_wire import encode
from openmodels.types.decisions import Decision, Decisions
from openmodels.types.embeddings import Embeddings
from openmodels.types.messages import ToolCall
from openmodels.types.rankings import Ranking
from openmodels.types.reply import Delta, TokenLogprob, Usage

USAGE = Usage(input_tokens=7, output_tokens=3, cached_tokens=2, reasoning_tokens=1)


class FakeBackend(Backend):
    """Thinks, calls tools, fails and dawdles as the last message says.

    Attributes:
        requests: What it got.
        running: How many answers are in the making.
    """

    name = "fake"
    features = frozenset({"chat", "complete", "embed", "rerank", "decide", "images"})
    options = encode.OPEN_SERVER_OPTIONS | encode.FORM_OPTIONS | {"extra"}

    def __init__(self, rest=""):
        super().__init__(rest)
        self.requests = []
        self.running = 0
        self.loads = self.closes = 0
        self.release = threading.Event()

    def load(self):
        self.loads += 1

    def close(self):
        self.closes += 1

    def run(self, request):
        self.requests.append(request)
        self.running += 1
        try:
            yield from self._answer(request, request.messages[-1].text if request.messages else "")
        finally:
            self.running -= 1

    def _answer(self, request, text):  # noqa: C901, PLR0912 - a script
        if text.startswith("fail "):
            _, name, *after = text.split()
            if after:
                yield Delta("before ")
            raise getattr(errors, name)("It went wrong.", next_step="Do something.", retry_after=3.0, retryable=False)
        if text == "crash":
            raise ZeroDivisionError("secret prompt")
        if text == "dawdle":
            yield Delta("first ")
            while not self.release.wait(0.01):
                yield Delta("more ")
        if text == "wait":
            self.release.wait(20)
        if text == "flood":
            while True:
                yield Delta("x" * 10_000)
        if text.startswith("sleep "):
            time.sleep(float(text.split()[1]))
        if request.tools and text != "no tool":
            yield Delta(reasoning="I need ")
            yield Delta(reasoning="a tool.")
            if "two" in text:
                yield Delta("Both: ")
            names = [tool.name for tool in request.tools][: 2 if "two" in text else 1]
            calls = [
                ToolCall(id=f"call_{at}", name=name, arguments={"city": "Oslo"}, raw='{"city": "Oslo"}')
                for at, name in enumerate(names)
            ]
            yield Delta(tool_calls=tuple(calls), finish_reason="tool_calls", usage=USAGE)
            return
        if request.output is not None:
            answer = '{"name": "Oslo", "people": 700000}'
            yield Delta(answer[:9])
            yield Delta(answer[9:], finish_reason="length" if text == "short" else "stop", usage=USAGE)
            return
        if text == "think":
            yield Delta(reasoning="Let me think.")
        images = sum(len(message.images) for message in request.messages)
        words = ["Hello", f" {images} images" if images else " world"]
        for index in range(request.n or 1):
            for word in words:
                likely = ()
                if request.logprobs is not None:
                    likely = (TokenLogprob(word, -0.5, ((word, -0.5), ("other", -1.5))[: request.logprobs]),)
                yield Delta(word, logprobs=likely, index=index)
            reason = "length" if request.max_tokens == 2 else "repetition" if text == "again" else "stop"
            yield Delta(finish_reason=reason, usage=USAGE, index=index)

    def embed(self, request):
        size = request.dimensions or 4
        rows = [[len(text) + at for at in range(size)] for text in request.texts]
        return Embeddings(np.array(rows, dtype=np.float32), Usage(input_tokens=5))

    def rerank(self, request):
        scores = {at: 1 / (1 + len(text)) for at, text in enumerate(request.documents)}
        return Ranking.of(scores, request, Usage(input_tokens=5))

    def decide(self, request):
        decisions = {}
        for name, question in request.questions.items():
            count = len(question.criteria) if question.type != "noul" else 2
            options = ["yes", "no"] if question.type == "noul" else list(question.criteria)
            if question.type == "score":
                options = [str(level) for level in range(count)]
            shares = {option: float(count - at) for at, option in enumerate(options)}
            decisions[name] = Decision.of(question, shares, 0.9)
        return Decisions(decisions, Usage(input_tokens=9, output_tokens=0))
