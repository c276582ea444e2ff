"""`score` and `decide` on a server: by token ids, by an echo, by `/v1/systemone`, by the likeliest first tokens."""

from __future__ import annotations

import asyncio
import json
import math
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

import openmodels as om

PROMPT = "The capital of France is"
QUESTIONS = {
    "team": {"type": "choice", "instructions": "Which team?", "criteria": {"Billing": "Payments", "Sales": None}},
    "refund": {"type": "noul", "instructions": "Money back?"},
    "anger": {"type": "score", "instructions": "How angry?", "criteria": ["calm", "furious"]},
}


def logprob(token: int) -> float:
    """The made-up log-probability of a token, whatever stands before it."""
    return -1 - token / 1000


class Stand(ThreadingHTTPServer):
    """A server with some of vLLM's routes; a token is a character's code point.

    Attributes:
        routes: The routes that it has.
        seen: The paths and bodies of the requests, oldest first.
        tokens: How it cuts an echoed text into tokens.
        top: The likeliest first tokens of a chat.
    """

    def __init__(self, *routes: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.routes = routes
        self.seen: list[tuple[str, Any]] = []
        self.tokens = list
        self.top = {"A": -0.5, "B": -2.0, "Yes": -0.3, "No": -3.0, "0": -1.0, "1": -1.5, "x": -9.0}
        self.has_logprobs = True

    def answer(self, path: str, body: Any) -> Any:
        match path:
            case "/tokenize":
                text = body["prompt"] if "prompt" in body else body["messages"][-1]["content"] + ">"
                return {"tokens": [1] * body["add_special_tokens"] + [ord(letter) for letter in text]}
            case "/v1/completions":
                return {
                    "model": "stand",
                    "choices": [self.choice(at, prompt, body) for at, prompt in enumerate(body["prompt"])],
                }
            case "/v1/chat/completions":
                top = [{"token": token, "logprob": value} for token, value in self.top.items()]
                entry = {"token": "A", "logprob": -0.5, "top_logprobs": top}
                return {"choices": [{"message": {"content": "A"}, "logprobs": {"content": [entry]}}]}
            case "/v1/systemone":
                answers = {
                    "team": {
                        "type": "choice",
                        "choice": "Sales",
                        "probabilities": {"Billing": 0.2, "Sales": 0.8},
                        "confidence": 0.1,
                    },
                    "refund": {"type": "noul", "noul": 0.25, "diagnostics": {"label_mass": 0.9}},
                    "anger": {
                        "type": "score",
                        "score": 0.7,
                        "legend": {},
                        "probabilities": {"0": 0.3, "1": 0.7},
                        "confidence": 0,
                    },
                }
                return {"model": "stand", "answers": answers, "usage": {"input_tokens": 9, "output_tokens": 0}}

    def choice(self, index: int, prompt: Any, body: Any) -> Any:
        choice: dict[str, Any] = {"index": index, "text": "!", "finish_reason": "length"}
        if self.has_logprobs and "prompt_logprobs" in body:
            entries = [
                {str(token): {"logprob": logprob(token), "rank": token % 2, "decoded_token": chr(token)}}
                for token in prompt
            ]
            choice["prompt_logprobs"] = [None, *entries[1:]]
        if self.has_logprobs and body.get("echo"):
            tokens = [*self.tokens(prompt), "!"]
            values = [sum(map(logprob, map(ord, token))) for token in tokens]
            choice["logprobs"] = {"tokens": tokens, "token_logprobs": [None, *values[1:]], "top_logprobs": None}
        return choice


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.seen.append((self.path, body))
        has_route = self.path in self.server.routes
        value = self.server.answer(self.path, body) if has_route else {"detail": "Not Found"}
        data = json.dumps(value).encode()
        self.send_response(200 if has_route else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture
def stand() -> Iterator[Any]:
    opened = []

    def start(*routes: str) -> tuple[Stand, om.Model]:
        server = Stand(*routes)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        model = om.Model("server:stand", base_url=f"http://127.0.0.1:{server.server_port}", max_retries=0)
        opened.append((server, thread, model))
        return server, model

    yield start
    for server, thread, model in opened:
        model.close()
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(params=["sync", "async"])
def call(request: pytest.FixtureRequest) -> Any:
    def run(model: om.Model, name: str, *arguments: Any) -> Any:
        if request.param == "sync":
            return getattr(model, name)(*arguments)
        return asyncio.run(getattr(model, f"a{name}")(*arguments))

    return run


VLLM = ("/tokenize", "/v1/completions", "/v1/chat/completions")


class TestScores:
    def test_token_ids_are_joined(self, stand: Any, call: Any) -> None:
        server, model = stand(*VLLM)
        scores = call(model, "score", PROMPT, [" Paris", "日"])
        assert [score.text for score in scores] == [" Paris", "日"]
        assert [token.id for token in scores[0].tokens] == list(map(ord, " Paris"))
        assert scores[0].logprob == pytest.approx(sum(logprob(ord(letter)) for letter in " Paris"))
        assert [token.is_likeliest for token in scores[0].tokens] == [ord(letter) % 2 == 1 for letter in " Paris"]
        path, body = server.seen[-1]
        assert path == "/v1/completions"
        assert body["prompt"][1] == [1, *map(ord, PROMPT), ord("日")]
        assert sum(path == "/v1/completions" for path, _ in server.seen) == 1

    def test_messages_are_rendered_by_the_server(self, stand: Any, call: Any) -> None:
        server, model = stand(*VLLM)
        (score,) = call(model, "score", [om.user("Hi")], ["Hello"])
        assert score.token_count == 5
        first = server.seen[0][1]
        assert first["messages"] == [{"role": "user", "content": "Hi"}]
        assert first["add_generation_prompt"] is True
        assert server.seen[-1][1]["prompt"] == [[*map(ord, "Hi>Hello")]]

    def test_an_echo_is_read_where_tokens_end_with_the_prompt(self, stand: Any, call: Any) -> None:
        server, model = stand("/v1/completions")
        server.tokens = lambda text: [PROMPT[:3], PROMPT[3:], *text[len(PROMPT) :]]
        scores = call(model, "score", PROMPT, [" Paris", " x"])
        assert [token.text for token in scores[0].tokens] == list(" Paris")
        assert scores[1].logprob == pytest.approx(logprob(ord(" ")) + logprob(ord("x")))
        assert scores[0].tokens[0].id is None
        assert scores[0].is_greedy is None
        # What the server does not have is not asked for again.
        call(model, "score", PROMPT, [" x"])
        assert sum(path == "/tokenize" for path, _ in server.seen) == 1

    def test_an_echo_whose_tokens_lie_across_the_end_is_refused(self, stand: Any, call: Any) -> None:
        server, model = stand("/v1/completions")
        server.tokens = lambda text: [text[:20], text[20:]]
        with pytest.raises(om.UnsupportedFeature, match="where the prompt ends"):
            call(model, "score", PROMPT, [" Paris"])

    def test_messages_need_the_servers_tokens(self, stand: Any, call: Any) -> None:
        _, model = stand("/v1/completions")
        with pytest.raises(om.UnsupportedFeature, match="'score'"):
            call(model, "score", [om.user("Hi")], ["Hello"])

    @pytest.mark.parametrize("routes", [VLLM, VLLM[1:]], ids=["tokens", "echo"])
    def test_a_server_that_ignores_the_question_is_refused(self, stand: Any, call: Any, routes: Any) -> None:
        server, model = stand(*routes)
        server.has_logprobs = False
        with pytest.raises(om.UnsupportedFeature, match="no log-probabilities of a given text"):
            call(model, "score", PROMPT, [" Paris"])

    def test_a_server_without_any_route_says_so(self, stand: Any, call: Any) -> None:
        _, model = stand()
        with pytest.raises(om.NotConfigured, match="404"):
            call(model, "score", PROMPT, [" Paris"])


class TestDecisions:
    def test_systemone_answers(self, stand: Any, call: Any) -> None:
        server, model = stand("/v1/systemone")
        decisions = call(model, "decide", {"ticket": "Twice!"}, QUESTIONS)
        assert server.seen[0][1] == {"model": "stand", "state": {"ticket": "Twice!"}, "questions": QUESTIONS}
        assert decisions["team"].value == "Sales"
        assert decisions["team"].confidence == pytest.approx(0.6)
        assert decisions["refund"].value == "no"
        assert decisions["refund"].label_mass == 0.9
        assert decisions["anger"].value == pytest.approx(0.7)
        assert decisions["anger"].label_mass is None

    @pytest.mark.parametrize(
        "answers",
        [
            {},
            {"team": {"probabilities": {"Billing": 1}}},
            {"team": {"probabilities": {"Billing": 2, "Sales": 0}}},
            None,
        ],
    )
    def test_a_wrong_answer_is_invalid(self, stand: Any, call: Any, answers: Any) -> None:
        server, model = stand("/v1/systemone")
        server.answer = lambda *_: {"answers": answers}
        with pytest.raises(om.InvalidResponse):
            call(model, "decide", "x", {"team": QUESTIONS["team"]})

    def test_without_it_labels_are_scored(self, stand: Any, call: Any) -> None:
        _, model = stand(*VLLM)
        decisions = call(model, "decide", "Twice!", QUESTIONS)
        first, second = math.exp(logprob(ord("A"))), math.exp(logprob(ord("B")))
        assert decisions["team"].probabilities["Billing"] == pytest.approx(first / (first + second))
        assert decisions["team"].label_mass == pytest.approx(first + second)

    def test_without_both_the_likeliest_tokens_are_read(self, stand: Any, call: Any) -> None:
        server, model = stand("/v1/chat/completions")
        decisions = call(model, "decide", "Twice!", QUESTIONS)
        assert decisions["team"].value == "Billing"
        assert decisions["team"].label_mass == pytest.approx(math.exp(-0.5) + math.exp(-2))
        assert decisions["refund"].value == "yes"
        assert server.seen[-1][1]["max_tokens"] == 1

    def test_a_label_that_is_not_there_is_refused(self, stand: Any, call: Any) -> None:
        server, model = stand("/v1/chat/completions")
        del server.top["B"]
        with pytest.raises(om.UnsupportedFeature, match="label 'B'"):
            call(model, "decide", "Twice!", QUESTIONS)
