"""Find stop strings, reasoning tags and tool-call markers in streamed text.

`MarkerMatcher` is the one matcher behind all three. The results do not depend on where the text is split:
what may still become a marker is held back until the next chunk decides. Pure text: no tokens, no I/O.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import compress
from typing import NamedTuple


class MarkerMatcher:
    """Find the first of several markers, and text that may yet become one.

    Of markers that begin at the same place the longest matches.
    """

    def __init__(self, markers: Sequence[str]) -> None:
        self._markers = tuple(sorted(markers, key=len, reverse=True))
        self._pattern = re.compile("|".join(map(re.escape, self._markers)) or r"(?!)")
        # A chunk rarely holds a marker's first character, so this set decides most calls of `held_back`.
        self._first = re.compile(f"[{re.escape(''.join({marker[0] for marker in markers}))}]" if markers else r"(?!)")
        self._longest = len(self._markers[0]) if markers else 1

    def search(self, text: str, start: int = 0) -> re.Match[str] | None:
        """Return the marker that begins first at or after `start`, or None."""
        return self._pattern.search(text, start)

    def search_complete(self, text: str) -> re.Match[str] | None:
        """Return the marker that is complete first, or None.

        Of markers that overlap this is the one that a reader of single characters sees first, so the result
        is the same for every split.
        """
        match = self._pattern.search(text)
        while match and (inner := self._pattern.search(text, match.start(), match.end() - 1)):
            match = inner
        return match

    def held_back(self, text: str) -> int:
        """Return how many characters at the end of `text` may yet become a marker."""
        for match in self._first.finditer(text, max(0, len(text) - self._longest + 1)):
            tail = text[match.start() :]
            if any(len(marker) > len(tail) and marker.startswith(tail) for marker in self._markers):
                return len(tail)
        return 0


@lru_cache(maxsize=256)
def marker_matcher(markers: tuple[str, ...]) -> MarkerMatcher:
    """Return the matcher of these markers, compiled once."""
    return MarkerMatcher(markers)


class StopStringFilter:
    """Pass text on up to the first stop string, holding back what may become one."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._matcher = marker_matcher(tuple(stops)) if stops else None
        self._held = ""
        self._visible = b""  # for each character of the held text, whether it is passed on
        self.matched: str | None = None  # the stop string that ended the text, or None

    def feed(self, text: str, *, hidden: bool = False) -> str:
        """Take new text and return what is safe to pass on.

        Hidden text only counts for the stop strings, as that of a control token.
        """
        if self._matcher is None or self.matched is not None:
            return "" if hidden or self.matched is not None else text
        self._held += text
        self._visible += (b"\0" if hidden else b"\1") * len(text)
        match = self._matcher.search_complete(self._held)
        if match is None:
            return self._release(len(self._held) - self._matcher.held_back(self._held))
        self.matched = match[0]
        text = self._release(match.start())
        self._held, self._visible = "", b""
        return text

    def flush(self) -> str:
        """Return what was held back, now that the text has ended without a stop string."""
        return self._release(len(self._held))

    def _release(self, size: int) -> str:
        """Return the first characters of the held text, but for the hidden ones."""
        text, self._held = self._held[:size], self._held[size:]
        visible, self._visible = self._visible[:size], self._visible[size:]
        return "".join(compress(text, visible)) if 0 in visible else text


REASONING_FIELDS = ("reasoning_content", "reasoning", "reasoning_text", "thinking")
"""What servers call the reasoning beside an answer; the first that is set counts."""


class ReasoningTags(NamedTuple):
    """The markers before and behind the reasoning."""

    open: str
    close: str


REASONING_TAGS = (
    ReasoningTags("<think>", "</think>"),  # DeepSeek-R1, Qwen3, GLM, SmolLM3, Kimi K2, MiniMax, Nemotron, …
    ReasoningTags("[THINK]", "[/THINK]"),  # Magistral
    ReasoningTags("<seed:think>", "</seed:think>"),  # Seed-OSS
    ReasoningTags("<|START_THINKING|>", "<|END_THINKING|>"),  # Command A
    ReasoningTags("<|inner_prefix|>", "<|inner_suffix|>"),  # Apertus
    ReasoningTags("◁think▷", "◁/think▷"),  # Kimi-VL
    ReasoningTags("<thinking>", "</thinking>"),
    ReasoningTags("<reasoning>", "</reasoning>"),
)
"""The tags that models are trained on, each with an example."""


def find_reasoning_tags(template: str) -> ReasoningTags | None:
    """Return the tags that a chat template knows, or None.

    A template names them to drop the reasoning of earlier turns, or to open it in the prompt, so the
    closing tag is the surer sign.
    """
    return next((tags for tags in REASONING_TAGS if tags.close in template), None)


def opens_reasoning(prompt: str, tags: ReasoningTags) -> bool:
    """Return whether a prompt ends inside the reasoning."""
    return prompt.rstrip().endswith(tags.open)


class ReasoningSplitter:
    """Split text into reasoning and answer.

    A block of reasoning opens only where the answer has not begun yet, so that an answer may mention
    the tags; a model that thinks again right after a block continues its reasoning. White space around the
    tags belongs to neither. What is still open at the end is reasoning.

    Args:
        tags: The tags; several where the model is not known. The first that opens a block counts.
        inside: Whether the text begins inside the reasoning, as after a prompt that opens it.
    """

    def __init__(self, *tags: ReasoningTags, inside: bool = False) -> None:
        self._tags = tags
        self._current = tags[0] if inside else None
        self._held = ""
        self._at_start = True  # no text has come since the block, or the answer, began
        self._may_repeat_tag = True
        self._has_reasoning = False
        self._separator = ""  # what stands before the next block of reasoning
        self.is_over = False  # whether the answer has begun: nothing is reasoning any more

    @property
    def is_inside(self) -> bool:
        """Whether what comes next is reasoning."""
        return self._current is not None

    def feed(self, text: str) -> tuple[str, str]:
        """Take new text and return what is surely reasoning and what is surely answer."""
        return self._split(text, last=False)

    def flush(self) -> tuple[str, str]:
        """Return what was held back, now that the text has ended without a tag."""
        return self._split("", last=True)

    def _split(self, text: str, *, last: bool) -> tuple[str, str]:
        if self.is_over:
            return "", text
        self._held += text
        reasoning = ""
        while not self.is_over:
            if self._current is None:
                if not self._read_opening(last=last):
                    break
            else:
                chunk, is_closed = self._read_block(self._current, last=last)
                if chunk:
                    reasoning += self._separator + chunk
                    self._separator = ""
                    self._has_reasoning = True
                if not is_closed:
                    break
                self._separator = "\n\n" if self._has_reasoning else ""
        answer = ""
        if self.is_over:
            answer, self._held = self._held, ""
        return reasoning, answer

    def _read_opening(self, *, last: bool) -> bool:
        """Read an opening tag where the answer may begin; return if it is decided."""
        stripped = self._held.lstrip()
        for tags in self._tags:
            if stripped.startswith(tags.open):
                self._current, self._held = tags, stripped[len(tags.open) :]
                self._at_start = self._may_repeat_tag = True
                return True
        if not last and any(tags.open.startswith(stripped) for tags in self._tags):
            return False
        self.is_over = True
        if not self._at_start:  # behind a block, the template's line breaks are not the answer's
            self._held = stripped
        return True

    def _read_block(self, tags: ReasoningTags, *, last: bool) -> tuple[str, bool]:
        """Return the reasoning that is sure, and whether its block ended with it."""
        text = self._held
        if self._at_start:
            text = text.lstrip()
            if self._may_repeat_tag:
                if not last and tags.open.startswith(text):
                    self._held = text
                    return "", False
                # A model may repeat the tag that the prompt has opened, once.
                text = text.removeprefix(tags.open).lstrip()
                self._may_repeat_tag = False
            if not last and tags.close.startswith(text):
                self._held = text
                return "", False
            self._at_start = False
        matcher = marker_matcher((tags.close,))
        match = matcher.search(text)
        if match is not None:
            self._held, self._current = text[match.end() :], None
            return text[: match.start()].rstrip(), True
        # White space before the tag is markup, so it waits with what may become the tag.
        sure = text if last else text[: len(text) - matcher.held_back(text)].rstrip()
        self._held = text[len(sure) :]
        return sure, False
