"""Which engine runs a model: what was asked for, or the measured best of what is installed.

docs/engines.md holds the measurements behind the order.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from openmodels import settings
from openmodels.backends.local import children
from openmodels.errors import InvalidRequest, MissingExtra, NotConfigured, UnsupportedFeature

if TYPE_CHECKING:
    from openmodels.output.grammar.request_grammar import Notation

OPENVINO_MODEL = "openvino_model.xml"
ENGINES = ("auto", "transformers", "openvino", "llamacpp", "vllm")


@dataclass(frozen=True, slots=True)
class Choice:
    """The engine that runs a model.

    Attributes:
        engine: One of `ENGINES` without "auto".
        reason: Why, in a few words.
    """

    engine: str
    reason: str


@dataclass(frozen=True, slots=True)
class Wish:
    """What a caller says of the engine and where it is to run.

    Attributes:
        engine: One of `ENGINES`.
        device: As for `LocalBackend`.
        dtype: As for `LocalBackend`.
        command: The command `vllm` of its own environment, or None to look for it on PATH.
        own: An option given that only transformers honours, or None.
    """

    engine: str
    device: str
    dtype: str
    command: str | None = None
    own: str | None = None

    def check(self) -> None:
        """Check what can be told without looking at the model.

        Raises:
            InvalidRequest: There is no such engine, or `command` belongs to another one.
            UnsupportedFeature: The engine cannot honour the device or dtype.
            MissingExtra: Its package is not installed.
            NotConfigured: Its command is not there.
        """
        if self.engine not in ENGINES:
            raise InvalidRequest(f"engine: expected {', '.join(map(repr, ENGINES))}, not {self.engine!r}.")
        if self.command is not None and self.engine != "vllm":
            raise InvalidRequest("engine_command: only the engine 'vllm' is run by a command.")
        if self.own is not None and self.engine not in ("auto", "transformers"):
            raise UnsupportedFeature(
                f"The engine {self.engine!r} cannot honour the option {self.own!r}.",
                next_step="Leave it out, or use engine='transformers'.",
            )
        if self.engine in ("openvino", "llamacpp"):
            if self.dtype != "auto":
                raise UnsupportedFeature(
                    f"The engine {self.engine!r} cannot honour the option 'dtype': it computes with the file's own.",
                    next_step="Leave it out, or use engine='transformers'.",
                )
            if self.device not in ("auto", "cpu"):
                raise UnsupportedFeature(
                    f"The engine {self.engine!r} cannot honour device={self.device!r}: it runs on the CPU here.",
                    next_step="Leave it out, or use engine='transformers'.",
                )
            if not installed(self.engine):
                raise MissingExtra(
                    f"The engine {self.engine!r} needs the package {_MODULES[self.engine]!r}, which is not installed.",
                    next_step=f"Run: {settings.install_hint(self.engine)}",
                )
        if self.engine == "vllm":
            if self.device != "auto":
                raise UnsupportedFeature("The engine 'vllm' cannot honour the option 'device': it chooses by itself.")
            self.vllm()

    def vllm(self) -> str:
        """Return the path of the command `vllm`.

        Raises:
            NotConfigured: It is not there.
        """
        if found := children.find_program(self.command or "vllm"):
            return found
        raise NotConfigured(
            f"The command {self.command or 'vllm'!r} of the engine 'vllm' is not there.",
            next_step="Install vLLM in an environment of its own and write "
            "engine='vllm', engine_command='/path/to/its/bin/vllm'.",
        )


OPENVINO_ARCHITECTURES = ("llama", "qwen2", "qwen3")
"""GGUF architectures that OpenVINO GenAI 2026 reads:
https://openvinotoolkit.github.io/openvino.genai/docs/guides/gguf"""
_SHARED = frozenset(
    {
        "temperature",
        "top_p",
        "top_k",
        "max_tokens",
        "stop",
        "seed",
        "frequency_penalty",
        "presence_penalty",
        "repetition_penalty",
        "schema",
        "choices",
        "pattern",
        "grammar",
        "tool_choice",
        "extra",
        "tools",
    }
)
OPTIONS = {"openvino": _SHARED | {"n"}, "llamacpp": _SHARED, "vllm": _SHARED}
"""The call options that an engine honours; transformers' are `LocalBackend.options`."""
NOTATIONS: dict[str, Notation] = {"transformers": "lark", "openvino": "gbnf", "llamacpp": "gbnf", "vllm": "gbnf"}
"""The notation of grammars that an engine reads."""
_MODULES = {"openvino": "openvino_genai", "llamacpp": "xllamacpp"}


def installed(engine: str) -> bool:
    """Return whether an engine's package is installed; imports nothing."""
    return importlib.util.find_spec(_MODULES[engine]) is not None


def choose(wish: Wish, rest: str, revision: str | None, deadline: float | None) -> Choice:
    """Return the engine for a model; a GGUF file on the Hub is fetched, for its header decides.

    Args:
        wish: What the caller says.
        rest: What stands behind "local:".
        revision: Branch, tag or commit on the Hub.
        deadline: `time.monotonic()` value after which no new step is begun, or None.

    Raises:
        OpenModelsError: What `weights.source` raises.
    """
    if wish.engine != "auto":
        return Choice(wish.engine, f"engine={wish.engine!r} was asked for")
    if wish.own is not None:
        return Choice("transformers", f"of the engines only transformers honours {wish.own}=")
    # Imported late: a base install has not what it needs.
    from openmodels.backends.local.weights import locate

    if locate.is_path(rest) and (Path(rest).expanduser() / OPENVINO_MODEL).is_file():
        return Choice("openvino", "the folder holds a model in OpenVINO's own format")
    if not locate.names_gguf(rest):
        return Choice("transformers", "transformers runs safetensors in every supported architecture on every device")
    if wish.dtype != "auto":
        return Choice("transformers", f"of the engines for GGUF only transformers honours dtype={wish.dtype!r}")
    if not _on_cpu(wish.device):
        return Choice("transformers", "the model runs on an accelerator, and the other engines on the CPU only")
    file = locate.source(rest, revision=revision, deadline=deadline)
    return Choice("transformers", "the name is a folder's") if file.is_dir() else _for_gguf(file)


def _for_gguf(file: Path) -> Choice:
    # Imported late: a folder of safetensors needs no reader of GGUF.
    from openmodels.backends.local.weights import gguf_header, memory, model_kind

    header = gguf_header.read(file)
    model_kind.check_gguf(file.name, header)
    architecture = header.architecture
    readable = architecture in OPENVINO_ARCHITECTURES and not header.has_rope_factors
    if readable and installed("openvino"):
        return Choice("openvino", f"the fastest engine installed that reads GGUF files of {architecture!r} on a CPU")
    if installed("llamacpp"):
        lacks = "its rotary factors" if header.has_rope_factors else f"the architecture {architecture!r}"
        why = "OpenVINO is not installed" if readable else f"OpenVINO does not read {lacks}"
        return Choice("llamacpp", f"it runs any GGUF file from its own quantised weights; {why}")
    needed, free = 2 * header.elements, memory.available()
    room = f"its weights become {memory.gigabytes(needed)} of bfloat16, {memory.gigabytes(free)} are free"
    return Choice("transformers", f"neither openvino-genai nor xllamacpp is installed; {room}")


def _on_cpu(device: str) -> bool:
    if device == "auto":
        import torch  # late: it takes a second

        return not torch.accelerator.is_available()
    return device == "cpu"
