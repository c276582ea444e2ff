"""How a model is spoken to, whichever engine runs it: its prompt, its sampling, its room and its ends.

A change of engine changes the arithmetic and nothing else.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from openmodels.backends.local import generation_config, tool_calls as calling
from openmodels.backends.local.prompt import chat_template, images, length_check
from openmodels.errors import ContextTooLong, InvalidRequest, UnsupportedFeature
from openmodels.types.chat import ChatRequest, OutputFormat

_USUAL_LENGTH = 20
VARIABLES = "chat_template_kwargs"
"""The entry of `extra` that holds variables for the chat template."""


@dataclass(frozen=True, slots=True)
class Voice:
    """How a model is spoken to, whichever engine runs it.

    Attributes:
        tokenizer: Its transformers tokenizer.
        generation: Its transformers `GenerationConfig`.
        context: The most tokens that prompt and answer may have together.
        vocabulary: The number of rows of its embedding table, or None where that is not known.
    """

    tokenizer: Any
    generation: Any
    context: int
    vocabulary: int | None = None

    @property
    def ends(self) -> list[int]:
        """The tokens that end an answer: those that the model's files name, and what closes the assistant's turn."""
        ends = getattr(self.generation, "eos_token_id", None)
        listed = ends if isinstance(ends, list) else [ends]
        tokens = (*listed, self.tokenizer.eos_token_id, chat_template.turn_end(self.tokenizer))
        return list(dict.fromkeys(token for token in tokens if token is not None))

    def stop_tokens(self, stops: Sequence[str]) -> dict[str, int]:
        """Return the control tokens among stop strings, and what closes the assistant's turn, by their text.

        Raises:
            UnsupportedFeature: A stop string holds a control token and more: who decodes the text leaves it out.
        """
        control = {
            added.content: token for token, added in self.tokenizer.added_tokens_decoder.items() if added.special
        }
        for stop in stops:
            if stop not in control and any(text in stop for text in control):
                raise UnsupportedFeature(
                    f"stop: this engine finds a control token, but not one within a longer text: {stop[:80]!r}.",
                    next_step="Name the control token alone, or use engine='transformers'.",
                )
        closing = chat_template.turn_end(self.tokenizer)
        return {text: token for text, token in control.items() if text in stops or token == closing}

    @property
    def stop_strings(self) -> tuple[str, ...]:
        """The texts that end an answer, as the model's files name them."""
        return generation_config.stop_strings(self.generation)


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is chosen, with the model's own defaults filled in.

    Attributes:
        temperature: 0 is greedy.
        top_p: 1 is all.
        top_k: 0 is all.
        repetition: Divides the scores of tokens that came; 1 is none.
        seed: The caller's, or a random one.
        min_p: The chance, as a share of the largest, below which a token is not drawn; 0 is all.
    """

    temperature: float
    top_p: float
    top_k: int
    repetition: float
    seed: int
    min_p: float = 0.0

    @classmethod
    def of(cls, request: ChatRequest, defaults: Any) -> Sampling:
        """Fill what the request leaves open from a `GenerationConfig`, as transformers does."""
        sampled = getattr(defaults, "do_sample", False)

        def own(name: str) -> Any:
            return getattr(defaults, name, None) if sampled else None

        asked = request.top_p is not None or request.top_k is not None
        temperature = own("temperature")
        usual = temperature if temperature is not None else float(bool(asked or sampled))
        top_k = own("top_k")
        if top_k is None:
            top_k = generation_config.TOP_K if sampled else 0
        return cls(
            temperature=usual if request.temperature is None else request.temperature,
            top_p=request.top_p or own("top_p") or 1.0,
            top_k=top_k if request.top_k is None else request.top_k,
            min_p=own("min_p") or 0.0,
            repetition=request.repetition_penalty or getattr(defaults, "repetition_penalty", None) or 1.0,
            seed=secrets.randbits(63) if request.seed is None else request.seed,
        )


class Asked(NamedTuple):
    """A request in the model's own terms.

    Attributes:
        tokens: The prompt's tokens, with those that the answer is made to begin with.
        output: What the answer must look like.
        calling: How its tools are spoken of; None where it offers none.
        inputs: The tensors of its images, by the model's names for them; None where there are none.
    """

    tokens: list[int]
    output: OutputFormat | None
    calling: calling.Calling | None
    inputs: dict[str, Any] | None = None


def asked(request: ChatRequest, tokenizer: Any, context: int, processor: Any = None, dtype: Any = None) -> Asked:
    """Return a request as the model gets it, the chat template rendered.

    Args:
        request: What is asked.
        tokenizer: A transformers tokenizer.
        context: The most tokens that prompt and answer may have together.
        processor: What makes tensors of images; None for a model, or an engine, that reads only text.
        dtype: The dtype of such tensors.

    Raises:
        InvalidRequest: Nothing can be made of it.
        UnsupportedFeature: The model has no chat template or none that knows tools, a demanded call cannot be
            forced, or the template's variables in `extra` are no dict.
        LoadFailed: The chat template is broken or hostile.
        ContextTooLong: The prompt is so long that it does not even have to be tokenized.
        DeadlineExceeded: The deadline passed while it was.
    """
    if request.prompt is not None:
        length_check.check(tokenizer, request.prompt, context, request.deadline)
        tokens: list[int] = tokenizer(request.prompt)["input_ids"]
        if not tokens:
            raise InvalidRequest("prompt: the model's tokenizer makes no token of it.")
        return Asked(tokens, request.output, None)
    variables = request.extra.get(VARIABLES, {})
    if not isinstance(variables, Mapping):
        raise UnsupportedFeature(f"extra: {VARIABLES!r} must hold a dict of variables.")
    calling.check(request, tokenizer)
    tools = calling.definitions(calling.offered(request))
    inputs = None
    if any(message.images for message in request.messages):
        tokens, inputs = images.encode(processor, tokenizer, request.messages, variables, tools=tools, dtype=dtype)
    else:
        # A processor lets the tokenizer add what the template does not write; a text without images is no other.
        special = processor is not None
        limit = chat_template.Limit(context, request.deadline)
        tokens = chat_template.encode(tokenizer, request.messages, variables, tools, special=special, limit=limit)
    plan = calling.plan(request, tokenizer, tokens)
    if plan is not None and plan.start:
        tokens += tokenizer.encode(plan.start, add_special_tokens=False)
    if inputs is not None:
        inputs = images.padded(inputs, len(tokens))
    return Asked(tokens, request.output or (plan and plan.output), plan, inputs)


def check_extra(request: ChatRequest) -> None:
    """Check that `extra` holds nothing but variables for the chat template.

    Raises:
        UnsupportedFeature: It does.
    """
    if unknown := sorted(set(request.extra) - {VARIABLES}):
        raise UnsupportedFeature(
            f"extra: the backend 'local' does not know {unknown[0]!r}.",
            next_step=f"It takes {VARIABLES!r}: variables for the chat template.",
        )


def check_tokens(tokens: Sequence[int], vocabulary: int | None, what: str = "The prompt") -> None:
    """Check that a model has an embedding for each token: some tokenizers have more tokens than their model.

    Args:
        tokens: Ids of the tokenizer.
        vocabulary: The number of rows of the model's embedding table, or None where that is not known.
        what: What the tokens are, for the message.

    Raises:
        InvalidRequest: It has none for one of them.
    """
    if vocabulary is not None and tokens and (largest := max(tokens)) >= vocabulary:
        raise InvalidRequest(
            f"{what} has the token {largest}, which the model's tokenizer knows and the model does not: its embedding "
            f"table has {vocabulary} rows.",
            next_step="Leave the added token out, or use a model whose embeddings were resized with its tokenizer.",
        )


def room(tokens: int, request: ChatRequest, voice: Voice) -> int:
    """Return how many tokens the answer to a prompt of so many tokens may have.

    Raises:
        ContextTooLong: The prompt leaves no room.
    """
    left = voice.context - tokens
    if left < 1:
        raise ContextTooLong(
            f"The prompt has {tokens} tokens and the model's context holds {voice.context}.",
            next_step=f"Shorten it to less than {voice.context} tokens, or use a model with a longer context.",
        )
    usual = getattr(voice.generation, "max_new_tokens", None)
    whole = getattr(voice.generation, "max_length", None)
    # Older releases of transformers fill in 20, which no model asks for. A prompt beyond it is no error here.
    if usual is None and whole is not None and whole != _USUAL_LENGTH and whole > tokens:
        usual = whole - tokens
    return min(left, request.max_tokens or usual or left)
