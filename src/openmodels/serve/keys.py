"""The keys of clients, and what each of them may spend."""

import hashlib
import hmac
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field

from openmodels.serve.failures import Refusal
from openmodels.types.reply import Usage


@dataclass
class ApiKey:
    """A key of a client.

    Attributes:
        name: What logs and metrics call it.
        digest: The SHA-256 of the key; the key itself is not kept.
        max_tokens: Tokens of prompts and answers that it may spend while the server runs; None is any number.
        max_usd: US dollars that it may spend; None is any amount.
        tokens: Tokens spent, those that running requests may still take included.
        usd: US dollars spent.
    """

    name: str
    digest: bytes = field(repr=False)
    max_tokens: int | None = None
    max_usd: float | None = None
    tokens: int = 0
    usd: float = 0.0

    def reserve(self, tokens: int) -> None:
        """Set the tokens aside that a call may take, where the budgets allow it.

        Raises:
            Refusal: A budget is spent, or would be.
        """
        if self.max_usd is not None and self.usd >= self.max_usd:
            raise self._spent(f"${self.usd:.4f} of ${self.max_usd:.4f} are spent.")
        if self.max_tokens is not None and self.tokens + tokens > self.max_tokens:
            raise self._spent(f"{self.tokens} of {self.max_tokens} tokens are spent, and the call may take {tokens}.")
        self.tokens += tokens

    def settle(self, reserved: int, usage: Usage | None, cost: float | None) -> None:
        """Book what a call has taken in place of what was set aside for it."""
        spent = (usage.input_tokens or 0) + (usage.output_tokens or 0) if usage is not None else 0
        self.tokens += spent - reserved
        self.usd += cost or 0.0

    def _spent(self, cause: str) -> Refusal:
        return Refusal(
            429,
            "insufficient_quota",
            f"The budget of the key {self.name!r} does not allow it: {cause}",
            next_step="Ask for fewer tokens, or raise the budget in the server's config file.",
        )


def make_key() -> str:
    """Return a new random key."""
    return f"om-{secrets.token_urlsafe(24)}"


def digest(key: str) -> bytes:
    """Return the digest by which a key is known."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


class KeyRing:
    """The keys that a server accepts; without any it accepts every request."""

    def __init__(self, keys: Iterable[ApiKey] = ()) -> None:
        self.keys = tuple(keys)
        self._anonymous = ApiKey("anonymous", b"")

    def find(self, presented: str | None) -> ApiKey | None:
        """Return the key that a client presents, or None where it is not one of them."""
        if not self.keys:
            return self._anonymous
        if not presented:
            return None
        wanted = digest(presented)
        # All are compared, so that the time says nothing about them.
        matches = [key for key in self.keys if hmac.compare_digest(key.digest, wanted)]
        return matches[0] if matches else None
