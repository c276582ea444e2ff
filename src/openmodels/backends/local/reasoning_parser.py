"""Parsers that split a local model's answer as it streams."""

from collections.abc import Sequence
from typing import Any

from transformers.utils.chat_parsing import ResponseParser

from openmodels.backends.local.prompt import chat_template
from openmodels.errors import LoadFailed
from openmodels.output.text_scan import ReasoningSplitter, ReasoningTags, find_reasoning_tags, opens_reasoning
from openmodels.output.tool_formats import values
from openmodels.output.tool_formats.parser import ParsedChunk, ToolFormatParser

_REASONING_FIELDS = frozenset({"reasoning", "reasoning_content", "thinking"})
_PROMPT_END = 24  # tokens of the prompt's end in which an opened reasoning tag would stand


class ReasoningParser:
    """Parses an answer with reasoning between tags, which the prompt may have opened."""

    def __init__(self, tags: ReasoningTags, *, inside: bool) -> None:
        self._tags, self._splitter = tags, ReasoningSplitter(tags, inside=inside)

    @property
    def reasoning_end(self) -> str | None:
        """The closing tag while reasoning is open."""
        return self._tags.close if self._splitter.is_inside else None

    def feed(self, text: str) -> ParsedChunk:
        """Return what became complete with more of the answer."""
        reasoning, answer = self._splitter.feed(text)
        return ParsedChunk(answer, reasoning)

    def finish(self) -> ParsedChunk:
        """Return what was held back."""
        reasoning, answer = self._splitter.flush()
        return ParsedChunk(answer, reasoning)


class ResponseTemplateParser:
    """Parses an answer by the `response_template` that a tokenizer declares.

    The parser is transformers' `ResponseParser`. Where the chat template is of a family that
    `openmodels.output.tool_formats` knows, that is used instead: the `ResponseParser` raises on most malformed and
    truncated calls. Untyped arguments are cast by the schemas of the tools; the prompt holds its control tokens.
    """

    def __init__(self, template: Any, tools: list[dict[str, Any]], prompt: str) -> None:
        try:
            self._parser = ResponseParser(template, prefix=prompt, tools=tools)
        except (ValueError, TypeError, KeyError) as error:
            raise LoadFailed(f"The tokenizer's `response_template` is broken: {error}.") from error
        self._field: str | None = None
        self._raw = ""  # of the calls that are being read
        self._has_failed = False
        self._collect(self._parser.initial_events)

    @property
    def reasoning_end(self) -> str | None:
        """A text while reasoning is open; the template does not give its end marker."""
        return self._field if self._field in _REASONING_FIELDS else None

    def feed(self, text: str) -> ParsedChunk:
        """Return what became complete with more of the answer."""
        if self._has_failed:
            self._raw += text
            return ParsedChunk()
        if self._field == "tool_calls":
            self._raw += text
        try:
            return self._collect(self._parser.feed(text))
        except ValueError:
            return self._fail(text)

    def finish(self) -> ParsedChunk:
        """Return the rest, now that the answer is over."""
        if not self._has_failed:
            try:
                _, events = self._parser.finalize()
                return self._collect(events)
            except ValueError:
                self._fail("")
        return ParsedChunk(broken=(self._raw,) if self._raw.strip() else ())

    def _fail(self, text: str) -> ParsedChunk:
        # It raises on calls, and cannot be fed after that, so the rest belongs to the call.
        self._has_failed = True
        self._raw = self._raw or text
        return ParsedChunk()

    def _collect(self, events: list[dict[str, Any]]) -> ParsedChunk:
        piece = ParsedChunk()
        for event in events:
            field = event["field"]
            if event["type"] == "region_open":
                self._field, self._raw = field, ""
            elif event["type"] == "region_chunk" and field == "content":
                piece.text += event["text"]
            elif event["type"] == "region_chunk" and field in _REASONING_FIELDS:
                piece.reasoning += event["text"]
            elif event["type"] == "region_chunk":
                self._raw = self._raw or event["text"]
            elif event["type"] == "region_close":
                self._field = None
                if field == "tool_calls":
                    try:
                        piece.calls += tuple(values.read_calls(event["value"]))
                    except ValueError:
                        piece.broken += (self._raw,)
                    self._raw = ""
        return piece


TextParser = ToolFormatParser | ReasoningParser | ResponseTemplateParser  # tells text, reasoning and tool calls apart


def reasoning_parser(tokenizer: Any, prompt: Sequence[int]) -> tuple[ReasoningParser, dict[int, str]] | None:
    """Return the parser of a model's reasoning, and its control tokens by token id.

    A model whose chat template knows no tags has none. The end of the prompt tells whether reasoning is open.
    """
    if (tags := reasoning_tags(tokenizer)) is None:
        return None
    end = tokenizer.decode(list(prompt[-_PROMPT_END:]), skip_special_tokens=False)
    return ReasoningParser(tags, inside=opens_reasoning(end, tags)), control_tokens(tokenizer, tags)


def reasoning_tags(tokenizer: Any, *, tools: bool = False) -> ReasoningTags | None:
    """Return the reasoning tags that a tokenizer's chat template knows, or None."""
    return find_reasoning_tags(chat_template.get_template(tokenizer, tools=tools)) if tokenizer.chat_template else None


def control_tokens(tokenizer: Any, markers: Sequence[str] | None = None) -> dict[int, str]:
    """Return the texts of all control tokens, or of those in `markers`, by token id."""
    control = {token: added.content for token, added in tokenizer.added_tokens_decoder.items() if added.special}
    return control if markers is None else {token: text for token, text in control.items() if text in markers}
