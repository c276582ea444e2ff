"""Images: what is one, and which addresses are fetched."""

from __future__ import annotations

import asyncio
import pickle
import ssl
import threading
import time
from base64 import b64encode
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import trustme
from hypothesis import given, strategies as st

import openmodels as om
from openmodels import images

PNG = b"\x89PNG\r\n\x1a\n and more"
JPEG = b"\xff\xd8\xff and more"


class TestReading:
    @pytest.mark.parametrize(
        ("data", "kind"),
        [(PNG, "png"), (JPEG, "jpeg"), (b"GIF89a and more", "gif"), (b"RIFF1234WEBPVP8", "webp")],
    )
    def test_the_bytes_tell_what_it_is(self, data, kind):
        assert om.Image(data).media_type == f"image/{kind}"

    def test_sources(self, tmp_path):
        (tmp_path / "x").write_bytes(PNG)
        found = om.Image(tmp_path / "x")
        assert found == om.Image(str(tmp_path / "x")) == om.Image(bytearray(PNG))
        assert found == om.Image(f"data:image/png;base64,{b64encode(PNG).decode()}")
        assert om.Image("https://example.com/a.png").url == "https://example.com/a.png"
        assert pickle.loads(pickle.dumps(found)) == found
        assert "more" not in repr(found)

    @pytest.mark.parametrize(
        "source", [b"", b"<svg>", "missing.png", "data:image/png,x", "data:;base64,!", "https://", 5, None]
    )
    def test_what_is_none(self, source, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        with pytest.raises(om.InvalidRequest, match=r"^image: "):
            om.Image(source)

    def test_too_large(self, monkeypatch):
        monkeypatch.setattr(images, "LARGEST", 10)
        with pytest.raises(om.InvalidRequest, match="MB"):
            om.Image(PNG)

    def test_a_talk_with_images_is_kept(self, tmp_path):
        talk = om.Conversation(om.Model("echo:"))
        talk.messages = [om.user("look", om.Image(PNG)), om.assistant("a cat")]
        talk.save(tmp_path / "talk.json")
        assert om.Conversation.restore(tmp_path / "talk.json", talk.model).messages == talk.messages

    @given(
        st.recursive(
            st.none() | st.text() | st.binary() | st.integers(),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.sampled_from(["type", "text", "image_url", "url", "data"]), inner, max_size=3)
            ),
            max_leaves=6,
        )
    )
    def test_no_content_crashes(self, content):
        try:
            om.Model("echo:").chat([{"role": "user", "content": content}])
        except om.InvalidRequest as error:
            assert error.reference == "echo:"


class TestAddresses:
    @pytest.mark.parametrize(
        "address",
        [
            *(
                "127.0.0.1",
                "10.1.2.3",
                "172.16.0.1",
                "192.168.1.1",
                "169.254.169.254",
                "100.64.0.1",
                "0.0.0.0",
                "224.0.0.1",
            ),
            *("::1", "fe80::1%eth0", "fc00::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "ff02::1"),
            "fd00:ec2::254",
        ],
    )
    def test_private_ones_are_not_public(self, address):
        assert not images.is_public(address)

    @pytest.mark.parametrize("address", ["93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946", "64:ff9b::5db8:d822"])
    def test_public_ones(self, address):
        assert images.is_public(address)

    @pytest.mark.parametrize(
        "url",
        [
            *(
                "https://127.0.0.1/x",
                "https://localhost/x",
                "https://2130706433/x",
                "https://0x7f.1/x",
                "https://[::1]/x",
            ),
            *(
                "http://example.com/x",
                "ftp://example.com/x",
                "https://me:you@example.com/x",
                "file:///etc/passwd",
                "https://",
            ),
            "https://169.254.169.254/latest/meta-data/",
        ],
    )
    def test_what_is_not_fetched(self, url):
        with pytest.raises((om.InvalidRequest, om.ConnectionFailed)) as caught:
            om.Image.fetch(url)
        assert isinstance(caught.value, om.InvalidRequest) or "resolved" in caught.value.cause

    def test_one_private_address_of_several_is_enough(self, monkeypatch):
        found = [(2, 1, 6, "", (ip, 443)) for ip in ("93.184.216.34", "10.0.0.1")]
        monkeypatch.setattr(images.socket, "getaddrinfo", lambda *_, **__: found)
        with pytest.raises(om.InvalidRequest, match="no public address"):
            om.Image.fetch("https://example.com/x")

    def test_offline(self, monkeypatch):
        monkeypatch.setenv("OPENMODELS_OFFLINE", "1")
        with pytest.raises(om.Offline):
            asyncio.run(om.Image.afetch("https://example.com/x"))


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.seen.append(self.headers["Host"])
        if self.path == "/away":
            self.send_response(302)
            self.send_header("Location", "https://10.0.0.1/secret")
            self.end_headers()
            return
        if self.path == "/slow":
            self.server.gone.wait(10)
        self.send_response(404 if self.path == "/none" else 200)
        self.end_headers()
        self.wfile.write(PNG * (10 if self.path == "/large" else 1))

    def log_message(self, *_):
        pass


@pytest.fixture
def site(monkeypatch):
    """A server with a certificate for example.com, where that name leads; loopback counts as public here."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("example.com").configure_cert(context)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.seen, server.gone = [], threading.Event()
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    monkeypatch.setattr(
        images.socket,
        "getaddrinfo",
        lambda host, port, *_, **__: [(2, 1, 6, "", ("127.0.0.1" if host == "example.com" else host, port))],
    )
    monkeypatch.setattr(images, "is_public", lambda address: address == "127.0.0.1")
    plain = images.httpx2.Client
    monkeypatch.setattr(images.httpx2, "Client", lambda **options: plain(**{**options, "verify": trusting}))
    yield server
    server.gone.set()
    server.shutdown()
    server.server_close()


class TestFetching:
    def fetch(self, site, path, host="example.com", **options):
        return om.Image.fetch(f"https://{host}:{site.server_port}{path}", **options)

    def test_the_name_is_checked_and_asked_for_at_the_pinned_address(self, site):
        assert self.fetch(site, "/cat") == om.Image(PNG)
        assert site.seen == [f"example.com:{site.server_port}"]
        with pytest.raises(om.ConnectionFailed):
            self.fetch(site, "/cat", host="127.0.0.1")

    def test_a_redirect_to_a_private_address_is_not_followed(self, site):
        with pytest.raises(om.InvalidRequest, match=r"10\.0\.0\.1"):
            self.fetch(site, "/away")

    def test_failures_are_typed(self, site, monkeypatch):
        with pytest.raises(om.InvalidResponse, match="404"):
            self.fetch(site, "/none")
        monkeypatch.setattr(images, "LARGEST", 100)
        with pytest.raises(om.InvalidResponse, match="MB"):
            self.fetch(site, "/large")
        began = time.monotonic()
        with pytest.raises(om.DeadlineExceeded):
            self.fetch(site, "/slow", timeout=0.5)
        assert time.monotonic() - began < 5
