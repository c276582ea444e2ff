"""What running a model takes beside weights and cache, by the engines of the backend "local".

The constants were measured on Linux with torch 2.13, transformers 5.24 and llama.cpp of 2026-10.
"""

from __future__ import annotations

from openmodels.choose.fit_cache import CacheLayout, decoder_config
from openmodels.choose.fit_device import Device
from openmodels.choose.fit_files import ModelFiles

LIBRARIES = 450 * 10**6
"""Bytes of the interpreter, torch and transformers in host memory."""
LLAMACPP_LIBRARIES = 60 * 10**6
GPU_CONTEXT = 500 * 10**6
"""Bytes of a GPU's own memory that its driver and the compute libraries take for a process."""
CHUNK = 512
"""Tokens of prompts in one step of the engine on transformers, and in one of llama.cpp."""
_PACKED = ("llama", "mistral", "qwen2")
"""Model types whose matrices the engine lays out again on a CPU."""
_FREE_FACTOR = 4
"""How many times the matrices' size must be free for that."""


class Overhead:
    """The overhead of one model on one device, for any context.

    Attributes:
        assumptions: What the parts rest on.
    """

    def __init__(
        self, files: ModelFiles, device: Device, width: int | None, weights: int, layout: CacheLayout | None
    ) -> None:
        self._files, self._device, self._width, self._weights, self._layout = files, device, width, weights, layout
        text = decoder_config(files.config)
        self._hidden = _number(text, "hidden_size", "n_embd", "d_model")
        self._inner = _number(text, "intermediate_size", "n_inner", "ffn_dim", "d_ff", "moe_intermediate_size")
        self._vocabulary = _number(text, "vocab_size")
        if files.gguf is not None:
            self._hidden = files.gguf.read_number("embedding_length") or 0
            self._inner = files.gguf.read_number("feed_forward_length") or 4 * self._hidden
            self._vocabulary = files.gguf.tokens
        self.assumptions = self._describe()

    def parts(self, context: int, batch: int) -> dict[str, int]:
        """Return the parts in bytes."""
        tokens = min(CHUNK, context * batch)
        width = self._width or 4
        parts = {"interpreter and libraries": self._libraries()}
        parts["prefill activations"] = tokens * (6 * self._hidden + 3 * self._inner) * width
        parts["logits"] = batch * self._vocabulary * 4
        return parts

    def _libraries(self) -> int:
        if self._device.kind == "cuda":
            return GPU_CONTEXT
        return LIBRARIES if self._files.gguf is None else LLAMACPP_LIBRARIES

    def _describe(self) -> list[str]:
        return []


def _number(part: object, *names: str) -> int:
    values = part if isinstance(part, dict) else {}
    return next((values[name] for name in names if type(values.get(name)) is int and values[name] > 0), 0)
