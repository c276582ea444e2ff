"""The engine of a model: the caller's, or the best of those that are installed.

docs/engines.md holds the measurements behind the order.
"""

from functools import partial
from pathlib import Path
from typing import NamedTuple

from openmodels import settings
from openmodels.backends.local import subprocesses
from openmodels.backends.local.engine_protocol import Engine, EngineConfig, EngineSpec
from openmodels.backends.local.runtime import RUNTIME
from openmodels.errors import InvalidRequest, LoadFailed, MissingExtra, NotConfigured, UnsupportedFeature
from openmodels.output.grammar.notation import write_grammar
from openmodels.types.request import ChatRequest

OPENVINO_MODEL = "openvino_model.xml"
OPENVINO_ARCHITECTURES = ("llama", "qwen2", "qwen3")
"""GGUF architectures that OpenVINO GenAI 2026 reads:
https://openvinotoolkit.github.io/openvino.genai/docs/guides/gguf"""

GgufSource = tuple[Path, str | None]  # a .gguf file or a folder, and the file's SHA-256 where it is already known


class SelectedEngine(NamedTuple):
    """The engine that runs a model, and why, in a few words."""

    engine: str
    reason: str


class EngineSelection:
    """Chooses the engine for a model and makes it: the one of a name, or the best.

    Raises:
        InvalidRequest: The engine is not registered, or the command belongs to another one.
        UnsupportedFeature: The engine cannot honour an option.
        MissingExtra: Its package is not installed.
        NotConfigured: Its command is not there.
    """

    def __init__(self, engine: str, config: EngineConfig) -> None:
        self._engine, self._config = engine, config
        self._choice: SelectedEngine | None = None
        transformers_options = {
            "draft": config.draft is not None,
            "max_batch": config.max_batch is not None,
            "max_kv_gb": config.max_kv_bytes is not None,
            "deterministic": config.deterministic,
        }
        self._transformers_option = next((option for option, is_set in transformers_options.items() if is_set), None)
        names = ("auto", *RUNTIME.engines)
        if engine not in names:
            raise InvalidRequest(f"engine: expected {', '.join(map(repr, names))}, not {engine!r}.")
        if config.command is not None and (engine == "auto" or not RUNTIME.engines[engine].takes_command):
            raise InvalidRequest("engine_command: only the engine 'vllm' is run by a command.")
        if engine != "auto":
            self._check_engine(RUNTIME.engines[engine])

    def _check_engine(self, spec: EngineSpec) -> None:
        engine, config, refused = self._engine, self._config, None
        if self._transformers_option is not None and engine != "transformers":
            refused = f"the option {self._transformers_option!r}"
        elif not spec.takes_dtype and config.dtype != "auto":
            refused = "the option 'dtype': it computes with the file's own"
        elif spec.devices == ("auto",) and config.device != "auto":
            refused = "the option 'device': it chooses by itself"
        elif spec.devices is not None and config.device not in spec.devices:
            refused = f"device={config.device!r}: it runs on the CPU here"
        if refused is not None:
            raise UnsupportedFeature(
                f"The engine {engine!r} cannot honour {refused}.",
                next_step="Leave it out, or use engine='transformers'.",
            )
        if not spec.is_installed:
            raise MissingExtra(
                f"The engine {engine!r} needs the package {spec.package!r}, which is not installed.",
                next_step=f"Run: {settings.install_hint(engine)}",
            )
        if spec.takes_command:
            find_command(config)

    def options(self) -> frozenset[str]:
        """Return the call options of the engine; until one is chosen, of transformers."""
        engine = self._choice.engine if self._choice else self._engine
        return RUNTIME.engines["transformers" if engine == "auto" else engine].capabilities.options

    def make(self, deadline: float | None) -> Engine:
        """Choose the engine and make it; see `choose`."""
        return RUNTIME.engines[self.choose(deadline).engine].make(self._config)

    def peek(self) -> SelectedEngine | None:
        """Return the choice; None where a file that may not be here yet decides."""
        from openmodels.backends.local.weights import locate

        is_undecided = self._engine == "auto" and locate.names_gguf(self._config.model)
        return self._choice or (None if is_undecided else self.choose(None))

    def check(self, request: ChatRequest) -> None:
        """Check that the engine, perhaps chosen only now, honours a request's options.

        Raises:
            UnsupportedFeature: It does not, or it cannot keep an answer to the form that is asked for.
            InvalidRequest: No answer has this form.
        """
        engine = self.choose(request.deadline).engine
        capabilities = RUNTIME.engines[engine].capabilities
        if missing := sorted(request.options - capabilities.options):
            raise UnsupportedFeature(
                f"The engine {engine!r} of the backend 'local' cannot honour the option {missing[0]!r}.",
                next_step="Leave it out, or choose another engine with engine=….",
            )
        if request.output is not None:
            # On the caller's thread, before any work: the engine's own then has it at hand.
            write_grammar(request.output, capabilities.grammar, engine)

    def check_scores(self, deadline: float | None) -> None:
        """Check that the engine, perhaps chosen only now, scores given continuations.

        Raises:
            UnsupportedFeature: It does not.
        """
        engine = self.choose(deadline).engine
        if not RUNTIME.engines[engine].capabilities.scores:
            raise UnsupportedFeature(
                f"The engine {engine!r} of the backend 'local' has no 'score' and no 'decide': it does not "
                "give the exact probabilities of a given text.",
                next_step="Use engine='transformers'.",
            )

    def choose(self, deadline: float | None) -> SelectedEngine:
        """Return the engine; a GGUF file on the Hub is fetched, for its header decides."""
        if self._choice is None:
            self._choice = self._choose(deadline)
        return self._choice

    def _choose(self, deadline: float | None) -> SelectedEngine:
        model, device, dtype = self._config.model, self._config.device, self._config.dtype
        if self._engine != "auto":
            return SelectedEngine(self._engine, f"engine={self._engine!r} was asked for")
        if self._transformers_option is not None:
            return _transformers(f"of the engines only transformers honours {self._transformers_option}=")
        # Imported late: a base install has not what it needs.
        from openmodels.backends.local.weights import locate

        if locate.is_path(model) and (Path(model).expanduser() / OPENVINO_MODEL).is_file():
            return SelectedEngine("openvino", "the folder holds a model in OpenVINO's own format")
        if not locate.names_gguf(model):
            return _transformers("transformers runs safetensors in every supported architecture on every device")
        if dtype != "auto":
            return _transformers(f"of the engines for GGUF only transformers honours dtype={dtype!r}")
        if not _is_cpu(device):
            return _transformers("the model runs on an accelerator, and the other engines on the CPU only")
        file = locate.locate_model(model, revision=self._config.revision, deadline=deadline)
        return _transformers("the name is a folder's") if file.is_dir() else _choose_for_gguf(file)


def find_command(config: EngineConfig) -> str:
    """Return the path of the command `vllm`, or raise `NotConfigured`."""
    if path := subprocesses.find_program(config.command or "vllm"):
        return path
    raise NotConfigured(
        f"The command {config.command or 'vllm'!r} of the engine 'vllm' is not there.",
        next_step="Install vLLM in an environment of its own and write "
        "engine='vllm', engine_command='/path/to/its/bin/vllm'.",
    )


def find_gguf(config: EngineConfig, deadline: float | None) -> GgufSource:
    """Return the GGUF file of a model, fetched where need be, or raise `LoadFailed`."""
    # Imported late: a base install has not what they need.
    from openmodels.backends.local.weights import default_model, locate

    if locate.names_gguf(config.model):
        return locate.locate_model(config.model, revision=config.revision, deadline=deadline), None
    if f"local:{config.model}" == settings.DEFAULT_MODEL and config.revision is None:
        return default_model.get_gguf(deadline), default_model.SHA256
    raise LoadFailed(
        f"{config.model!r} names no GGUF file, and that is what this engine reads.",
        next_step="Name one, e.g. 'local:org/model-GGUF/model-q4_k_m.gguf', or use engine='transformers'.",
    )


_transformers = partial(SelectedEngine, "transformers")


def _choose_for_gguf(file: Path) -> SelectedEngine:
    # Imported late: a folder of safetensors needs no reader of GGUF.
    from openmodels.backends.local.weights import gguf_header, memory, task_detection

    header = gguf_header.read_header(file)
    task_detection.check_gguf(file.name, header)
    name = repr(header.architecture)
    is_readable = header.architecture in OPENVINO_ARCHITECTURES and not header.has_rope_factors
    if is_readable and RUNTIME.engines["openvino"].is_installed:
        return SelectedEngine("openvino", f"the fastest engine installed that reads GGUF files of {name} on a CPU")
    if RUNTIME.engines["llamacpp"].is_installed:
        lacks = "its rotary factors" if header.has_rope_factors else f"the architecture {name}"
        why = "OpenVINO is not installed" if is_readable else f"OpenVINO does not read {lacks}"
        return SelectedEngine("llamacpp", f"it runs any GGUF file from its own quantised weights; {why}")
    needed, free = 2 * header.elements, memory.available()
    size = f"its weights become {memory.gigabytes(needed)} of bfloat16, {memory.gigabytes(free)} are free"
    return _transformers(f"neither openvino-genai nor xllamacpp is installed; {size}")


def _is_cpu(device: str) -> bool:
    if device == "auto":
        import torch  # late: it takes a second

        return not torch.accelerator.is_available()
    return device == "cpu"
