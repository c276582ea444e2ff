"""`decide` passes jevcompat's checks of `/v1/systemone`, through a loopback server that is a few lines around it."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from tiny import tiny_llama

import openmodels as om

NOT_APPLICABLE = {"auth.bearer", "auth.missing", "auth.invalid", "errors.shape"}
"""The server asks for no key, and knows its one model by any name."""


def answer(decision, question):
    """Return a decision in the form of the wire."""
    if question["type"] == "noul":
        return {"type": "noul", "noul": decision.probabilities["yes"]}
    fields = {"probabilities": decision.probabilities, "confidence": decision.confidence}
    if question["type"] == "choice":
        return {"type": "choice", "choice": decision.value, **fields}
    legend = {
        str(level): meaning if isinstance(meaning, str) else json.dumps(meaning)
        for level, meaning in enumerate(question["criteria"])
    }
    return {"type": "score", "score": decision.value, "legend": legend, **fields}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def send(self, status, value):
        body = json.dumps(value, ensure_ascii=False).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        model = {"name": "tiny", "description": "A random model.", "release_date": "2026-01-01"}
        self.send(*((200, {"models": [model]}) if self.path == "/v1/models" else (404, {"detail": "Not Found"})))

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            if self.path != "/v1/systemone":
                raise LookupError
            request = json.loads(body)
            questions = request["questions"]
            decisions = self.server.model.decide(request["state"], questions)
        except (om.InvalidRequest, KeyError, json.JSONDecodeError) as error:
            self.send(422, {"detail": [{"loc": ["body"], "msg": str(error), "type": "invalid"}]})
        except LookupError:
            self.send(404, {"detail": {"error_type": "not_found_error", "message": self.path}})
        else:
            answers = {name: answer(decision, questions[name]) for name, decision in decisions.items()}
            usage = {"input_tokens": 1, "output_tokens": 0}
            self.send(200, {"model": "tiny", "answers": answers, "usage": usage})


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    folder = tiny_llama(tmp_path_factory.mktemp("tiny"), max_position_embeddings=16384)
    with (
        om.Model(f"local:{folder}", dtype="float32") as model,
        ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server,
    ):
        server.model = model.load()
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.filterwarnings("ignore")
def test_every_requirement_is_met(address):
    from jevcompat import runner

    report = runner.run(address)
    failures = {
        result.id: [f"{finding.case}: {finding.message}" for finding in result.findings]
        for result in report.results
        if result.status == "fail"
    }
    assert failures == {}
    assert {result.id for result in report.results if result.status == "skip"} == NOT_APPLICABLE
    assert report.case_errors == report.inconclusive == []
    assert report.conformant


def test_the_own_client_reads_what_it_answers(address):
    questions = {
        "team": {"type": "choice", "instructions": "Which team?", "criteria": {"Billing": None, "Sales": "prices"}},
        "refund": {"type": "noul", "instructions": "Money back?"},
        "anger": {"type": "score", "instructions": "How angry?", "criteria": ["calm", ["very", "angry"]]},
    }
    with om.Model("server:tiny", base_url=address) as model:
        decisions = model.decide({"ticket": "I was charged twice."}, questions)
        assert list(decisions) == list(questions)
        with pytest.raises(om.InvalidRequest):
            model.decide("x", {"q": {"type": "choice", "criteria": {}}})
    assert decisions["refund"].value in {"yes", "no"}
    assert decisions["anger"].value == pytest.approx(decisions["anger"].probabilities["1"])
    assert {decision.label_mass for decision in decisions.values()} == {None}
