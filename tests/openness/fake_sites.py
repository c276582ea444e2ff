"""A Hub and a GitHub on the loopback interface: enough of their APIs to gather evidence."""

from __future__ import annotations

import json
import threading
from collections import Counter
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

CARD = """---
license: apache-2.0
datasets: [acme/glow-corpus]
---
# Glow 7B
## Training data
Trained on [glow-corpus](https://huggingface.co/datasets/acme/glow-corpus), 2T tokens.
The [code](https://github.com/acme/glow) and the [logs](https://wandb.ai/acme/glow) are public.
"""


class FakeSites:
    """What both sites offer and the requests they got.

    Attributes:
        pages: path -> JSON value, text, or an HTTP status.
        headers: path -> headers to answer with.
        request_counts: How often each path was requested.
        tokens: path -> the Authorization header of its last request.
    """

    def __init__(self):
        self.request_counts = Counter()
        self.tokens = {}
        self.headers = {}
        self.pages = {
            "/api/models/acme/Glow-7B": {
                "id": "acme/Glow-7B",
                "sha": "a" * 40,
                "gated": False,
                "private": False,
                "tags": ["safetensors", "license:apache-2.0", "arxiv:2501.00001"],
                "cardData": {"license": "apache-2.0", "datasets": ["acme/glow-corpus"]},
                "siblings": [{"rfilename": name} for name in ("README.md", "LICENSE", "model.safetensors")],
                "safetensors": {"parameters": {"BF16": 7_000_000_000}, "total": 7_000_000_000},
            },
            f"/acme/Glow-7B/resolve/{'a' * 40}/README.md": CARD,
            f"/acme/Glow-7B/resolve/{'a' * 40}/LICENSE": "Terms of our own.",
            "/api/models/acme/Glow-7B/refs": {
                "branches": [{"name": "main"}, {"name": "step-1000"}, {"name": "step-2000"}],
                "tags": [],
            },
            "/api/datasets/acme/glow-corpus": {
                "id": "acme/glow-corpus",
                "gated": False,
                "cardData": {"license": "odc-by"},
            },
            "/repos/acme/glow": {"default_branch": "main", "license": {"spdx_id": "Apache-2.0"}},
            "/repos/acme/glow/git/trees/main": {
                "sha": "b" * 40,
                "truncated": False,
                "tree": [{"path": path, "type": "blob"} for path in ("LICENSE", "scripts/train.py", "configs/7b.yaml")],
            },
        }

    @contextmanager
    def serve(self):
        """Serve; yields the address."""
        sites = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                path = unquote(urlsplit(self.path).path)
                sites.request_counts[path] += 1
                sites.tokens[path] = self.headers.get("Authorization")
                value = sites.pages.get(path, 404)
                status = value if isinstance(value, int) else 200
                body = value if isinstance(value, str) else json.dumps({} if isinstance(value, int) else value)
                self.send_response(status)
                for name, text in sites.headers.get(path, {}).items():
                    self.send_header(name, text)
                self.send_header("Content-Length", str(len(body.encode())))
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, *_):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
            server.server_close()
