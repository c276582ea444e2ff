"""Images of a prompt, turned into tensors by the model's own processor."""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import BatchEncoding

from openmodels.backends.local.prompt import chat_template
from openmodels.backends.local.weights import checkpoint
from openmodels.errors import InvalidRequest, MissingExtra, OpenModelsError, UnsupportedFeature
from openmodels.images import open_image
from openmodels.types.messages import Message

_PROCESSOR_FILES = ("processor_config.json", "preprocessor_config.json", "tokenizer_config.json")


def load_processor(folder: Path, model_type: str, options: Mapping[str, Any]) -> Any:
    """Return the processor of a model, or the error for requests that have images.

    Text alone needs no processor, so the model loads without a missing package, too.
    """
    from transformers import AutoProcessor

    try:
        return AutoProcessor.from_pretrained(folder, **options)
    except ImportError as error:
        package = "torchvision" if "torchvision" in str(error).lower() else str(getattr(error, "name", None) or "")
        if package == "torchvision" and (processor := _for_images(folder, model_type, options)) is not None:
            return processor
        missing = MissingExtra(
            f"The processor that reads this model's images needs {package or 'a package that is not installed'}.",
            next_step=f"Run: pip install {package}" if package else f"transformers says: {str(error).strip()[:200]}",
        )
        missing.__cause__ = error
        return missing


def _for_images(folder: Path, model_type: str, options: Mapping[str, Any]) -> Any:
    """Return the processor without its part for videos, or None.

    The processors of several families read videos too, and reading videos needs torchvision. Images do not:
    transformers has image processors on Pillow.
    """
    import transformers
    from transformers.models.auto.processing_auto import PROCESSOR_MAPPING_NAMES

    files = [folder / name for name in _PROCESSOR_FILES if (folder / name).is_file()]
    names = [checkpoint.read_json(file).get("processor_class") for file in files]
    name = next((name for name in names if isinstance(name, str)), PROCESSOR_MAPPING_NAMES.get(model_type))
    processor_class: Any = getattr(transformers, str(name), None)
    is_processor = isinstance(processor_class, type) and issubclass(processor_class, transformers.ProcessorMixin)
    if not is_processor:
        return None
    parts = [part for part in processor_class.get_attributes() if part != "video_processor"]
    without_videos: Any = type(
        processor_class.__name__, (processor_class,), {"get_attributes": classmethod(lambda _: parts)}
    )
    try:
        return without_videos.from_pretrained(folder, **options)
    except (ImportError, TypeError, ValueError, AttributeError):
        return None


def encode(
    tokenizer: Any,
    messages: Sequence[Message],
    variables: Mapping[str, Any],
    tools: Sequence[Mapping[str, Any]],
    *,
    processor: Any,
    dtype: torch.dtype,
) -> tuple[list[int], dict[str, torch.Tensor]]:
    """Return the tokens of a conversation with images, and the images' tensors.

    The processor is transformers', None for a model that reads only text, or the error for one whose processor could
    not be loaded. The rest is as for `chat_template.encode`.

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
    parts = [image for message in messages for image in message.images]
    if any(part.detail for part in parts):
        raise UnsupportedFeature(
            "The backend 'local' cannot honour the 'detail' of an image.", next_step="Leave it out, or scale the image."
        )
    images = list(map(open_image, parts))
    rendered = chat_template.render(tokenizer, messages, variables, tools)
    text, bos = rendered.text, tokenizer.bos_token
    options = {} if bos is None or not text.startswith(bos) else {"add_special_tokens": False}
    if rendered.is_marked:
        # Some processors count every place for an image, and ask the tokenizer for what it cannot give for marked text.
        text = chat_template.split_marked(text)
        processor = copy.copy(processor)
        processor.tokenizer = _MarkedTextTokenizer(tokenizer)
    try:
        outputs = processor(text=[text], images=[images], return_tensors="pt", **options)
    except (TypeError, ValueError, IndexError) as error:
        raise InvalidRequest(
            f"messages: the model's processor refuses the images: {error}.",
            next_step="The chat template must have a place for every image; some models take one image only.",
        ) from error
    tokens: list[int] = outputs["input_ids"][0].tolist()
    inputs = {
        name: value.to(dtype) if value.is_floating_point() else value
        for name, value in outputs.items()
        if name not in ("input_ids", "attention_mask", "labels") and isinstance(value, torch.Tensor)
    }
    return tokens, inputs


class _MarkedTextTokenizer:
    """A tokenizer for texts with marked control tokens; see `token_ids`."""

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
        # Only masks that generation does not read are computed from it, and marked text has no character offsets.
        encoding.char_to_token = lambda *_: 0
        return encoding


def pad_inputs(inputs: Mapping[str, torch.Tensor], tokens: int) -> dict[str, torch.Tensor]:
    """Return the tensors, the per-token ones padded to `tokens` tokens."""
    return {
        name: torch.nn.functional.pad(value, (0, tokens - value.shape[-1] if name.endswith("token_type_ids") else 0))
        for name, value in inputs.items()
    }
