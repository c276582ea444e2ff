"""Telling a model's reasoning from its answer where both come in one text, between think tags.

Pure text: no tokens, no I/O. `tags_in` finds the tags that a chat template knows; `Splitter` takes the
text in pieces of any size and gives out what is reasoning and what is answer.
"""

from __future__ import annotations

from typing import NamedTuple

FIELDS = ("reasoning_content", "reasoning", "reasoning_text", "thinking")
"""What servers call the reasoning beside an answer; the first that is set counts."""


class Tags(NamedTuple):
    """What stands before and behind the reasoning."""

    open: str
    close: str


TAGS = (
    Tags("<think>", "</think>"),  # DeepSeek-R1, Qwen3, GLM, SmolLM3, Kimi K2, MiniMax, Nemotron, …
    Tags("[THINK]", "[/THINK]"),  # Magistral
    Tags("<seed:think>", "</seed:think>"),  # Seed-OSS
    Tags("<|START_THINKING|>", "<|END_THINKING|>"),  # Command A
    Tags("<|inner_prefix|>", "<|inner_suffix|>"),  # Apertus
    Tags("◁think▷", "◁/think▷"),  # Kimi-VL
    Tags("<thinking>", "</thinking>"),
    Tags("<reasoning>", "</reasoning>"),
)
"""The tags that models are trained on, each with an example."""


def tags_in(template: str) -> Tags | None:
    """Return the tags that a chat template knows, or None.

    A template names them to drop the reasoning of earlier turns, or to open it in the prompt, so the
    closing tag is the surer sign.
    """
    return next((tags for tags in TAGS if tags.close in template), None)


def opened(prompt: str, tags: Tags) -> bool:
    """Return whether a prompt ends inside the reasoning, so that the answer begins there."""
    return prompt.rstrip().endswith(tags.open)


class Splitter:
    """Passes text on as reasoning or as answer.

    A block of reasoning opens only where the answer has not begun yet, so that an answer may speak of
    the tags; a model that thinks again right after a block goes on reasoning. White space around the
    tags belongs to neither. What is still open at the end is reasoning.

    Args:
        tags: The tags; several where the model is not known. The first that opens a block counts.
        inside: Whether the text begins inside the reasoning, as after a prompt that opens it.

    Attributes:
        done: Whether the answer has begun: nothing is reasoning any more.
    """

    def __init__(self, *tags: Tags, inside: bool = False) -> None:
        self._tags = tags
        self._current = tags[0] if inside else None
        self._held = ""
        self._fresh = True  # nothing has come since the block, or the text, began
        self._said = False
        self._break = ""  # what stands before the next piece of reasoning, where it is of another block
        self.done = False

    @property
    def inside(self) -> bool:
        """Whether what comes next is reasoning."""
        return self._current is not None

    def feed(self, text: str) -> tuple[str, str]:
        """Take new text and return what is surely reasoning and what is surely answer."""
        return self._split(text, last=False)

    def flush(self) -> tuple[str, str]:
        """Return what was held back: the text ended and no tag came of it."""
        return self._split("", last=True)

    def _split(self, text: str, *, last: bool) -> tuple[str, str]:
        if self.done:
            return "", text
        self._held += text
        reasoning = ""
        while not self.done:
            if self._current is None:
                if not self._begin(last=last):
                    break
            else:
                more, closed = self._think(self._current, last=last)
                if more:
                    reasoning += self._break + more
                    self._break = ""
                    self._said = True
                if not closed:
                    break
                self._break = "\n\n" if self._said else ""
        answer = ""
        if self.done:
            answer, self._held = self._held, ""
        return reasoning, answer

    def _begin(self, *, last: bool) -> bool:
        """Look for an opening tag where the answer might begin; return whether that is decided."""
        bare = self._held.lstrip()
        for tags in self._tags:
            if bare.startswith(tags.open):
                self._current, self._held, self._fresh = tags, bare[len(tags.open) :], True
                return True
        if not last and any(tags.open.startswith(bare) for tags in self._tags):
            return False
        self.done = True
        if not self._fresh:  # behind a block, the template's line breaks are not the answer's
            self._held = bare
        return True

    def _think(self, tags: Tags, *, last: bool) -> tuple[str, bool]:
        """Return the reasoning that is sure, and whether its block ended with it."""
        text = self._held
        if self._fresh:
            text = text.lstrip()
            if not last and tags.open.startswith(text):
                self._held = text
                return "", False
            # A model may repeat the tag that the prompt has opened.
            text = text.removeprefix(tags.open).lstrip()
            if not last and tags.close.startswith(text):
                self._held = text or tags.open
                return "", False
            self._fresh = False
        at = text.find(tags.close)
        if at >= 0:
            self._held, self._current = text[at + len(tags.close) :], None
            return text[:at].rstrip(), True
        keep = 0 if last else _undecided(text, tags.close)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep], False


def _undecided(text: str, close: str) -> int:
    """Return how much of the end of `text` may be white space before the closing tag, or begin the tag."""
    longest = min(len(text), len(close) - 1)
    begun = next((size for size in range(longest, 0, -1) if text.endswith(close[:size])), 0)
    before = text[: len(text) - begun]
    return begun + len(before) - len(before.rstrip())
