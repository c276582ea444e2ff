"""What makes tensors of a vision-language model's images, also where torchvision is not installed.

The processors of several families read videos too, and reading videos needs torchvision. Images do not: transformers
has image processors on Pillow. So where only the videos' part is missing, the processor is made without it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import transformers
from transformers import AutoProcessor
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING_NAMES

from openmodels.backends.local.weights import checkpoint
from openmodels.errors import MissingExtra

_FILES = ("processor_config.json", "preprocessor_config.json", "tokenizer_config.json")


def load(folder: Path, model_type: str, options: Mapping[str, Any]) -> Any:
    """Return a model's transformers processor, or the error to raise where a request has images.

    Text alone needs no processor, so that a missing package is no reason not to load the model.

    Args:
        folder: The model's folder.
        model_type: As its config names it.
        options: What transformers' `from_pretrained` gets.
    """
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
    """Return the processor without its part for videos; None where it needs torchvision all the same."""
    names = [checkpoint.read_json(folder / name).get("processor_class") for name in _FILES if (folder / name).is_file()]
    name = next((name for name in names if isinstance(name, str)), PROCESSOR_MAPPING_NAMES.get(model_type))
    whole: Any = getattr(transformers, str(name), None)
    is_processor = isinstance(whole, type) and issubclass(whole, transformers.ProcessorMixin)
    if not is_processor:
        return None
    parts = [part for part in whole.get_attributes() if part != "video_processor"]
    kind = type(whole.__name__, (whole,), {"get_attributes": classmethod(lambda _: parts)})
    try:
        return kind.from_pretrained(folder, **options)  # type: ignore[attr-defined]  # a processor's
    except (ImportError, TypeError, ValueError, AttributeError):
        return None
