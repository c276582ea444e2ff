"""A Hub on the loopback interface: enough of its API to list, download, gate and fail."""

import hashlib
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit


def safetensors(**tensors):
    """A safetensors file of float32 vectors: name and length."""
    header, place = {}, 0
    for name, length in tensors.items():
        header[name] = {"dtype": "F32", "shape": [length], "data_offsets": [place, place + 4 * length]}
        place += 4 * length
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + bytes(place)


class FakeHub:
    """What the server offers and what it was asked.

    Attributes:
        repos: Files by repository: {"org/model": {"config.json": b"..."}}.
        gated: Repositories whose files need accepted terms.
        status: Answered to everything when set, e.g. 503.
        sizes: Sizes to claim instead of the real ones, by file name.
        requests: "METHOD path" of every request.
    """

    def __init__(self):
        self.repos = {}
        self.gated = set()
        self.status = None
        self.sizes = {}
        self.requests = []

    def downloads(self):
        """The files that were asked for with their content."""
        return [line.rpartition("/")[2] for line in self.requests if line.startswith("GET") and "/resolve/" in line]

    def sha(self, repo):
        return hashlib.sha1(repr(sorted(self.repos[repo].items())).encode()).hexdigest()

    def answer(self, path):
        """Return status, headers and body for a path."""
        if self.status is not None:
            # A wrong token is told apart from a private repository by this header.
            headers = {"X-Error-Message": "Invalid credentials in Authorization header"} if self.status == 401 else {}
            return self.status, headers, b'{"error": "as told"}'
        parts = unquote(urlsplit(path).path).strip("/").split("/")
        api = parts[:2] == ["api", "models"]
        parts = parts[2:] if api else parts
        repo, rest = "/".join(parts[:2]), parts[2:]
        if repo not in self.repos:
            return 401, {"X-Error-Code": "RepoNotFound"}, b'{"error": "Repository not found"}'
        if rest[1:2] and rest[1] not in ("main", "v1", self.sha(repo)):
            return 404, {"X-Error-Code": "RevisionNotFound"}, b'{"error": "Invalid rev id"}'
        if api:
            return 200, {"Content-Type": "application/json"}, json.dumps(self.described(repo, rest[:1])).encode()
        return self.file(repo, "/".join(rest[2:]))

    def described(self, repo, what):
        files = {name: self.sizes.get(name, len(content)) for name, content in self.repos[repo].items()}
        blobs = {name: hashlib.sha1(content).hexdigest() for name, content in self.repos[repo].items()}
        if what == ["tree"]:
            return [{"type": "file", "path": name, "size": files[name], "oid": blobs[name]} for name in files]
        siblings = [{"rfilename": name, "size": files[name], "blobId": blobs[name]} for name in files]
        return {"id": repo, "modelId": repo, "sha": self.sha(repo), "siblings": siblings, "tags": [], "private": False}

    def file(self, repo, name):
        if repo in self.gated:
            return 403, {"X-Error-Code": "GatedRepo"}, b'{"error": "Access to this model is restricted"}'
        if name not in self.repos[repo]:
            return 404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": self.sha(repo)}, b""
        content = self.repos[repo][name]
        etag = f'"{hashlib.sha1(content).hexdigest()}"'
        return 200, {"ETag": etag, "X-Repo-Commit": self.sha(repo)}, content


@contextmanager
def fake_hub():
    """Run a `FakeHub` and give it together with its address."""
    hub = FakeHub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            hub.requests.append(f"{self.command} {urlsplit(self.path).path}")
            status, headers, body = hub.answer(self.path)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET  # noqa: N815 - the name that http.server looks up

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield hub, f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
