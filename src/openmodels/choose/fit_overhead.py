"""What running a model takes beside weights and cache.

What no model changes is in `backends.local.weights.process_memory`. The constants were measured like those there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from openmodels.backends.local.weights.process_memory import GPU_CONTEXT, count_libraries, count_runtime
from openmodels.choose.fit_cache import CacheLayout, decoder_config, first_number
from openmodels.choose.fit_device import Device
from openmodels.choose.fit_files import ModelFiles
from openmodels.choose.fit_report import gigabytes

BFLOAT16_RUNTIME = 25 * 10**6
"""Bytes more of the kernels that oneDNN compiles for bfloat16."""
_CPU_NUMBER = 9
"""Bytes that a number of the activations takes on a CPU in either dtype: work space is in float32, held twice."""
_RECURRENT_NUMBER = 20
"""The same with recurrent layers, which compute parts of a prompt at once."""
CHUNK = 512
"""Tokens of prompts in one step of the engine on transformers, and in one of llama.cpp."""
_PACKED = ("llama", "mistral", "qwen2")
"""Model types whose matrices the engine on transformers lays out again on a CPU (`FusedLlama`)."""
_RETAINED = 512 * 10**6
"""Bytes of ended answers that the engine on transformers keeps at most; else an eighth of what is free."""
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
        self._device, self._weights, self._layout = device, weights, layout
        self._is_gguf = files.gguf is not None
        self._width = width or 4
        text = decoder_config(files.config)
        if files.gguf is not None:
            self._hidden = files.gguf.read_number("embedding_length") or 0
            self._inner = files.gguf.read_number("feed_forward_length") or 4 * self._hidden
            self._vocabulary = files.gguf.tokens
        else:
            self._hidden = _number(text, "hidden_size", "n_embd", "d_model")
            self._inner = _number(text, "intermediate_size", "n_inner", "ffn_dim", "d_ff") or 4 * self._hidden
            self._vocabulary = files.count_vocabulary(self._hidden) or _number(text, "vocab_size")
        self._matrices = 0
        self._head = 0
        if (
            not self._is_gguf
            and device.kind == "cpu"
            and text.get("model_type") in _PACKED
            and not text.get("sliding_window")
        ):
            matrices = files.linear_bytes(self._width)
            if _FREE_FACTOR * matrices < device.available:
                self._matrices = matrices
                self._head = self._vocabulary * self._hidden * self._width if files.is_tied else 0
        self._experts = 0
        if device.kind == "cpu" and 2 * files.separate_expert_bytes(width) + weights < device.available:
            self._experts = files.separate_expert_bytes(width)
        names = ("qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim")
        heads, sizes = _number(text, "num_attention_heads"), sum(_number(text, name) for name in names)
        self._latent_heads, self._latent_sizes = (heads, sizes) if _number(text, "kv_lora_rank") else (0, 0)
        # Its keys and values are stored for each query head (`FalconAttention`), whatever the config shares.
        is_repeated = text.get("model_type") == "falcon" and text.get("new_decoder_architecture") is True
        self._repeats = heads // (_number(text, "num_kv_heads") or heads) if is_repeated and heads else 1
        self.assumptions = self._describe()

    def parts(self, context: int, batch: int) -> dict[str, int]:
        """Return the parts in bytes."""
        tokens = min(CHUNK, context * batch)
        parts = {"interpreter and libraries": self._libraries()}
        if self._device.kind != "cuda":
            parts["tokenizer and kernels"] = self._runtime()
        parts["prefill activations"] = tokens * (6 * self._hidden + 3 * self._inner) * self._number_bytes()
        if self._latent_heads:
            parts["keys, values and scores made from latents"] = self._latent_work(tokens, context, batch)
        parts["logits"] = batch * self._vocabulary * 4
        if self._head:
            parts["output matrix beside the token table"] = self._head
        layers = self._layout.layers if self._layout else ()
        cache = self._layout.count_bytes(context, batch, self._width) if self._layout else 0
        if not self._is_gguf and (sliding := [layer for layer in layers if layer.window and layer.window < context]):
            # A window is a view of what was computed last, which stays whole until the next is joined.
            newest = tokens * sum(layer.per_token for layer in sliding) * self._width
            parts["tokens of a step beside the windows"] = 2 * newest
        if self._repeats > 1:
            parts["keys and values repeated for each query head"] = (self._repeats - 1) * cache
        if batch > 1 and not self._is_gguf and layers and all(layer.kind == "full" for layer in layers):
            parts["ended answers kept for later ones"] = min(2 * cache // 3, _RETAINED, self._device.available // 8)
        if self._matrices:
            running = sum(parts.values()) - self._libraries() - self._runtime() - self._head
            # The largest matrix, that of the output, is copied once more before it is laid out.
            loading = self._matrices + self._vocabulary * self._hidden * self._width
            parts["second copy of the matrices while loading"] = max(0, loading - self._head - running - cache)
        if self._experts:
            parts["experts of the file beside the joined ones"] = self._experts
        return parts

    def _latent_work(self, tokens: int, context: int, batch: int) -> int:
        """Return the bytes of one layer's attention over latents."""
        # On a CPU, matrices in half precision are converted, and scores exist before and after the softmax.
        on_cpu = self._device.kind == "cpu"
        number = _CPU_NUMBER * 4 // self._width if on_cpu else self._width
        score = (2 if on_cpu else 1) * self._width
        return self._latent_heads * context * (batch * self._latent_sizes * number + 2 * tokens * score)

    def _libraries(self) -> int:
        return count_libraries(self._device.kind, is_gguf=self._is_gguf)

    def _runtime(self) -> int:
        is_half = not self._is_gguf and self._width == 2
        return count_runtime(self._device.kind, is_gguf=self._is_gguf) + (BFLOAT16_RUNTIME if is_half else 0)

    def _number_bytes(self) -> int:
        if self._is_gguf or self._device.kind != "cpu":
            return self._width
        has_states = self._layout is not None and any(layer.state32 for layer in self._layout.layers)
        return _RECURRENT_NUMBER if has_states else _CPU_NUMBER

    def _describe(self) -> list[str]:
        engine = "llama.cpp" if self._is_gguf else "the engine on transformers"
        step = f"overhead: {engine} computes {CHUNK} tokens of prompts in a step; logits are of the last token of each"
        lines = [f"{step} sequence, in float32"]
        if self._device.kind == "cuda":
            lines.append(f"interpreter and libraries: {gigabytes(GPU_CONTEXT)} of the GPU's memory, by experience")
        else:
            lines.append(
                f"interpreter and libraries: {gigabytes(self._libraries())}, measured on Linux; they are part of the "
                "overhead, and shared with other models in the process"
            )
        if self._matrices:
            lines.append("loading: matrices are laid out for this CPU, and the file's own are dropped afterwards")
        if self._repeats > 1:
            lines.append("the cache counts each key and value once; transformers repeats them for each query head")
        if self._experts:
            lines.append(
                "loading: transformers joins experts that the file holds one by one; the system drops the pages of the "
                "file where memory is short"
            )
        return lines


def _number(part: Mapping[str, Any], *names: str) -> int:
    return first_number(part, *names) or 0
