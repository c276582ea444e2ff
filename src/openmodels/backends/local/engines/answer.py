"""One answer of an engine that takes tokens in and gives tokens out."""

from __future__ import annotations

from openmodels.backends.local.voice import Sampling, Voice, check_extra, prompt, room
from openmodels.backends.local.writing import Writing
from openmodels.types import ChatRequest, Delta, Usage


class Answer:
    """Turns an engine's tokens into deltas, up to the end that comes first.

    Args:
        request: What is asked.
        voice: How the model is spoken to.

    Attributes:
        prompt: The prompt's tokens.
        limit: How many tokens the answer may have.
        sampling: How they are to be chosen.
        finished: Whether the answer is complete.

    Raises:
        ContextTooLong: The prompt leaves no room for an answer.
        UnsupportedFeature: `extra` holds more than variables for the chat template.
        OpenModelsError: What `prompt` raises.
    """

    def __init__(self, request: ChatRequest, voice: Voice) -> None:
        check_extra(request)
        self.prompt = prompt(request, voice.tokenizer)
        self.limit = room(len(self.prompt), request, voice)
        self.sampling = Sampling.of(request, voice.generation)
        self.finished = False
        self._ends = frozenset(voice.ends)
        self._writing = Writing(request, self.prompt, voice.tokenizer)
        self._produced = 0

    def accept(self, token: int) -> Delta | None:
        """Take the next token in; return the delta that it completes, if any."""
        self._produced += 1
        ended = token in self._ends
        last = ended or self._produced >= self.limit
        thought, text, _ = self._writing.add(token, ended=ended, last=last)
        if last or self._writing.stopped:
            return self._finish(thought, text, "stop" if ended else "length")
        return Delta(text, thought) if text or thought else None

    def end(self, reason: str) -> Delta:
        """Return the last delta of an answer that the engine itself has ended."""
        thought, text, _ = self._writing.add(-1, ended=True, last=True)
        return self._finish(thought, text, reason)

    def _finish(self, thought: str, text: str, reason: str) -> Delta:
        self.finished = True
        usage = Usage(
            input_tokens=len(self.prompt),
            output_tokens=self._produced,
            reasoning_tokens=self._writing.reasoning_tokens,
        )
        return Delta(text, thought, finish_reason="stop" if self._writing.stopped else reason, usage=usage)
