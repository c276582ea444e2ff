"""Images of a prompt: made into the tensors that the model takes, by its own processor."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

import torch

from openmodels.backends.local import templates
from openmodels.errors import InvalidRequest, UnsupportedFeature
from openmodels.images import Image
from openmodels.messages import ImagePart, Message

_PIXELS = 50 * 10**6
"""Pixels of an image at most: decoded, each takes three bytes and more."""


def encode(
    processor: Any,
    messages: Sequence[Message],
    variables: Mapping[str, Any],
    tools: Sequence[Mapping[str, Any]],
    dtype: torch.dtype,
) -> tuple[list[int], dict[str, torch.Tensor]]:
    """Return a conversation with images as tokens, and what the model takes beside them.

    Args:
        processor: A transformers processor, or None for a model that reads only text.
        messages: The conversation.
        variables: Further variables for the chat template.
        tools: Definitions of the tools that the model may call.
        dtype: The dtype of the images' tensors.

    Raises:
        UnsupportedFeature: The model reads only text.
        InvalidRequest: An image is not here, cannot be read or is too large, or the template refuses it.
        LoadFailed: The chat template is broken or hostile.
    """
    if processor is None:
        raise UnsupportedFeature(
            "The backend 'local' takes no 'images' for this model: it, or the engine that runs it, reads only text.",
            next_step="Use a vision-language model in safetensors, with engine='transformers'.",
        )
    template = processor.chat_template or ""
    turns = templates.turns(messages, _opened, template=template if isinstance(template, str) else "")
    templates.check(template)
    with templates.explained(messages):
        made = processor.apply_chat_template(
            turns,
            tools=list(tools) or None,
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            **templates.safety(processor),
            **variables,
        )
    tokens: list[int] = made["input_ids"][0].tolist()
    inputs = {
        name: value.to(dtype) if value.is_floating_point() else value
        for name, value in made.items()
        if name not in ("input_ids", "attention_mask") and isinstance(value, torch.Tensor)
    }
    return tokens, inputs


def padded(inputs: Mapping[str, torch.Tensor], tokens: int) -> dict[str, torch.Tensor]:
    """Return the tensors with those that go along the prompt's tokens as long as the prompt is now."""
    made = {}
    for name, value in inputs.items():
        missing = tokens - value.shape[-1] if name.endswith("token_type_ids") else 0
        made[name] = torch.nn.functional.pad(value, (0, missing))
    return made


def _opened(part: ImagePart) -> Any:
    """Return an image as PIL's, its size checked before its pixels are decoded."""
    from PIL import Image as Pil

    if part.url.startswith("data:"):
        part = Image(part.url)
    if part.url:
        raise InvalidRequest(
            "image: a local model needs the image itself, and addresses are not fetched unasked.",
            next_step="Write om.Image.fetch(url).",
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Pil.DecompressionBombWarning)
            image = Pil.open(BytesIO(part.data))
            if image.width * image.height > _PIXELS:
                raise InvalidRequest(f"image: it has more than {_PIXELS // 10**6} million pixels.")
            return image.convert("RGB")
    except (OSError, ValueError, SyntaxError, Pil.DecompressionBombWarning, Pil.DecompressionBombError) as error:
        if isinstance(error, InvalidRequest):
            raise
        raise InvalidRequest(f"image: it cannot be read: {error}.") from error
