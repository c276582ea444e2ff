"""From an engine's tokens, or a server's text, to the deltas of the caller."""

from typing import TYPE_CHECKING, Any

from openmodels.backends.local import reasoning_parser
from openmodels.backends.local.detokenizer import Detokenizer
from openmodels.backends.local.prompt.prepare import PreparedPrompt, PromptConfig
from openmodels.backends.local.repetition import RepetitionDetector
from openmodels.backends.local.tool_call_format import malformed_call
from openmodels.output.text_scan import StopStringFilter
from openmodels.output.tool_formats.parser import ParsedChunk
from openmodels.types.reply import Delta, Usage
from openmodels.types.request import ChatRequest

if TYPE_CHECKING:
    import torch

    from openmodels.backends.local.engines.torch.logprobs import LogprobCollector


class AnswerParser:
    """Splits an answer into reasoning, text and calls; without a prompt, all is text."""

    def __init__(self, request: ChatRequest, prompt: PreparedPrompt | None, tokenizer: Any) -> None:
        self.has_called = False  # whether a tool call was complete
        self.reasoning_tokens: int | None = None  # tags included; None for a model without tags
        self._undecided = 0  # tokens that may belong to an opening tag
        self._parser: reasoning_parser.TextParser | None = None
        self._close = ""
        self._started: ParsedChunk | None = None  # what the text that the answer is made to begin with has given
        if prompt is None or request.prompt is not None:
            return
        if (tool_format := prompt.tool_format) is not None:
            self._parser, self._control_tokens = tool_format.parser, tool_format.control_tokens
            self._close = tool_format.close
            if tool_format.start:
                self._started = self._parser.feed(tool_format.start)
            if reasoning_parser.reasoning_tags(tokenizer, tools=True) is not None:
                self.reasoning_tokens = 0
        # What must have a certain form leaves no place for reasoning before it.
        elif prompt.output is None and (reasoning := reasoning_parser.reasoning_parser(tokenizer, prompt.tokens)):
            self._parser, self._control_tokens = reasoning
            self.reasoning_tokens = 0

    @property
    def is_plain(self) -> bool:
        """Whether all is text."""
        return self._parser is None

    @property
    def is_answering(self) -> bool:
        """Whether no reasoning is open."""
        return self._parser is None or self._parser.reasoning_end is None

    def feed(self, text: str, token: int | None, *, last: bool, complete: bool) -> ParsedChunk:
        """Return what became complete with a token; malformed calls are among the calls.

        The token is None where it is unknown, or only ends the answer. A `complete` answer ended by itself, so that a
        demanded call can be closed.
        """
        parser = self._parser
        if parser is None:
            return ParsedChunk(text)
        was_reasoning = parser.reasoning_end is not None
        if token is not None:
            text += self._control_tokens.get(token, "")
        piece = parser.feed(text)
        if self._started is not None:
            piece, self._started = self._started + piece, None
        is_reasoning = was_reasoning or parser.reasoning_end is not None
        if last:
            if self._close and complete:
                piece += parser.feed(self._close)
            piece += parser.finish()
        self._undecided += 1
        if is_reasoning or piece.reasoning:
            self.reasoning_tokens = (self.reasoning_tokens or 0) + self._undecided
            self._undecided = 0
        elif piece.text or piece.calls:
            self._undecided = 0
        piece.calls += tuple(map(malformed_call, piece.broken))
        self.has_called = self.has_called or bool(piece.calls)
        return piece


class OutputProcessor:
    """Turns the tokens of one request into deltas, up to what ends the answer first.

    A cycle ends the answer if `repetition_stop`; where its form is demanded, none does.
    """

    def __init__(
        self,
        request: ChatRequest,
        prompt: PreparedPrompt,
        config: PromptConfig,
        *,
        max_new_tokens: int,
        repetition_stop: bool = True,
        logprobs: "LogprobCollector | None" = None,
    ) -> None:
        self.finish_reason: str | None = None  # None while the answer is not complete
        self.output_tokens = 0
        self.cached_tokens: int | None = None  # of the prompt; None where the engine does not say
        self._max_new_tokens = max_new_tokens
        self._input_tokens = len(prompt.tokens)
        self._eos_token_ids = frozenset(config.eos_token_ids)
        self._detokenizer = Detokenizer(config.tokenizer, prompt.tokens if request.prompt is not None else ())
        self._parser = AnswerParser(request, prompt, config.tokenizer)
        stops = (*request.stop, *config.stop_strings)
        self._stops = StopStringFilter(stops)
        # Decoding leaves control tokens out, and a stop string may be, or hold, the text of one.
        self._control_tokens = reasoning_parser.control_tokens(config.tokenizer) if stops else {}
        self._repetition = RepetitionDetector() if repetition_stop and prompt.output is None else None
        self._logprobs = logprobs
        self._chunk: ParsedChunk | None = None  # what became complete since the last delta
        self._text_size = 0  # characters of text in the deltas so far

    @property
    def is_finished(self) -> bool:
        """Whether the answer is complete."""
        return self.finish_reason is not None

    @property
    def remaining_tokens(self) -> int:
        """How many tokens the answer may still have."""
        return self._max_new_tokens - self.output_tokens

    def add(self, token: int, scores: "torch.Tensor | None" = None, *, complete: bool = False) -> None:
        """Process the next token; `take_delta` returns what became complete with it.

        The scores at its place, shape (vocabulary,), are for logprobs; a forced token has none. `complete` is whether
        the demanded form of the answer is complete with it.
        """
        self.output_tokens += 1
        is_end = token in self._eos_token_ids
        complete = complete or is_end
        is_cycle = self._repetition is not None and self._repetition.add_token(token)
        last = complete or is_cycle or self.output_tokens >= self._max_new_tokens
        size = self._process(token, is_end=is_end, last=last, complete=complete)
        if self._logprobs is not None and not is_end:
            self._logprobs.add(token, scores, size)
        if complete or self._stops.matched is not None:
            self.finish_reason = self._stop_reason
        elif is_cycle:
            self.finish_reason = "repetition"
        elif last:
            self.finish_reason = "length"

    def end(self, finish_reason: str) -> None:
        """Complete an answer that the engine itself has ended."""
        complete = finish_reason == "stop"
        self._process(None, is_end=True, last=True, complete=complete)
        self.finish_reason = self._stop_reason if complete or self._stops.matched is not None else finish_reason

    def take_delta(self) -> Delta | None:
        """Return what became complete since the last delta; None where nothing did."""
        if self._chunk is None and self.finish_reason is None:
            return None
        chunk, self._chunk = self._chunk or ParsedChunk(), None
        delta = Delta(chunk.text, chunk.reasoning, chunk.calls)
        if self._logprobs is not None:
            self._text_size += len(chunk.text)
            # What the stop strings hold back may never be sent, and its tokens with it.
            stopped = self._stops.matched is not None
            is_held = self._parser.is_answering and (stopped or self.finish_reason is None)
            delta.logprobs = self._logprobs.take_until(self._text_size if is_held else None)
        if self.finish_reason is not None:
            delta.finish_reason = self.finish_reason
            delta.usage = Usage(
                input_tokens=self._input_tokens,
                output_tokens=self.output_tokens,
                cached_tokens=self.cached_tokens,
                reasoning_tokens=self._parser.reasoning_tokens,
            )
        return delta

    @property
    def _stop_reason(self) -> str:
        return "tool_calls" if self._parser.has_called else "stop"

    def _process(self, token: int | None, *, is_end: bool, last: bool, complete: bool) -> int:
        """Process a token; return how many characters it completed, held back or not."""
        text = "" if is_end or token is None else self._detokenizer.add(token)
        if last:
            text += self._detokenizer.flush()
        was_answering = self._parser.is_answering
        piece = self._parser.feed(text, None if is_end else token, last=last, complete=complete)
        size = len(piece.text)
        # Stop strings end the answer, not the reasoning that speaks of them.
        piece.text = self._stops.feed(piece.text)
        if self._control_tokens and token is not None and not is_end and was_answering and self._parser.is_answering:
            piece.text += self._stops.feed(self._control_tokens.get(token, ""), hidden=True)
        if last and self._stops.matched is None:
            piece.text += self._stops.flush()
        if piece.text or piece.reasoning or piece.calls:
            self._chunk = piece if self._chunk is None else self._chunk + piece
        return size


class TextOutputProcessor:
    """Turns the deltas of a server of ours, which are text, into those of the caller.

    Where the server renders the prompt, there is neither a prompt nor a config.
    """

    def __init__(
        self,
        request: ChatRequest,
        prompt: PreparedPrompt | None = None,
        config: PromptConfig | None = None,
        *,
        repetition_stop: bool = True,
    ) -> None:
        self._parser = AnswerParser(request, prompt, None if config is None else config.tokenizer)
        self._repetition = RepetitionDetector() if repetition_stop else None
        self.is_cycle = False  # whether a cycle has ended the answer: the rest of the stream is not wanted

    @property
    def is_plain(self) -> bool:
        """Whether all is text as far as the model's files say."""
        return self._parser.is_plain

    def add(self, delta: Delta) -> Delta:
        """Return a delta with its text split into reasoning, text and tool calls."""
        last = delta.finish_reason is not None or delta.end
        # Deltas of a stream are tokens, or a few of them where the server is faster than the reader.
        if not last and self._repetition is not None and self._repetition.add(delta.reasoning + delta.text):
            delta.finish_reason, last, self.is_cycle = "repetition", True, True
        if self._parser.is_plain:
            return delta
        complete = delta.finish_reason == "stop"
        piece = self._parser.feed(delta.text, None, last=last, complete=complete)
        delta.text, delta.tool_calls = piece.text, piece.calls
        delta.reasoning += piece.reasoning
        if complete and self._parser.has_called:
            delta.finish_reason = "tool_calls"
        return delta
