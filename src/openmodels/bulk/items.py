"""Results of a bulk run: its items and their summary."""

from dataclasses import dataclass, field
from typing import Any

from openmodels.errors import InvalidRequest, OpenModelsError
from openmodels.types.reply import Reply


@dataclass(frozen=True, slots=True)
class BulkItem:
    """One prompt of a bulk run with its reply or its error.

    Attributes:
        index: The prompt's place in the input, from 0.
        prompt: The prompt as the caller passed it.
        reply: The reply, or None if the call failed.
        error: The error of the call, or None if it succeeded.
        resumed: Whether the reply comes from the file of an earlier run.
    """

    index: int
    prompt: Any = field(repr=False)
    reply: Reply | None = None
    error: OpenModelsError | None = None
    resumed: bool = False

    def result(self) -> Reply:
        """Return the reply.

        Raises:
            OpenModelsError: The call failed with this error.
        """
        if self.reply is None:
            raise self.error or InvalidRequest("The item holds neither a reply nor an error.")
        return self.reply


@dataclass(slots=True)
class BulkSummary:
    """Counts and totals of a bulk run so far.

    Items from the file of an earlier run count in `resumed` alone.

    Attributes:
        succeeded: Items with a reply.
        failed: Items with an error.
        resumed: Items whose reply comes from the file of an earlier run.
        seconds: Seconds from the start of the run until now or until its end.
        input_tokens: Tokens of the prompts, as far as the backend counts them.
        output_tokens: Tokens of the answers, as far as the backend counts them.
        cost: US dollars, as far as prices are known; None if they are unknown.
        damaged: Lines of the file that could not be read; their prompts run again.
    """

    succeeded: int = 0
    failed: int = 0
    resumed: int = 0
    seconds: float = 0.0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float | None = None
    damaged: int = 0

    @property
    def items_per_second(self) -> float:
        """Replies per second."""
        return self.succeeded / self.seconds if self.seconds else 0.0

    @property
    def tokens_per_second(self) -> float:
        """Output tokens per second, over all items."""
        return self.output_tokens / self.seconds if self.seconds else 0.0

    def __str__(self) -> str:
        kept = f", {self.resumed:,} kept from before" if self.resumed else ""
        cost = f", ${self.cost:.4f}" if self.cost is not None else ""
        damaged = f"; {self.damaged:,} damaged lines of the file were skipped" if self.damaged else ""
        return (
            f"{self.succeeded:,} answered, {self.failed:,} failed{kept} in {self.seconds:.1f} s: "
            f"{self.items_per_second:.1f} items/s, {self.tokens_per_second:,.0f} output tokens/s, "
            f"{self.input_tokens:,} → {self.output_tokens:,} tokens{cost}{damaged}"
        )

    def add(self, item: BulkItem) -> None:
        """Count a finished item."""
        if item.resumed:
            self.resumed += 1
        elif item.reply is None:
            self.failed += 1
        else:
            self.succeeded += 1
            self.input_tokens += item.reply.usage.input_tokens or 0
            self.output_tokens += item.reply.usage.output_tokens or 0
            if item.reply.cost is not None:
                self.cost = (self.cost or 0.0) + item.reply.cost
