"""Follows the command line of `vllm serve` and its API as far as openmodels uses them; answers with the request."""

import argparse
import json
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

KEY = os.environ["VLLM_API_KEY"]


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *said):
        pass

    def send(self, status, kind, body):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def permitted(self):
        if self.headers.get("Authorization") == f"Bearer {KEY}":
            return True
        self.send(401, "application/json", b'{"error": "Unauthorized"}')
        return False

    def entry(self, token):
        return {"logprob": -token / 100, "rank": 1 + token % 2, "decoded_token": chr(token)}

    def do_GET(self):
        if self.permitted():
            found = {"object": "list", "data": [{"id": options.served_model_name, "object": "model"}]}
            self.send(200, "application/json", json.dumps(found).encode())

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self.permitted():
            return
        assert self.path == "/v1/completions"
        assert asked["model"] == options.served_model_name
        if "prompt_logprobs" in asked:
            choices = [
                {
                    "index": at,
                    "text": "!",
                    "prompt_logprobs": [None, *({str(token): self.entry(token)} for token in row[1:])],
                }
                for at, row in enumerate(asked["prompt"])
            ]
            self.send(200, "application/json", json.dumps({"choices": choices}).encode())
            return
        tokens = len(asked.pop("prompt"))
        text = f"{tokens} tokens: {json.dumps(asked)}"
        choice = {"index": 0, "text": text, "finish_reason": "stop"}
        usage = {"prompt_tokens": tokens, "completion_tokens": 1, "total_tokens": tokens + 1}
        events = [{"choices": [choice]}, {"choices": [], "usage": usage}]
        body = "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"
        self.send(200, "text/event-stream", body.encode())


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("verb", choices=["serve"])
    parser.add_argument("model")
    for name in ("--host", "--served-model-name", "--dtype"):
        parser.add_argument(name, required=True)
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    if os.environ.get("STAND_IN_FAILS"):
        sys.exit("ValueError: No available memory for the cache blocks.")
    ThreadingHTTPServer((options.host, options.port), Handler).serve_forever()
