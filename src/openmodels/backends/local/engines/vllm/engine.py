"""vLLM for a folder of safetensors: the command `vllm serve`."""

from __future__ import annotations

import os
import secrets
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from openmodels.backends.local import children, generation_config
from openmodels.backends.local.engine import EngineConfig
from openmodels.backends.local.engines.managed_server import ServerCommand
from openmodels.backends.local.engines.selection import find_command
from openmodels.backends.local.engines.server_engine import MODEL, ServerEngine
from openmodels.backends.local.prompt import tokenizer_files
from openmodels.backends.local.prompt.prepare import PromptConfig, SamplingParams
from openmodels.backends.local.weights import checkpoint, memory, model_kind
from openmodels.backends.local.weights.locate import locate
from openmodels.output.grammar.request_grammar import written
from openmodels.types.request import OutputFormat

_FEW_CORES = 4
"""Cores up to which one is too many to be kept from computing."""


class VllmEngine(ServerEngine):
    """A folder in vLLM's server; see `ServerEngine`."""

    name: ClassVar[str] = "vllm"
    honoured: ClassVar[frozenset[str]] = generation_config.VLLM

    def __init__(self, config: EngineConfig) -> None:
        super().__init__(config)
        self._folder: Path | None = None

    def prepare_command(self, deadline: float | None) -> ServerCommand:
        """Find the folder, read its tokenizer, and return how to serve it."""
        config = self.config
        folder = locate(config.model, revision=config.revision, deadline=deadline, dtype=config.dtype)
        model_config = checkpoint.read_json(folder / "config.json")
        made_with = (folder / "modules.json").exists()
        model_kind.check_generates(model_kind.of_config(model_config, sentence_transformers=made_with))
        self.prompt_config = _prompt_config(folder, self.config.chat_template)
        self._folder = folder
        key, port = secrets.token_urlsafe(24), _free_port()
        serve = [find_command(config), "serve", str(folder.absolute()), "--host", "127.0.0.1", "--port", str(port)]
        serve += ["--served-model-name", MODEL, "--dtype", self.config.dtype]
        program = children.watch(serve)
        # vLLM also reads the key from this variable; an argument would stand in the list of processes.
        environment = {"VLLM_API_KEY": key, "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
        environment |= _cpu_settings()
        return ServerCommand(self.name, program, key=key, model=MODEL, port=port, environment=environment)

    def sampling_fields(self, sampling: SamplingParams, prompt_length: int) -> dict[str, Any]:
        """Return the options as vLLM spells them."""
        generation = self.prompt_config.generation_config if self.prompt_config else None
        suppressed = getattr(generation, "suppress_tokens", None) or ()
        return {
            "top_k": sampling.top_k or -1,
            "repetition_penalty": sampling.repetition_penalty,
            "min_tokens": generation_config.least_tokens(generation, prompt_length),
            **({"logit_bias": dict.fromkeys(map(str, suppressed), -100)} if suppressed else {}),
        }

    def output_fields(self, output: OutputFormat) -> dict[str, Any]:
        """Return what the answer must look like, for vLLM's `structured_outputs`."""
        return {"structured_outputs": {"grammar": written(output, "gbnf", self.name)}}

    def control_token_fields(self, markers: list[str], stop_tokens: Mapping[str, int]) -> dict[str, Any]:
        """Return the tokens that end an answer and those that stay in its text."""
        tokens = [*(self.prompt_config.eos_token_ids if self.prompt_config else ()), *stop_tokens.values()]
        kept = {"skip_special_tokens": False} if markers else {}
        return kept | {"stop_token_ids": list(dict.fromkeys(tokens))}

    def describe(self) -> dict[str, Any]:
        """Return where the model is, how it runs and where its server is."""
        return {
            "path": str(self._folder) if self._folder else None,
            "device": "as vLLM chooses",
            "dtype": self.config.dtype,
            "context": self.prompt_config.context if self.prompt_config else None,
            **super().describe(),
        }


def _prompt_config(folder: Path, chat_template: str | None) -> PromptConfig:
    from transformers import AutoConfig

    from openmodels.backends.local.engines.torch.loader import context_length, exclusive_loading, translated_errors

    offline: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    with exclusive_loading(), translated_errors(folder):
        tokenizer = tokenizer_files.load_tokenizer(folder)
        tokenizer_files.install_template(tokenizer, folder, choice=chat_template)
        config = AutoConfig.from_pretrained(folder, **offline)
        generation = generation_config.read(folder, config)
        generation_config.warn(generation, generation_config.VLLM)
        rows = getattr(config.get_text_config(decoder=True), "vocab_size", None)
        return PromptConfig(tokenizer, generation, context_length(config, tokenizer), rows)


def _cpu_settings() -> dict[str, str]:
    """Return vLLM's settings for a CPU, but for those that the user has set."""
    # By itself it demands most of the machine's memory, and refuses to start where it is not free.
    settings = {"VLLM_CPU_KVCACHE_SPACE": str(max(1, memory.available() // 4 // 2**30))}
    # By itself it keeps a core for what is not computing: of two cores, half of the speed.
    cores = os.cpu_count() or 1
    if sys.platform == "linux" and cores <= _FEW_CORES and os.sched_getaffinity(0) == set(range(cores)):
        settings["VLLM_CPU_OMP_THREADS_BIND"] = f"0-{cores - 1}"
    return {name: value for name, value in settings.items() if name not in os.environ}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
