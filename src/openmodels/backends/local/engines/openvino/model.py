"""Opening a GGUF file, or a folder in OpenVINO's format, in OpenVINO GenAI.

OpenVINO reads GGUF files of a few architectures and keeps their quantised weights. It writes what
it makes of one beside the file, so the file is linked into the folder of our cache that is being made.
"""

import importlib
import re
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Kind, GGUFValueType

from openmodels.backends.local import generation_config
from openmodels.backends.local.engine_protocol import EngineConfig
from openmodels.backends.local.engines.openvino.engine import last_line
from openmodels.backends.local.engines.selection import OPENVINO_ARCHITECTURES, OPENVINO_MODEL, GgufSource, find_gguf
from openmodels.backends.local.engines.torch.loader import exclusive_loading
from openmodels.backends.local.prompt import tokenizer_files
from openmodels.backends.local.prompt.prepare import PromptConfig
from openmodels.backends.local.weights import cache, checkpoint, disk_space, gguf_header, locate, memory, task_detection
from openmodels.errors import LoadFailed, OpenModelsError
from openmodels.hub.model_page import parse_context_length

_FORMAT = "openvino-2"
_MAX_KV_GB = 8
_LOSSLESS = frozenset({Kind.F32, Kind.F16, Kind.BF16, Kind.Q4_0, Kind.Q8_0})
"""What OpenVINO keeps as it is. Blocks with a minimum (Q4_1, Q4_K) it stores with a zero point that is rounded to a
whole number: of 170 short questions SmolLM2 in Q4_1 then answers 114 right, and 137 in llama.cpp."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A model that OpenVINO runs."""

    genai: Any  # the module `openvino_genai`
    pipeline: Any  # its `ContinuousBatchingPipeline`
    prompt_config: PromptConfig
    folder: Path
    dtype: str  # what its weights are stored in, e.g. "int4".
    kv_gb: int  # what its key-value cache may grow to, in 2^30 bytes

    def tensor(self, tokens: list[int]) -> Any:
        """Return a prompt's tokens as the pipeline takes them, shape (1, n)."""
        return importlib.import_module("openvino").Tensor(np.array([tokens], dtype=np.int64))


def find_source(config: EngineConfig, deadline: float | None) -> GgufSource:
    """Return the folder or file of a model, and a file's SHA-256 where it is known."""
    if locate.is_path(config.model) and (folder := Path(config.model).expanduser()).is_dir():
        if not (folder / OPENVINO_MODEL).is_file():
            raise LoadFailed(
                f"The folder {folder.name!r} is not in OpenVINO's format: it holds no openvino_model.xml.",
                next_step="Convert it with optimum-cli export openvino, name a .gguf file, "
                "or use engine='transformers'.",
            )
        return folder, None
    return find_gguf(config, deadline)


def open_model(
    source: Path, digest: str | None = None, deadline: float | None = None, *, chat_template: str | None = None
) -> Opened:
    """Load a .gguf file, or a folder that holds openvino_model.xml and a tokenizer.

    Raises:
        LoadFailed: The files are missing, damaged or not supported.
        InvalidRequest: The model has no chat template of that name.
        DoesNotFit: The weights are larger than the free memory.
        DeadlineExceeded: Another process was still converting the file when the time was up.
    """
    folder = source if source.is_dir() else get_converted(source, digest, deadline)
    config = checkpoint.read_json(folder / "config.json")
    task_detection.check_generates(task_detection.classify_folder(folder, config))
    memory.check_memory(sum(file.stat().st_size for file in folder.glob("*.bin")))
    try:
        with exclusive_loading():
            tokenizer = tokenizer_files.load_tokenizer(folder)
        tokenizer_files.install_template(tokenizer, folder, choice=chat_template)
        generation = generation_config.read_config(folder)
        generation_config.warn(generation, generation_config.OPENVINO)
        context = parse_context_length(config) or tokenizer_files.max_length(tokenizer)
        rows = config.get("vocab_size")
        prompt_config = PromptConfig(tokenizer, generation, context, rows if type(rows) is int else None)
        # Pages are taken as they are used; a quarter of what is free leaves room for everything else.
        kv_gb = max(1, min(_MAX_KV_GB, memory.available() // 4 // 2**30))
        genai = _import_genai()
        pipeline = _make_pipeline(genai, folder, kv_gb)
    except OpenModelsError:
        raise
    except Exception as error:
        raise _load_error(folder.name, error) from error
    return Opened(genai, pipeline, prompt_config, folder, _read_stored_dtype(folder), kv_gb)


def get_converted(file: Path, digest: str | None, deadline: float | None) -> Path:
    """Return the folder that OpenVINO loads a GGUF file from, made the first time."""
    header = gguf_header.read_header(file)
    task_detection.check_gguf(file.name, header)
    check_architecture(file.name, header)
    name = f"{digest or cache.file_digest(file)}-{_FORMAT}"
    folder = cache.weights_folder() / name
    if cache.is_intact(folder):
        return folder
    with cache.lock(name, deadline):
        if not folder.is_dir():
            # At most nine bits a weight, once in a file to read and once in OpenVINO's own.
            size = max(file.stat().st_size, header.elements * 9 // 8)
            memory.check_memory(size)
            disk_space.check_disk(cache.weights_folder(), 2 * size)
            with cache.build_folder(folder) as draft:
                _convert(file, header, draft)
    return folder


def check_architecture(name: str, header: gguf_header.GgufHeader) -> None:
    """Refuse a GGUF file whose architecture OpenVINO does not read, or not in full."""
    if header.has_rope_factors:
        raise LoadFailed(
            f"OpenVINO leaves out factors of the rotary embedding that {name} holds, as long contexts need.",
            next_step="Use engine='llamacpp', which reads them.",
        )
    architecture = header.architecture
    if architecture not in OPENVINO_ARCHITECTURES:
        raise LoadFailed(
            f"OpenVINO does not read {name}: its architecture is {architecture!r}.",
            next_step=f"It reads {', '.join(OPENVINO_ARCHITECTURES)}; use engine='llamacpp' or engine='transformers'.",
        )


def _convert(file: Path, header: gguf_header.GgufHeader, draft: Path) -> None:
    # Imported late: only a conversion needs it.
    from openmodels.backends.local.weights import convert

    convert.gguf_tokenizer(file, draft, header)
    source = draft / "model.gguf"
    try:
        if is_lossless(file):
            source.symlink_to(file.resolve())
        else:
            requantize(file, source)
        _make_pipeline(_import_genai(), source, 1, enable_save_ov_model=True)
        tokenizer = tokenizer_files.load_tokenizer(draft)
        # OpenVINO's grammars read the vocabulary from a tokenizer of its own.
        with _without_telemetry():
            import openvino
            import openvino_tokenizers

            encoder, decoder = openvino_tokenizers.convert_tokenizer(tokenizer, with_detokenizer=True)
            openvino.save_model(encoder, draft / "openvino_tokenizer.xml")
            openvino.save_model(decoder, draft / "openvino_detokenizer.xml")
    except Exception as error:
        raise _load_error(file.name, error) from error
    finally:
        source.unlink(missing_ok=True)
    if not (draft / OPENVINO_MODEL).is_file():
        raise LoadFailed(
            f"OpenVINO kept no converted model of {file.name}.",
            next_step="Try another version of openvino-genai, or engine='llamacpp'.",
        )


def is_lossless(file: Path) -> bool:
    """Return whether OpenVINO keeps all weights of a file as they are."""
    return all(tensor.tensor_type in _LOSSLESS for tensor in gguf.GGUFReader(file).tensors)


def requantize(file: Path, target: Path) -> None:
    """Write a copy of a GGUF file with the tensors that OpenVINO rounds in Q8_0."""
    reader = gguf.GGUFReader(file)
    writer = gguf.GGUFWriter(target, str(reader.fields["general.architecture"].contents()))
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name in ("general.architecture", "general.file_type"):
            continue
        kind, *inner = field.types
        writer.add_key_value(name, field.contents(), kind, inner[-1] if kind is GGUFValueType.ARRAY else None)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    for tensor in reader.tensors:
        data, kind = tensor.data, tensor.tensor_type
        if kind not in _LOSSLESS:
            data, kind = gguf.quantize(gguf.dequantize(data, kind), Kind.Q8_0), Kind.Q8_0
        writer.add_tensor(tensor.name, data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _import_genai() -> Any:
    with _without_telemetry():
        return importlib.import_module("openvino_genai")


def _make_pipeline(genai: Any, path: Path, kv_gb: int, **properties: Any) -> Any:
    settings = genai.SchedulerConfig()
    settings.cache_size = kv_gb
    # The keys and values of a conversation's history are computed once.
    settings.enable_prefix_caching = True
    # By default keys and values are kept in 8 bits: of 170 short questions 129 are answered right, and 132 in 16.
    return genai.ContinuousBatchingPipeline(str(path), settings, "CPU", {"KV_CACHE_PRECISION": "f16", **properties})


@contextmanager
def _without_telemetry() -> Generator[None, None, None]:
    """Import OpenVINO with its telemetry out of reach.

    `import openvino` sends an event to its makers and writes an id into the user's home. Where the
    package `openvino_telemetry` cannot be imported, it uses a stub that does nothing.
    """
    name = "openvino_telemetry"
    if name in sys.modules:  # the program around us has imported it for itself
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[name]


def _read_stored_dtype(folder: Path) -> str:
    """Return the narrowest type of the model's weights; scales and norms are wider."""
    types = set(re.findall(r'element_type="(\w+)"', (folder / OPENVINO_MODEL).read_text(encoding="utf-8")))
    names = {"int4": {"u4", "i4", "nf4"}, "int8": {"u8", "i8"}, "float16": {"f16"}, "bfloat16": {"bf16"}}
    return next((name for name, spellings in names.items() if types & spellings), "float32")


def _load_error(name: str, error: Exception) -> LoadFailed:
    return LoadFailed(
        f"OpenVINO cannot load {name}: {last_line(error)}.", next_step="Use engine='llamacpp' or engine='transformers'."
    )
