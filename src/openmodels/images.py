"""Images for messages: from files, bytes, addresses and PIL images."""

import asyncio
import base64
import binascii
import math
import os
import re
import stat
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from typing import Any, Self
from urllib.parse import unquote, urlsplit

from openmodels.errors import ErrorBoundary, InvalidRequest
from openmodels.types.messages import ImagePart

MAX_BYTES = 20 * 10**6  # bytes of an encoded image at most: what vendors take
_SIGNATURES = ((b"\x89PNG\r\n\x1a\n", "image/png"), (b"\xff\xd8\xff", "image/jpeg"), (b"GIF8", "image/gif"))
_OTHER_SIGNATURES = (
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"BM", "BMP"),
    (b"%PDF", "PDF"),
    (b"\0\0\1\0", "an icon"),
    (b"\xff\x0a", "JPEG XL"),
    (b"<", "a page"),
)
MAX_PIXELS = 50 * 10**6  # pixels of an image at most: decoded, each takes three bytes and more
_MAX_SHOWN = 80  # characters of a path or an address that an error shows


class Image(ImagePart):
    """An image for a message: `om.user("What is this?", om.Image("cat.png"))`.

    Args:
        source: A file's path, the encoded bytes (PNG, JPEG, GIF or WebP), an http(s) or data address, or a
            PIL image. An http(s) address is passed on for the server to fetch; `fetch` fetches it here.

    Raises:
        InvalidRequest: It is none of these, damaged, or too large.
    """

    @ErrorBoundary()
    def __init__(self, source: str | os.PathLike[str] | bytes | Any) -> None:
        super().__init__(**_read_source(source))

    @classmethod
    @ErrorBoundary()
    def fetch(cls, url: str, *, timeout: float = 30.0) -> Self:
        """Return the image at an https address, fetched now.

        Only public addresses are connected to; redirects and what the name resolves to are held to that.
        Proxies of the environment are not used, since they could connect to others.

        Args:
            url: Its address.
            timeout: Total seconds.

        Raises:
            InvalidRequest: The address is not public or not https, or does not hold an image.
            Offline: The network is switched off by the environment.
            ConnectionFailed: No connection.
            DeadlineExceeded: The time is up.
            InvalidResponse: The server does not give it, or it is too large.
        """
        from openmodels.http import public_fetch

        return cls(public_fetch.fetch(url, time.monotonic() + timeout, MAX_BYTES))

    @classmethod
    async def afetch(cls, url: str, *, timeout: float = 30.0) -> Self:  # noqa: ASYNC109 - the twin's
        """The asynchronous twin of `fetch`.

        Raises:
            OpenModelsError: As for `fetch`.
        """
        return await asyncio.to_thread(cls.fetch, url, timeout=timeout)


def open_image(part: ImagePart) -> Any:
    """Return an image as an upright PIL image in opaque 8-bit RGB.

    Of an animation it is the first frame. What is transparent becomes white, or black where only near-white is visible.
    """
    from PIL import Image as Pil

    if part.url[:5].lower() == "data:":
        part = Image(part.url)
    if part.url:
        raise InvalidRequest(
            "image: a local model needs the image itself, and addresses are not fetched unasked.",
            next_step="Write om.Image.fetch(url).",
        )
    with _decoding():
        image = Pil.open(BytesIO(part.data))
        _check_size(image)  # of the header: a small file may decode to gigabytes
        return _to_rgb(image)


@contextmanager
def _decoding() -> Iterator[None]:
    """Raise InvalidRequest for any error of PIL inside the block."""
    from PIL import Image as Pil

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Pil.DecompressionBombWarning)
            yield
    except InvalidRequest:
        raise
    except (Pil.DecompressionBombWarning, Pil.DecompressionBombError) as error:
        raise _too_many_pixels() from error
    except Exception as error:  # a decoder fails in many ways on what is damaged
        raise InvalidRequest(
            f"image: it cannot be read: it is damaged or cut off ({type(error).__name__}).",
            next_step="Open it in a viewer, and save it again.",
        ) from error


def _check_size(image: Any) -> None:
    if image.width < 1 or image.height < 1:
        raise InvalidRequest("image: it has no pixels.")
    if image.width * image.height > MAX_PIXELS:
        raise _too_many_pixels()


def _too_many_pixels() -> InvalidRequest:
    return InvalidRequest(f"image: it has more than {MAX_PIXELS // 10**6} million pixels.", next_step="Scale it down.")


def _to_rgb(image: Any) -> Any:
    from PIL import Image as Pil, ImageOps

    image = _to_8_bits(ImageOps.exif_transpose(image))
    if image.has_transparency_data:
        above = image.convert("RGBA")
        image = Pil.alpha_composite(Pil.new("RGBA", above.size, _choose_background(above)), above)
    return image.convert("RGB")


def _choose_background(image: Any) -> str:
    """Return the colour behind a transparent image: white, or black for a white one."""
    visible = image.getchannel("A").point(lambda alpha: 255 if alpha >= 32 else 0)
    luminances = image.convert("L").histogram(visible)
    # Logos for dark pages are white letters on nothing. A picture with as little as a black line keeps its white.
    return "black" if sum(luminances[:192]) < 0.01 * sum(luminances) else "white"


def _to_8_bits(image: Any) -> Any:
    """Return greys of 16 or 32 bits or floating point as 8 bits; others as they are."""
    if image.mode not in ("I", "F") and not image.mode.startswith("I;16"):
        return image
    values = image.convert("F")
    low, high = values.getextrema()
    if not (math.isfinite(low) and math.isfinite(high)):
        raise InvalidRequest("image: its values are no finite numbers.")
    # Whole numbers fill 8 or 16 bits, fractions go from 0 to 1; other ranges are stretched.
    ranges = {"F": (1.0, 255.0), "I": (255.0, 65535.0)}.get(image.mode, (65535.0,))
    top = next((top for top in ranges if low >= 0 and high <= top), None)
    start, end = (0.0, top) if top is not None else (low, high)
    scale = 255.0 / (end - start) if end > start else 0.0
    return values.point(lambda value: value * scale + (0.5 - start * scale)).convert("L")


def _read_source(source: Any) -> dict[str, Any]:
    if isinstance(source, str) and source.partition(":")[0].lower() in ("http", "https"):
        with suppress(ValueError):
            if urlsplit(source).hostname:
                return {"url": source}
        raise InvalidRequest(f"image: {source[:80]!r} is no address.")
    if isinstance(source, str) and source[:5].lower() == "data:":
        return _check_encoded(_decode_data_url(source))
    if isinstance(source, str | os.PathLike):
        return _check_encoded(_read_file(source))
    if isinstance(source, bytes | bytearray | memoryview):
        return _check_encoded(bytes(source))
    if hasattr(source, "save") and hasattr(source, "mode"):  # PIL's, which need not be installed
        return _check_encoded(_encode_png(source))
    raise InvalidRequest(
        f"image: expected a path, bytes, an address or a PIL image, not {type(source).__name__}.",
        next_step='Write om.Image("picture.png").',
    )


def _encode_png(image: Any) -> bytes:
    """Return a PIL image as an upright PNG; a PNG keeps no orientation."""
    from PIL import ImageOps

    with _decoding():
        _check_size(image)
        image = ImageOps.exif_transpose(image)
        buffer = BytesIO()
        (image if image.mode in ("1", "L", "LA", "P", "RGB", "RGBA") else _to_rgb(image)).save(buffer, "PNG")
        return buffer.getvalue()


def _read_file(source: str | os.PathLike[str]) -> bytes:
    name = str(os.fspath(source))
    shown = repr(name if len(name) <= _MAX_SHOWN else f"{name[:_MAX_SHOWN]}…")
    if _is_base64(name):
        raise InvalidRequest(
            f"image: {shown} is no file but looks like base64.",
            next_step="Give the bytes, base64.b64decode(text), or write 'data:image/png;base64,' before it.",
        )
    try:
        # A pipe or a device may never end.
        if not stat.S_ISREG(os.stat(source).st_mode):  # noqa: PTH116 - takes whatever names a file
            raise InvalidRequest(f"image: {shown} is no file.")
        with open(source, "rb") as file:  # noqa: PTH123 - as above
            return file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        if isinstance(error, InvalidRequest):
            raise
        reason = getattr(error, "strerror", None) or "it is no valid path"
        raise InvalidRequest(
            f"image: the file {shown} cannot be read: {reason}.",
            next_step="Check the path; relative paths start at the current folder.",
        ) from error


def _is_base64(text: str) -> bool:
    if len(text) < _MAX_SHOWN or not re.fullmatch(r"[A-Za-z0-9+/\s]+={0,2}\s*", text):
        return False
    try:
        return media_type(base64.b64decode(text[:64])) != ""
    except ValueError:
        return False


def media_type(data: bytes) -> str:
    """Return the media type of an encoded image, or "" for kinds that models refuse."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for start, kind in _SIGNATURES if data.startswith(start)), "")


def _check_encoded(data: bytes) -> dict[str, Any]:
    if len(data) > MAX_BYTES:
        raise InvalidRequest(f"image: it has more than {MAX_BYTES // 10**6} MB.", next_step="Scale it down.")
    if not data:
        raise InvalidRequest("image: it is empty.")
    kind = media_type(data)
    if not kind:
        other = _other_kind(data)
        what = f"this is {other}, no PNG, JPEG, GIF or WebP" if other else "this is no PNG, JPEG, GIF or WebP"
        raise InvalidRequest(f"image: {what}.", next_step="Convert it to one of these.")
    return {"data": data, "media_type": kind}


def _other_kind(data: bytes) -> str:
    """Return what data of a kind that models do not take is, or ""."""
    if data[4:8] == b"ftyp":
        brand = data[8:12]
        return "AVIF" if brand.startswith(b"avi") else "HEIC" if brand[:2] in (b"he", b"mi", b"ms") else "a video"
    if re.match(rb"(\xef\xbb\xbf)?\s*(<\?xml|<!--|<!DOCTYPE|<svg)", data[:200]) and b"<svg" in data[:4096]:
        return "SVG"
    return next((kind for start, kind in _OTHER_SIGNATURES if data.startswith(start)), "")


def _decode_data_url(address: str) -> bytes:
    head, _, body = address.partition(",")
    try:
        if not head.lower().endswith(";base64"):
            raise ValueError
        return base64.b64decode("".join(unquote(body).split()), validate=True)
    except (ValueError, binascii.Error):
        raise InvalidRequest("image: a data address must hold base64.") from None
