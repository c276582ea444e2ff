"""Images: what is one, and which addresses are fetched."""

from __future__ import annotations

import asyncio
import io
import os
import pickle
import socket
import ssl
import threading
import time
from base64 import b64encode
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import trustme
from hypothesis import given, strategies as st
from PIL import Image as Pil

import openmodels as om
from openmodels import images
from openmodels.core import request
from openmodels.http import public_fetch

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
        monkeypatch.setattr(images, "MAX_BYTES", 10)
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


def encoded(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


class TestWhatAModelSees:
    @pytest.mark.parametrize("orientation", [3, 6, 8])
    def test_upright(self, orientation):
        turned = Pil.Exif()
        turned[0x0112] = orientation
        data = encoded(Pil.new("RGB", (30, 10), "red"), "JPEG", exif=turned)
        size = (30, 10) if orientation == 3 else (10, 30)
        assert images.open_image(om.Image(data)).size == size
        assert images.open_image(om.Image(Pil.open(io.BytesIO(data)))).size == size

    @pytest.mark.parametrize("mode", ["RGBA", "LA", "RGBa"])
    def test_transparent_is_white(self, mode):
        clear = Pil.new("RGBA", (2, 1), (0, 0, 0, 0))
        clear.putpixel((0, 0), (0, 0, 0, 255))
        seen = images.open_image(om.Image(clear.convert(mode)))
        assert [seen.getpixel((at, 0)) for at in (0, 1)] == [(0, 0, 0), (255, 255, 255)]

    @pytest.mark.parametrize(("grey", "background"), [(255, 0), (230, 0), (120, 255), (0, 255)])
    def test_what_is_visible_does_not_vanish_in_its_background(self, grey, background):
        logo = Pil.new("LA", (20, 20), (grey, 0))
        logo.paste((grey, 255), (0, 0, 20, 8))
        seen = images.open_image(om.Image(logo))
        assert seen.getpixel((5, 2)) == (grey,) * 3
        assert seen.getpixel((5, 15)) == (background,) * 3

    def test_a_black_line_on_near_white_keeps_the_background_white(self):
        figure = Pil.new("RGBA", (20, 20), (0, 0, 0, 0))
        figure.paste((250, 250, 250, 255), (0, 0, 20, 15))
        figure.paste((0, 0, 0, 255), (0, 15, 20, 16))
        assert images.open_image(om.Image(figure)).getpixel((5, 18)) == (255, 255, 255)

    def test_a_transparent_colour_of_a_palette_is_white(self):
        image = Pil.new("P", (2, 1))
        image.putpalette([9, 9, 9, 200, 0, 0])
        image.putpixel((1, 0), 1)
        data = encoded(image, transparency=0)
        assert images.open_image(om.Image(data)).getpixel((0, 0)) == (255, 255, 255)
        assert images.open_image(om.Image(Pil.open(io.BytesIO(data)))).getpixel((0, 0)) == (255, 255, 255)

    @pytest.mark.parametrize(
        ("mode", "value", "grey"),
        [
            ("I;16", 65535, 255),
            ("I;16", 32896, 128),
            ("I", 65535, 255),
            ("I", 200, 200),
            ("F", 0.5, 128),
            ("F", 200.0, 200),
        ],
    )
    def test_wide_greys_are_scaled(self, mode, value, grey):
        image = Pil.new(mode, (2, 1), value)
        assert images.open_image(om.Image(image)).getpixel((1, 0)) == (grey,) * 3

    def test_sixteen_bits_of_a_file_are_scaled(self):
        assert images.open_image(om.Image(encoded(Pil.new("I;16", (1, 1), 25700)))).getpixel((0, 0)) == (100,) * 3

    def test_other_ranges_are_stretched(self):
        image = Pil.new("F", (2, 1), -3.0)
        image.putpixel((1, 0), 5.0)
        seen = images.open_image(om.Image(image))
        assert [seen.getpixel((at, 0))[0] for at in (0, 1)] == [0, 255]

    def test_other_colours_and_the_first_frame(self):
        assert images.open_image(om.Image(Pil.new("CMYK", (1, 1), (0, 0, 0, 0)))).getpixel((0, 0)) == (255, 255, 255)
        frames = [Pil.new("RGB", (2, 2), colour) for colour in ("red", "blue")]
        data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
        assert images.open_image(om.Image(data)).getpixel((0, 0)) == (255, 0, 0)


def _sources(folder):
    whole = encoded(Pil.effect_noise((64, 64), 50))
    os.mkfifo(folder / "pipe")
    return {
        "no pixels": Pil.new("RGB", (0, 5)),
        "cut off, as PIL's": Pil.open(io.BytesIO(whole[:200])),
        "not finite": Pil.new("F", (1, 1), float("nan")),
        "bare base64": b64encode(whole * 20).decode(),
        "capitals": "DATA:IMAGE/PNG;BASE64,!!" + "A" * 9000,
        "a folder": folder,
        "a pipe": folder / "pipe",
        "missing": folder / ("x" * 200),
        "a null byte": "a\0b",
        "svg": b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>',
        "heic": b"\0\0\0\x18ftypheic\0\0",
        "tiff": encoded(Pil.new("L", (1, 1)), "TIFF"),
        "empty": b"",
        "no host": "http://",
        "no port": "https://[::1",
    }


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are of Unix")
def test_what_cannot_be_read_is_one_short_line(tmp_path):
    for name, source in _sources(tmp_path).items():
        with pytest.raises(om.InvalidRequest, match=r"^image: ") as caught:
            om.Image(source)
        assert len(str(caught.value)) < 400, name
        assert str(caught.value).isprintable(), name


def test_what_cannot_be_decoded_is_one_short_line():
    whole = encoded(Pil.effect_noise((64, 64), 50))
    for data in (whole[:300], PNG, JPEG, b"RIFF1234WEBPVP8", whole[:60] + b"\0" * 100):
        with pytest.raises(om.InvalidRequest, match=r"^image: ") as caught:
            images.open_image(om.Image(data))
        assert len(str(caught.value)) < 300


def test_a_bomb_is_not_decoded(monkeypatch):
    monkeypatch.setattr(images, "MAX_PIXELS", 100)
    with pytest.raises(om.InvalidRequest, match="pixels"):
        images.open_image(om.Image(encoded(Pil.new("1", (11, 10)))))
    with pytest.raises(om.InvalidRequest, match="pixels"):
        om.Image(Pil.new("1", (11, 10)))


def test_data_addresses_are_read_however_they_are_spelled():
    text = b64encode(PNG).decode()
    for address in (
        f"DATA:image/png;base64,{text}",
        f"data:;BASE64,{text[:8]}\n{text[8:]}",
        f"Data:image/png;base64,{text}",
    ):
        assert om.Image(address).data == PNG
    message = {
        "role": "user",
        "content": [{"type": "image_url", "image_url": {"url": f"DATA:image/png;base64,{text}"}}],
    }
    assert request.read_messages([message])[0].images[0].data == PNG


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
            *("168.63.129.16", "192.0.0.192", "198.18.0.1", "192.88.99.1", "240.0.0.1", "255.255.255.255"),
            *(
                "::127.0.0.1",
                "::ffff:0:7f00:1",
                "64:ff9b:1::a00:1",
                "fec0::1",
                "fe80::5efe:7f00:1",
                "100::1",
                "5f00::1",
            ),
            *("2001:0:0:0:0:0:80ff:fffe", "2001:20::1", "2002:808:808::1", "2001:db8::1", "3fff::1", "64:ff9b::a00:1"),
            "no address",
        ],
    )
    def test_private_ones_are_not_public(self, address):
        assert not public_fetch.is_public(address)

    @pytest.mark.parametrize("address", ["93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946", "64:ff9b::5db8:d822"])
    def test_public_ones(self, address):
        assert public_fetch.is_public(address)

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
            *(
                "https://[::1",
                "https://127.0.0.1:99999/",
                "https://local\0host/",
                "https://\uff11\uff10.0.0.1/",
                "https://@/x",
            ),
        ],
    )
    def test_what_is_not_fetched(self, url):
        with pytest.raises((om.InvalidRequest, om.ConnectionFailed)) as caught:
            om.Image.fetch(url)
        assert isinstance(caught.value, om.InvalidRequest) or "resolved" in caught.value.cause

    def test_one_private_address_of_several_is_enough(self, monkeypatch):
        found = [(2, 1, 6, "", (ip, 443)) for ip in ("93.184.216.34", "10.0.0.1")]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        with pytest.raises(om.InvalidRequest, match="no public address"):
            om.Image.fetch("https://example.com/x")

    def test_offline(self, monkeypatch):
        monkeypatch.setenv("OPENMODELS_OFFLINE", "1")
        with pytest.raises(om.Offline):
            asyncio.run(om.Image.afetch("https://example.com/x"))


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.seen.append(self.headers["Host"])
        self.server.paths.append(self.path)
        if self.path == "/away":
            self.send_response(302)
            self.send_header("Location", "https://10.0.0.1/secret")
            self.end_headers()
            return
        if self.path == "/slow":
            self.server.gone.wait(10)
        if self.path == "/trickle":
            self.wfile.write(b"HTTP/1.1 200 ")
            while not self.server.gone.wait(0.05):
                self.wfile.write(b"x")  # of a status line that never ends
                self.wfile.flush()
        self.send_response(404 if self.path == "/none" else 200)
        self.end_headers()
        self.wfile.write(PNG * (10 if self.path == "/large" else 1))

    def log_message(self, *_):
        pass


@pytest.fixture
def site(monkeypatch, tmp_path):
    """A server with a certificate for example.com, where that name leads; loopback counts as public here."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("example.com").configure_cert(context)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.seen, server.paths, server.gone = [], [], threading.Event()
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda host, port, *_, **__: [(2, 1, 6, "", ("127.0.0.1" if host == "example.com" else host, port))],
    )
    monkeypatch.setattr(public_fetch, "is_public", lambda address: address == "127.0.0.1")
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

    def test_names_and_paths_beyond_ascii(self, site):
        assert self.fetch(site, "/a cät?q=ü") == om.Image(PNG)
        assert site.paths == ["/a%20c%C3%A4t?q=%C3%BC"]

    def test_no_proxy_is_used(self, site, monkeypatch):
        monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
        assert self.fetch(site, "/cat") == om.Image(PNG)

    def test_a_redirect_to_a_private_address_is_not_followed(self, site):
        with pytest.raises(om.InvalidRequest, match=r"10\.0\.0\.1"):
            self.fetch(site, "/away")

    def test_failures_are_typed(self, site, monkeypatch):
        with pytest.raises(om.InvalidResponse, match="404"):
            self.fetch(site, "/none")
        monkeypatch.setattr(images, "MAX_BYTES", 100)
        with pytest.raises(om.InvalidResponse, match="larger than"):
            self.fetch(site, "/large")
        began = time.monotonic()
        for path in ("/slow", "/trickle"):
            with pytest.raises(om.DeadlineExceeded):
                self.fetch(site, path, timeout=0.5)
        assert time.monotonic() - began < 5
