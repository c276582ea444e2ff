"""Prompts in a model's own terms: their tokens, sampling parameters and limits.

Every engine reads them from here, so a change of engine changes the arithmetic and nothing else.
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

from openmodels.backends.local import generation_config
from openmodels.backends.local.prompt import chat_template, images, length_check
from openmodels.backends.local.reasoning_parser import control_tokens
from openmodels.backends.local.tool_call_format import (
    ToolCallFormat,
    check_tools,
    encode_definitions,
    offered_tools,
    resolve_tool_call_format,
)
from openmodels.errors import ContextTooLong, InvalidRequest, UnsupportedFeature
from openmodels.types.request import ChatRequest, ResponseFormat

_LEGACY_MAX_LENGTH = 20
"""The `max_length` that older releases of transformers write into every generation config; no model asks for it."""
CHAT_TEMPLATE_KWARGS = "chat_template_kwargs"  # the entry of `extra` that holds variables for the chat template


@dataclass(frozen=True, slots=True)
class PromptConfig:
    """What a model's files say of its prompts and answers."""

    tokenizer: Any  # the transformers tokenizer
    generation_config: Any  # the transformers `GenerationConfig`
    context: int  # the most tokens that prompt and answer may have together
    vocab_size: int | None = None  # the number of rows of the embedding table, or None where that is unknown

    @property
    def eos_token_ids(self) -> list[int]:
        """The tokens that end an answer: those of the files, and what closes a turn."""
        configured = getattr(self.generation_config, "eos_token_id", None)
        listed = configured if isinstance(configured, list) else [configured]
        tokens = (*listed, self.tokenizer.eos_token_id, chat_template.turn_end(self.tokenizer))
        return list(dict.fromkeys(token for token in tokens if token is not None))

    def stop_tokens(self, stops: Sequence[str]) -> dict[str, int]:
        """Return the control tokens among the stop strings, by their text.

        The token that closes a turn is always among them.

        Raises:
            UnsupportedFeature: A stop string holds a control token and more, which the decoded text leaves out.
        """
        control = {text: token for token, text in control_tokens(self.tokenizer).items()}
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
        return generation_config.stop_strings(self.generation_config)


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """The sampling options of a request, with the model's own defaults filled in."""

    temperature: float  # 0 is greedy
    top_p: float  # 1 is all
    top_k: int  # 0 is all
    repetition_penalty: float  # divides the scores of tokens that came before; 1 is off
    seed: int  # the caller's, or a random one
    min_p: float = 0.0  # the probability, relative to the largest, below which a token is not drawn; 0 is off
    frequency_penalty: float = 0.0  # taken from a token's score for each time that it came; 0 is off
    presence_penalty: float = 0.0  # taken once from the score of each token that came; 0 is off

    @classmethod
    def from_request(cls, request: ChatRequest, defaults: Any) -> Self:
        """Fill what a request leaves open from a `GenerationConfig`, like transformers."""
        do_sample = getattr(defaults, "do_sample", False)

        def default(name: str) -> Any:
            return getattr(defaults, name, None) if do_sample else None

        samples = do_sample or request.top_p is not None or request.top_k is not None
        temperatures = (request.temperature, default("temperature"), 1.0 if samples else 0.0)
        top_ks = (request.top_k, default("top_k"), generation_config.TOP_K if do_sample else 0)
        return cls(
            temperature=next(value for value in temperatures if value is not None),
            top_p=request.top_p or default("top_p") or 1.0,
            top_k=next(value for value in top_ks if value is not None),
            min_p=default("min_p") or 0.0,
            repetition_penalty=request.repetition_penalty or getattr(defaults, "repetition_penalty", None) or 1.0,
            seed=secrets.randbits(63) if request.seed is None else request.seed,
            frequency_penalty=request.frequency_penalty or 0.0,
            presence_penalty=request.presence_penalty or 0.0,
        )


class PreparedPrompt(NamedTuple):
    """A prompt as the model gets it."""

    tokens: list[int]  # the token ids, with those that the answer is forced to begin with
    output: ResponseFormat | None  # the form that the answer must have
    tool_format: ToolCallFormat | None  # the format of tool calls; None where the request offers no tools
    # The tensors of the images, by the model's names for them; None without images.
    inputs: dict[str, Any] | None = None


def prepare_prompt(
    request: ChatRequest, tokenizer: Any, context: int, processor: Any = None, dtype: Any = None
) -> PreparedPrompt:
    """Render and tokenize the prompt of a request.

    Without a processor, of images, the model or its engine reads only text. The images' tensors are of `dtype`.

    Raises:
        InvalidRequest: The tokenizer makes no token of the prompt, or an image cannot be read.
        UnsupportedFeature: The model has no chat template or none that knows tools, a demanded call cannot be
            forced, or the template's variables in `extra` are not a dict.
        LoadFailed: The chat template is broken or hostile.
        ContextTooLong: The prompt is so long that tokenizing it is needless.
        DeadlineExceeded: The deadline passed during tokenization.
    """
    if request.prompt is not None:
        length_check.check_length(tokenizer, request.prompt, context, request.deadline)
        tokens: list[int] = tokenizer(request.prompt)["input_ids"]
        if not tokens:
            raise InvalidRequest("prompt: the model's tokenizer makes no token of it.")
        return PreparedPrompt(tokens, request.output, None)
    variables = request.extra.get(CHAT_TEMPLATE_KWARGS, {})
    if not isinstance(variables, Mapping):
        raise UnsupportedFeature(f"extra: {CHAT_TEMPLATE_KWARGS!r} must hold a dict of variables.")
    check_tools(request, tokenizer)
    chat = (tokenizer, request.messages, variables, encode_definitions(offered_tools(request)))
    inputs = None
    if any(message.images for message in request.messages):
        tokens, inputs = images.encode(*chat, processor=processor, dtype=dtype)
    else:
        # A processor lets the tokenizer add what the template does not write, with images or without.
        special = processor is not None
        tokens = chat_template.encode(*chat, special=special, context=context, deadline=request.deadline)
    tool_format = resolve_tool_call_format(request, tokenizer, tokens)
    if tool_format is not None and tool_format.start:
        tokens += tokenizer.encode(tool_format.start, add_special_tokens=False)
    if inputs is not None:
        inputs = images.pad_inputs(inputs, len(tokens))
    return PreparedPrompt(tokens, request.output or (tool_format and tool_format.output), tool_format, inputs)


class PreparedRequest(NamedTuple):
    """A request in the model's own terms, the same for every engine."""

    prompt: PreparedPrompt
    sampling: SamplingParams  # the sampling options
    max_new_tokens: int  # how many tokens the answer may have


def prepare_request(
    request: ChatRequest, config: PromptConfig, *, processor: Any = None, dtype: Any = None, allow_extra: bool = False
) -> PreparedRequest:
    """Prepare a request for an engine; a long prompt takes seconds.

    With `allow_extra`, `extra` may hold more than variables for the chat template.

    Raises:
        ContextTooLong: The prompt fills the context.
        UnsupportedFeature: `extra` holds what the engine does not know.
        OpenModelsError: What `prepare_prompt` raises.
    """
    if not allow_extra:
        check_extra(request.extra)
    prompt = prepare_prompt(request, config.tokenizer, config.context, processor, dtype)
    check_tokens(prompt.tokens, config.vocab_size)
    max_new_tokens = _resolve_max_new_tokens(len(prompt.tokens), request, config)
    return PreparedRequest(prompt, SamplingParams.from_request(request, config.generation_config), max_new_tokens)


def check_extra(extra: Mapping[str, Any]) -> None:
    """Check that `extra` holds nothing but variables for the chat template.

    Raises:
        UnsupportedFeature: It holds something else.
    """
    if unknown := sorted(set(extra) - {CHAT_TEMPLATE_KWARGS}):
        raise UnsupportedFeature(
            f"extra: the backend 'local' does not know {unknown[0]!r}.",
            next_step=f"It takes {CHAT_TEMPLATE_KWARGS!r}: variables for the chat template.",
        )


def check_tokens(tokens: Sequence[int], vocab_size: int | None, what: str = "The prompt") -> None:
    """Check that the model has an embedding for each token of its tokenizer.

    Raises:
        InvalidRequest: The model has no embedding for one of them.
    """
    if vocab_size is not None and tokens and (largest := max(tokens)) >= vocab_size:
        raise InvalidRequest(
            f"{what} has the token {largest}, which the model's tokenizer knows and the model does not: its embedding "
            f"table has {vocab_size} rows.",
            next_step="Leave the added token out, or use a model whose embeddings were resized with its tokenizer.",
        )


def _resolve_max_new_tokens(tokens: int, request: ChatRequest, config: PromptConfig) -> int:
    left = config.context - tokens
    if left < 1:
        raise ContextTooLong(
            f"The prompt has {tokens} tokens and the model's context holds {config.context}.",
            next_step=f"Shorten it to less than {config.context} tokens, or use a model with a longer context.",
        )
    default = getattr(config.generation_config, "max_new_tokens", None)
    max_length = getattr(config.generation_config, "max_length", None)
    # A prompt beyond `max_length` is not an error: the field counts the prompt, and users rarely know it.
    if default is None and max_length is not None and max_length != _LEGACY_MAX_LENGTH and max_length > tokens:
        default = max_length - tokens
    return min(left, request.max_tokens or default or left)
