"""The results of tools: any value as bounded text, the value itself kept."""

import time
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from pydantic_core import PydanticSerializationError, to_json

from openmodels.images import Image, media_type
from openmodels.types.messages import ImagePart, Message, ToolCall

LONGEST = 100_000  # characters of a result that the model is shown
MOST_ITEMS = 10_000  # items of a generator that are read


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What came of one call.

    Attributes:
        call: The call.
        message: What the model reads: the value as text, or the error.
        value: What the function returned; None where it failed.
        error: What the function raised, or why it was not called or its value could not be sent.
        seconds: How many seconds it took.
        images: The images that the function returned, which the next message of the user shows.
    """

    call: ToolCall
    message: Message
    value: Any = None
    error: Exception | None = None
    seconds: float = 0.0
    images: tuple[ImagePart, ...] = ()


def make_result(call: ToolCall, value: Any, began: float) -> ToolResult:
    """Return the result of a call that began at a time of `time.perf_counter()`."""
    error: Exception | None = None
    images: tuple[ImagePart, ...] = ()
    try:
        images, shown = _separate_images(value, "[image, in the next message]")
        text = _text(shown)
    except Exception as failure:  # noqa: BLE001 - a value's own methods may raise anything
        error = failure
        text = f"Error: the result, of the type {type(value).__name__}, cannot be sent: {describe_exception(failure)}"
    return ToolResult(call, call.answer(truncate(text)), value, error, time.perf_counter() - began, images)


def without_images(result: ToolResult) -> ToolResult:
    """Return a result with text in the places of its images."""
    _, shown = _separate_images(result.value, "[an image, which this model cannot see: it reads only text]")
    return replace(result, message=result.call.answer(truncate(_text(shown))), images=())


def truncate(text: str) -> str:
    """Return a text that can be encoded, cut and marked where it is too long."""
    shown = text[:LONGEST].encode("utf-8", "backslashreplace").decode()
    note = f"\n[The rest is cut off: only the first {LONGEST:,} characters are shown.]"
    return shown[:LONGEST] + note if len(text) > LONGEST else shown


def describe_exception(error: BaseException) -> str:
    """Return what an error says, even where its own method fails."""
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - its own
        return ""


def _separate_images(value: Any, words: str) -> tuple[tuple[ImagePart, ...], Any]:
    """Return the images in a value, and the value with `words` for them."""
    if (image := _image(value)) is not None:
        return (image,), words
    if type(value) not in (list, tuple) or not any(_image(item) is not None for item in value[:MOST_ITEMS]):
        return (), value
    pairs = [(_image(item), item) for item in value]
    images = tuple(image for image, _ in pairs if image is not None)
    return images, [item if image is None else words for image, item in pairs]


def _image(value: Any) -> ImagePart | None:
    if isinstance(value, ImagePart):
        return value
    return Image(value) if type(value).__module__.startswith("PIL.") and hasattr(value, "getbands") else None


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bytes | bytearray | memoryview):
        return _describe_bytes(bytes(value))
    modes: tuple[Any, ...] = ("utf8", "base64")  # the second for bytes inside that cannot be decoded
    for mode in modes:
        with suppress(PydanticSerializationError, UnicodeError, ValueError):
            return to_json(value, fallback=_plain, inf_nan_mode="constants", bytes_mode=mode).decode()
    return repr(value)  # circular, or half a surrogate pair


def _plain(value: Any) -> Any:
    """Return what JSON does not know as something that it does."""
    size = getattr(value, "size", 0)
    # Arrays, tensors and their scalars; a table or a column of one reads better as its own text.
    if hasattr(value, "tolist") and not hasattr(value, "index") and not (isinstance(size, int) and size > LONGEST):
        return value.tolist()
    return str(value)


def _describe_bytes(data: bytes) -> str:
    """Return bytes as text where they are text, else what they are."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = "\0"
    if all(character.isprintable() or character in "\t\r\n" for character in text[:1000]):
        return text
    kind = media_type(data)
    return f"[{len(data):,} bytes of binary data{f', {kind}' if kind else ''}]"
