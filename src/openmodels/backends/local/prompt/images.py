"""Images of a prompt: made into the tensors that the model takes, by its own processor."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from transformers import BatchEncoding

from openmodels.backends.local.prompt import chat_template
from openmodels.errors import InvalidRequest, OpenModelsError, UnsupportedFeature
from openmodels.images import open_image
from openmodels.types.messages import ImagePart, Message


def encode(
    processor: Any,
    tokenizer: Any,
    messages: Sequence[Message],
    variables: Mapping[str, Any],
    *,
    tools: Sequence[Mapping[str, Any]],
    dtype: torch.dtype,
) -> tuple[list[int], dict[str, torch.Tensor]]:
    """Return a conversation with images as tokens, and what the model takes beside them.

    Args:
        processor: A transformers processor, None for a model that reads only text, or the error for one whose
            processor could not be loaded.
        tokenizer: Its tokenizer, which holds the chat template.
        messages: The conversation.
        variables: Further variables for the chat template.
        tools: Definitions of the tools that the model may call.
        dtype: The dtype of the images' tensors.

    Raises:
        UnsupportedFeature: The model reads only text.
        InvalidRequest: An image is not here, cannot be read or is too large, or the template refuses it.
        MissingExtra: The processor needs a package that is not installed.
        LoadFailed: The chat template is broken or hostile.
    """
    if processor is None:
        raise UnsupportedFeature(
            "The backend 'local' takes no 'images' for this model: it, or the engine that runs it, reads only text.",
            next_step="Use a vision-language model in safetensors, with engine='transformers'.",
        )
    if isinstance(processor, OpenModelsError):
        raise copy.copy(processor) from processor.__cause__
    images = [_opened(image) for message in messages for image in message.images]
    rendered = chat_template.render(tokenizer, messages, variables, tools)
    options: dict[str, Any] = {"return_tensors": "pt"}
    bos = tokenizer.bos_token
    if bos is not None and rendered.text.startswith(bos):
        options["add_special_tokens"] = False
    text = rendered.text
    if rendered.marked:
        # Some processors count every place for an image, and ask for what a tokenizer does not give of marked text.
        text = chat_template.split_marked(text)
        processor = copy.copy(processor)
        processor.tokenizer = _Marked(tokenizer)
    try:
        made = processor(text=[text], images=[images], **options)
    except (TypeError, ValueError, IndexError) as error:
        raise InvalidRequest(
            f"messages: the model's processor refuses the images: {error}.",
            next_step="The chat template must have a place for every image; some models take one image only.",
        ) from error
    tokens: list[int] = made["input_ids"][0].tolist()
    inputs = {
        name: value.to(dtype) if value.is_floating_point() else value
        for name, value in made.items()
        if name not in ("input_ids", "attention_mask", "labels") and isinstance(value, torch.Tensor)
    }
    return tokens, inputs


class _Marked:
    """A tokenizer for texts in which the control tokens that a user typed are marked; see `templates.token_ids`.

    Args:
        tokenizer: A transformers tokenizer.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)

    def __call__(self, text: str | list[str], *, add_special_tokens: bool = True, **options: Any) -> BatchEncoding:
        texts = [text] if isinstance(text, str) else text
        ids = [
            chat_template.token_ids(self._tokenizer, each, marked=True, special=add_special_tokens) for each in texts
        ]
        data = {"input_ids": ids, "attention_mask": [[1] * len(each) for each in ids]}
        encoding = BatchEncoding(data, tensor_type=options.get("return_tensors"))
        # It serves only masks that generation does not read, and what it is called on has no characters.
        encoding.char_to_token = lambda *_: 0
        return encoding


def padded(inputs: Mapping[str, torch.Tensor], tokens: int) -> dict[str, torch.Tensor]:
    """Return the tensors with those that go along the prompt's tokens as long as the prompt is now."""
    made = {}
    for name, value in inputs.items():
        missing = tokens - value.shape[-1] if name.endswith("token_type_ids") else 0
        made[name] = torch.nn.functional.pad(value, (0, missing))
    return made


def _opened(part: ImagePart) -> Any:
    """Return an image as PIL's."""
    if part.detail:
        raise UnsupportedFeature(
            "The backend 'local' cannot honour the 'detail' of an image.", next_step="Leave it out, or scale the image."
        )
    return open_image(part)
