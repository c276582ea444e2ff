"""A check of texts far longer than a context.

Tokenizing all of such a text takes seconds and gigabytes.
"""

from typing import Any, NamedTuple

from openmodels import background
from openmodels.deadline import seconds_left
from openmodels.errors import ContextTooLong

_SLICE = 2**15  # characters that are tokenized at once; a slice takes some milliseconds
_SEAM = 64  # tokens that a cut between two slices may add to a text; really it adds far fewer


class Overflow(NamedTuple):
    """The first `end` characters of a text, which have at least `tokens` tokens."""

    end: int
    tokens: int


def find_overflow(tokenizer: Any, text: str, tokens: int, deadline: float | None = None) -> Overflow | None:
    """Return a beginning of a text with certainly more than `tokens` tokens.

    None is returned where only tokenizing all of the text would show whether there is one. The deadline is on the
    clock of `time.monotonic()`.

    Raises:
        DeadlineExceeded: The deadline passed.
        StreamInterrupted: The model is closed.
    """
    if len(text) <= max(tokens, _SLICE):
        return None
    count = 0
    for begin in range(0, len(text), _SLICE):
        background.check_cancelled()
        seconds_left(deadline, "while the prompt is tokenized")
        # In a list: only then does the tokenizer release the interpreter's lock.
        (row,) = tokenizer([text[begin : begin + _SLICE]], add_special_tokens=False)["input_ids"]
        count += len(row) - _SEAM
        if count > tokens:
            return Overflow(begin + _SLICE, count)
    return None


def check_length(tokenizer: Any, text: str, context: int, deadline: float | None) -> None:
    """Refuse a prompt that is certainly too long; see `find_overflow`.

    Raises:
        ContextTooLong: It has more tokens than the context holds.
    """
    if (overflow := find_overflow(tokenizer, text, context, deadline)) is not None:
        raise ContextTooLong(
            f"The prompt has more than {overflow.tokens} tokens and the model's context holds {context}.",
            next_step=f"Shorten it to less than {context} tokens, or use a model with a longer context.",
        )
