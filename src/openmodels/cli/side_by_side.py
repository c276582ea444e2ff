"""Several models in one chat: each question, and their answers beside each other."""

import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import click

from openmodels import background, escaping
from openmodels.backends import registry
from openmodels.cli import output
from openmodels.conversation import Conversation
from openmodels.core.stream import Stream
from openmodels.errors import OpenModelsError
from openmodels.model import Model
from openmodels.types.options import CallOptions
from openmodels.types.reply import Reply

_REFRESH_SECONDS = 0.1


def options_of_model(reference: str, backend_options: Mapping[str, str], references: Sequence[str]) -> dict[str, str]:
    """Return the backend options that a model knows, of those for several models.

    Raises:
        UsageError: None of the models knows one of them.
    """
    known = {name: _list_options(name) for name in references}
    for option in backend_options:
        if not any(option in names for names in known.values()):
            raise click.UsageError(f"-o {option}: none of the models has this option.")
    return {option: value for option, value in backend_options.items() if option in known[reference]}


def _list_options(reference: str) -> list[str]:
    try:
        return list(registry.list_parameters(registry.find(reference.strip().partition(":")[0])))
    except OpenModelsError:  # which opening the model says
        return []


@dataclass(slots=True)
class _AnswerColumn:
    """The answer of one model as it comes."""

    conversation: Conversation
    options: CallOptions
    stream: Stream | None = None
    reply: Reply | None = None
    error: OpenModelsError | None = None
    text: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.conversation.model.reference

    def answer(self, prompt: Any) -> None:
        self.text, self.reply, self.error = [], None, None
        try:
            with self.conversation.stream(prompt, **self.options) as self.stream:
                for delta in self.stream:
                    self.text.append(delta.text)
                self.reply = self.stream.reply
        except OpenModelsError as error:
            self.error = error

    def facts(self) -> str:
        if self.error is not None:
            return f"{type(self.error).__name__}: {self.error.cause}"
        if self.reply is None:
            return "…"
        reply = self.reply
        tokens = "" if reply.usage.output_tokens is None else f"{reply.usage.output_tokens} tokens"
        cost = "" if reply.cost is None else f"${reply.cost:.6f}"
        reason = "" if reply.finish_reason == "stop" else str(reply.finish_reason)
        return " · ".join(fact for fact in (f"{reply.seconds:.2f} s", tokens, cost, reason) if fact)


class SideBySideChat:
    """Asks several models the same, each in a conversation of its own.

    `options` returns the call options of a model.
    """

    def __init__(self, models: Sequence[Model], system: str | None, options: Callable[[Model], CallOptions]) -> None:
        self._columns = [_AnswerColumn(Conversation(model, system=system), options(model)) for model in models]

    def ask(self, prompt: Any) -> bool:
        """Show the answers to a prompt; return whether every model gave one."""
        jobs: list[Future[None]] = [background.start(column.answer, prompt) for column in self._columns]
        try:
            if sys.stdout.isatty() and not output.wants_json():
                self._show_live(jobs)
            else:
                for job in jobs:
                    job.result()
                self._write()
        except BaseException:
            for column in self._columns:
                if column.stream is not None:
                    column.stream.close()
            raise
        return all(column.error is None for column in self._columns)

    def run(self) -> None:
        """Answer lines of the terminal until /exit."""
        with ExitStack() as stack:
            for column in self._columns:
                output.note(f"{column.name}: loading …", dim=True)
                stack.enter_context(column.conversation.model.load())
            output.note(
                "Ready. /clear forgets the conversations, Ctrl-C stops answers, Ctrl-D ends the session.", dim=True
            )
            while True:
                try:
                    line = input("> ").strip()
                    if line in {"/exit", "/quit", "/bye", "exit", "quit"}:
                        return
                    if line == "/clear":
                        for column in self._columns:
                            column.conversation.messages.clear()
                        output.note("The conversations are forgotten.")
                    elif line.startswith("/"):
                        output.note("There are /clear and /exit; with several models a session has no other commands.")
                    elif line:
                        self.ask(line)
                except EOFError:
                    output.note("")
                    return
                except KeyboardInterrupt:
                    output.note("\n(Stopped. Ctrl-D or /exit ends the session.)", dim=True)

    def _show_live(self, jobs: Sequence[Future[None]]) -> None:
        from rich.console import Console
        from rich.live import Live

        console = Console(markup=False, emoji=False, highlight=False)
        ended = threading.Event()
        left = count(len(jobs) - 1, -1)
        for job in jobs:
            job.add_done_callback(lambda _: ended.set() if next(left) == 0 else None)
        # While answers grow beyond the screen, only its height can be drawn again.
        with Live(console=console, auto_refresh=False, transient=True, vertical_overflow="crop") as live:
            while not ended.wait(_REFRESH_SECONDS):
                live.update(self._table(), refresh=True)
        console.print(self._table())
        for job in jobs:
            job.result()

    def _table(self) -> Any:
        from rich import box
        from rich.table import Table
        from rich.text import Text

        table = Table(box=box.SIMPLE, expand=True, pad_edge=False)
        for column in self._columns:
            table.add_column(Text(escaping.escape_line(column.name)), ratio=1, overflow="fold")
        table.add_row(*(Text(escaping.escape_terminal("".join(column.text))) for column in self._columns))
        table.add_row(
            *(
                Text(escaping.escape_line(column.facts()), style="red" if column.error else "dim")
                for column in self._columns
            )
        )
        return table

    def _write(self) -> None:
        if output.wants_json():
            output.write_json({"replies": [self._as_dict(column) for column in self._columns]})
            return
        for column in self._columns:
            text = "".join(column.text).rstrip("\n")
            output.write(f"== {column.name}\n{text}\n\n")
            if column.error is not None:
                output.show_error(column.error)

    @staticmethod
    def _as_dict(column: _AnswerColumn) -> dict[str, Any]:
        if column.reply is None:
            error = None if column.error is None else output.as_dict(column.error)
            return {"reference": column.name, "error": error}
        return column.reply.model_dump(mode="json") | {"reference": column.name}
