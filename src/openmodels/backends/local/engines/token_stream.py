"""One answer of an engine that takes tokens in and gives tokens out."""

from __future__ import annotations

from openmodels.backends.local.output_processor import Said, Writing
from openmodels.backends.local.prompt.prepare import (
    PromptConfig,
    SamplingParams,
    check_extra,
    check_tokens,
    prepare_prompt,
    resolve_max_new_tokens,
)
from openmodels.backends.local.repetition import RepetitionDetector
from openmodels.types.reply import Delta, Usage
from openmodels.types.request import ChatRequest


class Answer:
    """Turns an engine's tokens into deltas, up to the end that comes first.

    Args:
        request: What is asked.
        prompt_config: What the model's files say of its prompts and answers.
        repetition_stop: Whether a cycle ends the answer; where its form is demanded, none does.

    Attributes:
        prompt: The prompt's tokens.
        output: What the answer must look like.
        limit: How many tokens the answer may have.
        sampling: How they are to be chosen.
        finished: Whether the answer is complete.

    Raises:
        ContextTooLong: The prompt leaves no room for an answer.
        UnsupportedFeature: `extra` holds more than variables for the chat template.
        OpenModelsError: What `prepare_prompt` raises.
    """

    def __init__(self, request: ChatRequest, prompt_config: PromptConfig, *, repetition_stop: bool = True) -> None:
        check_extra(request)
        own = prepare_prompt(request, prompt_config.tokenizer, prompt_config.context)
        self.prompt, self.output = own.tokens, own.output
        check_tokens(self.prompt, prompt_config.vocab_size)
        self.limit = resolve_max_new_tokens(len(self.prompt), request, prompt_config)
        self.sampling = SamplingParams.from_request(request, prompt_config.generation_config)
        self.finished = False
        self._ends = frozenset(prompt_config.eos_token_ids)
        self._writing = Writing(request, own, prompt_config.tokenizer, stops=prompt_config.stop_strings)
        self._repetition = RepetitionDetector() if repetition_stop and own.output is None else None
        self._produced = 0

    def accept(self, token: int) -> Delta | None:
        """Take the next token in; return the delta that it completes, if any."""
        self._produced += 1
        ended = token in self._ends
        repeats = self._repetition is not None and self._repetition.add_token(token)
        last = ended or repeats or self._produced >= self.limit
        said = self._writing.add(token, ended=ended, last=last, whole=ended)
        if last or self._writing.stopped:
            return self._finish(said, "stop" if ended else "repetition" if repeats else "length")
        return Delta(said.text, said.thought, said.calls) if said.text or said.thought or said.calls else None

    def end(self, reason: str) -> Delta:
        """Return the last delta of an answer that the engine itself has ended."""
        return self._finish(self._writing.add(-1, ended=True, last=True, whole=reason == "stop"), reason)

    def _finish(self, said: Said, reason: str) -> Delta:
        self.finished = True
        if self._writing.stopped or reason == "stop":
            reason = "tool_calls" if self._writing.called else "stop"
        usage = Usage(
            input_tokens=len(self.prompt),
            output_tokens=self._produced,
            reasoning_tokens=self._writing.reasoning_tokens,
        )
        return Delta(said.text, said.thought, said.calls, finish_reason=reason, usage=usage)
