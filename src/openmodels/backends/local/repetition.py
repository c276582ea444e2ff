"""Detects answers that have become a cycle, as small models fall into."""

from collections import deque
from itertools import islice

REPEATED = 384  # tokens at the end of the answer that must each equal the token one cycle before them
_CYCLES = 4  # times that the cycle must stand there, however long it is; so the longest cycle has `REPEATED` tokens
_INTERVAL = 32  # tokens between two looks. A look takes about 20 µs, so that a token costs less than a microsecond.


class RepetitionDetector:
    """Watches one answer for a cycle: a passage that follows itself without a change.

    A list that counts, a table whose cells differ and code are not cycles, for one changed token in the
    repeated part is enough. The same line again and again is one, once it fills `REPEATED` tokens.
    """

    def __init__(self) -> None:
        self._pieces: deque[str] = deque(maxlen=_CYCLES * REPEATED)
        self._count = 0

    def add(self, piece: str) -> bool:
        """Take the next token's text; return whether the answer is known to be a cycle."""
        if not piece:
            return False
        self._pieces.append(piece)
        self._count += 1
        return self._count % _INTERVAL == 0 and self._count > REPEATED and self._is_cycle()

    def add_token(self, token: int) -> bool:
        """Take the next token by its id; see `add`."""
        return self.add(chr(token))  # one character that stands for it

    def _is_cycle(self) -> bool:
        text = "".join(self._pieces)
        tail = "".join(islice(self._pieces, len(self._pieces) - REPEATED, None))
        # The nearest earlier place of the last tokens says how long the cycle is, if it is one.
        start = text.rfind(tail, 0, -1)
        if start < 0:
            return False
        cycle = len(text) - len(tail) - start
        length = max(len(tail) + cycle, _CYCLES * cycle)
        return length <= len(text) and text[-length:-cycle] == text[cycle - length :]
