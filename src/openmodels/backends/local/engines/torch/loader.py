"""The loading of a model from a folder, on its device and in its dtype."""

import errno
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import (
    CONFIG_MAPPING,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
)
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
)
from transformers.quantizers.auto import AutoHfQuantizer

from openmodels.backends.local import generation_config
from openmodels.backends.local.engines.torch import checkpoint_check, device as devices
from openmodels.backends.local.engines.torch.torch_setup import garbage_collection_paused
from openmodels.backends.local.prompt import images, tokenizer_files
from openmodels.backends.local.prompt.prepare import PromptConfig
from openmodels.backends.local.weights import checkpoint, memory, model_metadata, task_detection
from openmodels.errors import LoadFailed, MissingExtra, OpenModelsError, OutOfMemory, UnsafeWeights, UnsupportedFeature
from openmodels.hub.model_page import CONTEXT_KEYS, UNBOUNDED

_BIDIRECTIONAL = frozenset(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES) & frozenset(MODEL_FOR_MASKED_LM_MAPPING_NAMES)
"""Model types that generate only where their config says `is_decoder`."""


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model ready to run."""

    model: Any  # the transformers model, in evaluation mode
    tokenizer: Any
    device: torch.device
    dtype: torch.dtype
    context: int  # the most tokens that prompt and answer may have together
    # The processor of images; None for a model that reads only text, or the error that names what it lacks.
    processor: Any = None
    draft: Any = None  # a smaller model of the same vocabulary that proposes draft tokens, or None

    @property
    def vocab_size(self) -> int | None:
        """The number of rows of the embedding table, or None where the model has none."""
        try:
            weight = getattr(self.model.get_input_embeddings(), "weight", None)
        except NotImplementedError:  # a few models of transformers have no single table
            return None
        return None if weight is None else int(weight.shape[0])

    @property
    def generation_config(self) -> Any:
        """The model's own `GenerationConfig`; None for a model that does not generate."""
        return getattr(self.model, "generation_config", None)

    @property
    def prompt_config(self) -> PromptConfig:
        """What the model's files say of its prompts and answers."""
        return PromptConfig(self.tokenizer, self.generation_config, self.context, self.vocab_size)


def load(
    folder: Path,
    *,
    device: str = "auto",
    dtype: str = "auto",
    kind: Any = AutoModelForCausalLM,
    exact: bool = False,
    chat_template: str | None = None,
) -> LoadedModel:
    """Load a model and its tokenizer, without network and without code of the model.

    The class `kind` of transformers reads the model. With `exact`, "auto" keeps the precision of the weights where less
    would be faster. `chat_template` names one of the model's templates, or is a template.

    Raises:
        InvalidRequest: An unknown device or dtype, or float16 on a CPU.
        NotConfigured: The device is not there.
        LoadFailed: The files are missing, damaged or not supported.
        UnsafeWeights: Only pickles, or the model needs code of its own.
        DoesNotFit: The weights are larger than the free memory.
        OutOfMemory: Memory ran out all the same.
    """
    config = checkpoint.check_folder(folder)
    checkpoint.check_config(config)
    generates = kind is AutoModelForCausalLM
    if generates:
        task_detection.check_generates(task_detection.classify_folder(folder, config))
    model_type = config.get("model_type")
    if not isinstance(model_type, str) or model_type not in CONFIG_MAPPING:
        raise LoadFailed(
            f"transformers does not know the model type {model_type!r}.",
            next_step=f"Try a newer transformers; {transformers.__version__} is installed.",
        )
    chosen = devices.choose_device(device)
    torch_dtype = devices.choose_dtype(dtype, chosen, config, exact=exact)
    _check_size(folder, config, chosen, torch_dtype)
    with exclusive_loading(), translated_errors(folder):
        options: dict[str, Any] = {"trust_remote_code": False, "local_files_only": True}
        dequantized = check_quantization(config, chosen)
        parsed = AutoConfig.from_pretrained(folder, **options)
        # A config.json may name other files than the ones that were checked.
        parsed.transformers_weights = None
        if str(config.get("_attn_implementation") or config.get("attn_implementation")).startswith("flash"):
            # Where its package is missing, transformers would fetch such a kernel from the Hub and run it.
            parsed._attn_implementation = "sdpa"  # noqa: SLF001 - transformers has no other name for it
        is_known = type(parsed) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
        has_vision = generates and is_known and model_metadata.has_vision(folder, config)
        if generates and not has_vision:
            _check_generates(parsed)
        tokenizer = tokenizer_files.load_tokenizer(folder, config=parsed)
        processor = None
        if has_vision:
            kind, processor = AutoModelForImageTextToText, images.load_processor(folder, parsed.model_type, options)
        tokenizer_files.install_template(tokenizer, folder, choice=chat_template, processor=processor)
        if dequantized:
            with torch.device("meta"):
                elements = sum(weights.numel() for weights in kind.from_config(parsed).parameters())
            memory.check_memory(elements * torch_dtype.itemsize, chosen)
        model, report = kind.from_pretrained(
            folder,
            config=parsed,
            dtype=torch_dtype,
            use_safetensors=True,
            device_map=None if chosen.type == "cpu" else {"": chosen},
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # the report names them
            **options,
        )
        checkpoint_check.check(model, report, encoder=not generates)
        model.eval()
        loaded = LoadedModel(model, tokenizer, chosen, torch_dtype, context_length(model.config, tokenizer), processor)
        generation_config.warn(loaded.generation_config, generation_config.TRANSFORMERS)
        return loaded


def limit_context(loaded: LoadedModel, length: Any) -> LoadedModel:
    """Return an encoder for texts of at most `length` tokens, and of what it takes."""
    limits = [loaded.context, tokenizer_files.max_length(loaded.tokenizer)]
    if type(length) is int and length > 0:
        limits.append(length)
    for name, module in loaded.model.named_modules():
        padding = getattr(module, "padding_idx", None)
        if name.endswith("position_embeddings") and padding is not None:
            # RoBERTa and its kin count positions from behind that of padding.
            limits.append(module.num_embeddings - padding - 1)
    return replace(loaded, context=min(limits))


_loading = threading.RLock()


@contextmanager
def exclusive_loading() -> Generator[None, None, None]:
    """Load one model at a time, with warnings and bars of transformers off."""
    # One at a time, since two would be promised the same memory, and those switches are global.
    logging = transformers.utils.logging
    with _loading:
        verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        try:
            with garbage_collection_paused():
                yield
        finally:
            logging.set_verbosity(verbosity)
            if bars:
                logging.enable_progress_bar()


@contextmanager
def translated_errors(folder: Path) -> Generator[None, None, None]:
    """Raise errors of transformers, which reads a folder in this block, as our own."""
    try:
        yield
    except OpenModelsError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise out_of_memory() from error
        if "trust_remote_code" in str(error):
            raise UnsafeWeights(
                "The model needs Python code out of its own repository, which is never run.",
                next_step="Choose a model that transformers supports by itself.",
            ) from error
        lines = [line.strip() for line in str(error).replace(str(folder), folder.name).splitlines() if line.strip()]
        raise LoadFailed(
            f"transformers cannot load this model: {type(error).__name__}: {' '.join(lines[:2]).rstrip('.')}.",
            next_step="Its weights are whole: check what the message names in its other files, or try a newer "
            f"transformers; {transformers.__version__} is installed.",
        ) from error


def translate_error(error: BaseException, action: str, out_of_memory_step: str) -> OpenModelsError:
    """Return the error for one of torch or transformers, which becomes its cause."""
    failure: OpenModelsError
    if is_out_of_memory(error):
        failure = OutOfMemory(f"Memory ran out while the model was to {action}.", next_step=out_of_memory_step)
    else:
        failure = LoadFailed(
            f"The model failed to {action}: {type(error).__name__}: {str(error).rstrip('.')}.",
            next_step=f"Try a newer transformers ({transformers.__version__} is installed), or another model.",
        )
    failure.__cause__ = error
    return failure


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error of torch or the system means that memory ran out."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    text = str(error).lower()
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and ("can't allocate memory" in text or "out of memory" in text)
    )


def out_of_memory() -> OutOfMemory:
    """Return the error for memory that ran out while loading."""
    return OutOfMemory(
        "Memory ran out while the model was being loaded.",
        next_step="Choose a smaller or quantised model, or close other programs.",
    )


def _check_generates(config: Any) -> None:
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        if type(config) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
            raise LoadFailed(
                f"The model ({config.model_type}) reads images, and its folder has nothing that makes tensors of them.",
                next_step="Add preprocessor_config.json (or processor_config.json) of the model that it was made from.",
            )
        task_detection.check_generates(
            task_detection.DetectedTask(
                "other", f"of a type that transformers generates no text with ({config.model_type})"
            )
        )
    if config.model_type in _BIDIRECTIONAL and not (
        getattr(config, "is_decoder", False) or getattr(config, "causal", False)
    ):
        raise UnsupportedFeature(
            f"The model ({config.model_type}) is an encoder: its config.json does not say that it is a decoder "
            "(is_decoder), and the backend 'local' has no 'chat' and 'complete' for it.",
            next_step="Use `embed` for its vectors, or choose a model that generates text (…ForCausalLM).",
        )


_WIDTHS = ("vocab_size", "hidden_size", "intermediate_size", "num_attention_heads", "head_dim", "n_embd", "d_model")
_LAYERS = ("num_hidden_layers", "num_layers", "n_layer", "n_layers")


def _check_size(folder: Path, config: Mapping[str, Any], device: torch.device, dtype: torch.dtype) -> None:
    tensors = [tensor for file in checkpoint.weight_files(folder) for tensor in checkpoint.read_tensors(file)]
    # transformers would build all of a model of nonsense before it looks at the weights.
    most = dict.fromkeys(_WIDTHS, max(10**6, sum(tensor.elements for tensor in tensors)))
    most |= dict.fromkeys(_LAYERS, max(1000, len(tensors)))
    nested = config.get("text_config")
    for part in (config, nested if isinstance(nested, Mapping) else {}):
        for name in most.keys() & part.keys():
            if type(part[name]) is int and part[name] > most[name]:
                raise LoadFailed(
                    f"config.json names {part[name]:,} as {name}, and the weights hold {len(tensors):,} tensors of "
                    f"{sum(tensor.elements for tensor in tensors):,} numbers.",
                    next_step="Use the config.json that the weights were saved with.",
                )
    memory.check_memory(sum(tensor.size(dtype.itemsize) for tensor in tensors), device)


def context_length(config: Any, tokenizer: Any) -> int:
    """Return the longest sequence in tokens."""
    # A sliding window limits what a layer sees, not the length.
    text = config.get_text_config(decoder=True)
    for name in CONTEXT_KEYS:
        length = getattr(text, name, None)
        if type(length) is int and 0 < length < UNBOUNDED:
            return length
    # Recurrent and ALiBi models have no limit of their own; the tokenizer may know one.
    return tokenizer_files.max_length(tokenizer)


_QUANTIZATION_PACKAGES = {
    "aqlm": "aqlm[cpu,gpu]",
    "awq": "gptqmodel",
    "eetq": "kernels",
    "fbgemm_fp8": "fbgemm-gpu",
    "gptq": "optimum gptqmodel",
    "higgs": "flute-kernel",
    "mxfp8": "kernels",
    "quanto": "optimum-quanto",
    "quark": "amd-quark",
    "spqr": "spqr_quant[gpu]",
}
"""The packages that transformers needs, by method, where they are not named like it; its own messages name them too."""
_RUN_BY_VLLM = frozenset(
    {"awq", "gptq", "bitsandbytes", "compressed-tensors", "fp8", "fbgemm_fp8", "modelopt", "torchao"}
)
_QUANTIZATION_ENTRIES = ("quantization_config", "compression_config", "quantization")
_UNQUANTIZED = "a version of the model in its own precision, or a GGUF file of it"


def check_quantization(config: Mapping[str, Any], device: torch.device) -> bool:
    """Check that a device runs a quantisation; return whether it dequantises."""
    nested = config.get("text_config")
    parts = (config, nested if isinstance(nested, Mapping) else {})
    entry = next((part[name] for part in parts for name in _QUANTIZATION_ENTRIES if part.get(name) is not None), None)
    if entry is None:
        return False
    if not isinstance(entry, Mapping):
        raise LoadFailed(
            "config.json: quantization_config is no object.",
            next_step="Use the config.json that the weights were saved with.",
        )
    method = _read_method(entry)
    try:
        known = AutoHfQuantizer.supports_quant_method(dict(entry))
    except (ValueError, TypeError):  # it names no method, or something that cannot be one
        known = False
    if not known:
        raise UnsupportedFeature(
            f"The weights are quantised with {method!r}, which transformers does not know.",
            next_step=f"Use {_UNQUANTIZED}.",
        )
    device_map = None if device.type == "cpu" else {"": device}
    try:
        quantizer = AutoHfQuantizer.from_config(dict(entry), pre_quantized=True)
        quantizer.validate_environment(device_map=device_map, weights_only=True)
    except Exception as error:
        reason = str(error).strip().partition("\n")[0].rstrip(".")
        others = _UNQUANTIZED + (", or engine='vllm' on a GPU" if method in _RUN_BY_VLLM else "")
        if isinstance(error, ImportError):
            raise MissingExtra(
                f"The weights are quantised with {method!r}, and transformers needs a package for it: {reason}.",
                next_step=f"Run: pip install {_QUANTIZATION_PACKAGES.get(method, method)}; or use {others}.",
            ) from error
        raise UnsupportedFeature(
            f"The weights are quantised with {method!r}, which transformers does not run on {device.type!r} here: "
            f"{reason}.",
            next_step=f"Use {others}.",
        ) from error
    return bool(getattr(quantizer.quantization_config, "dequantize", False))


def _read_method(entry: Mapping[str, Any]) -> str:
    if entry.get("load_in_4bit") or entry.get("load_in_8bit"):
        return "bitsandbytes"
    if isinstance(method := entry.get("quant_method"), str):
        return method
    return "mlx" if {"group_size", "bits"} <= entry.keys() else "an unnamed method"
