"""Server-sent events: decoded, however the bytes are cut, and encoded.

Follows https://html.spec.whatwg.org/multipage/server-sent-events.html with one difference: an event
whose closing blank line is missing at the end of the body is given, since servers forget it.
"""

from typing import NamedTuple

from openmodels.errors import InvalidResponse

LONGEST_EVENT = 64 * 2**20  # bytes that one event may have before the stream is given up

BOM = b"\xef\xbb\xbf"


class Event(NamedTuple):
    """An event: its name, "" by default, and its data lines joined by line feeds."""

    name: str
    data: bytes


class SSEDecoder:
    """Turns the bytes of an event stream into events: call `feed`, then `end`.

    Lines end with CR, LF or CRLF and with nothing else: U+2028 and the like are text.
    """

    def __init__(self) -> None:
        self._pending: list[bytes] = []  # the parts of a line that is not complete yet
        self._held = 0  # bytes held in `_pending` and `_data`
        self._name = ""
        self._data: list[bytes] = []
        self._after_cr = False
        self._is_first_line = True

    def feed(self, data: bytes) -> list[Event]:
        """Return the events that these bytes complete.

        Raises:
            InvalidResponse: One event is larger than `LONGEST_EVENT`.
        """
        if self._after_cr and data:
            self._after_cr = False
            data = data.removeprefix(b"\n")
        if not data:
            return []
        if b"\n" not in data and b"\r" not in data:
            self._hold(self._pending, data)
            return []
        if self._pending:
            self._pending.append(data)
            self._held -= sum(map(len, self._pending[:-1]))
            data = b"".join(self._pending)
            self._pending = []
        lines = data.splitlines()
        if data[-1] == 0x0D:
            self._after_cr = True
        elif data[-1] != 0x0A:
            self._hold(self._pending, lines.pop())
        events: list[Event] = []
        for line in lines:
            self._read_line(line, events)
        return events

    def end(self) -> list[Event]:
        """Return the event that the end of the body completes, if there is one."""
        events: list[Event] = []
        if self._pending:
            line = b"".join(self._pending)
            self._pending = []
            self._read_line(line, events)
        self._read_line(b"", events)
        return events

    def _read_line(self, line: bytes, events: list[Event]) -> None:
        if self._is_first_line:
            self._is_first_line = False
            line = line.removeprefix(BOM)
        if line.startswith(b"data:"):
            self._hold(self._data, line[6:] if line[5:6] == b" " else line[5:])
        elif not line:
            if self._data:
                events.append(Event(self._name, b"\n".join(self._data)))
                self._data = []
                self._held = 0
            self._name = ""
        else:
            field, _, value = line.partition(b":")
            value = value.removeprefix(b" ")
            if field == b"event":
                self._name = value.decode(errors="replace")
            elif field == b"data":
                self._hold(self._data, value)
            elif field == b"error":
                # Older llama.cpp servers tell an error in a field of this name.
                self._name = "error"
                self._hold(self._data, value)

    def _hold(self, where: list[bytes], data: bytes) -> None:
        self._held += len(data)
        if self._held > LONGEST_EVENT:
            raise InvalidResponse(f"One event of the stream is larger than {LONGEST_EVENT // 2**20} MiB.")
        where.append(data)


def encode_event(data: str, name: str | None = None) -> bytes:
    """Return an event whose data is one line of text."""
    return (f"data: {data}\n\n" if name is None else f"event: {name}\ndata: {data}\n\n").encode()
