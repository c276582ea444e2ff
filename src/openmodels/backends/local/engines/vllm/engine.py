"""vLLM for a folder of safetensors: the command `vllm serve`, of whichever environment it is installed in."""

from __future__ import annotations

import os
import secrets
import socket
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from openmodels.backends.local import children, generation_config
from openmodels.backends.local.engines.managed_server import Start
from openmodels.backends.local.engines.server_engine import MODEL, Served
from openmodels.backends.local.prompt import tokenizer_files
from openmodels.backends.local.prompt.prepare import PromptConfig, SamplingParams
from openmodels.backends.local.weights import checkpoint, memory, model_kind
from openmodels.output.grammar.request_grammar import written
from openmodels.types.request import OutputFormat

_FEW_CORES = 4
"""Cores up to which one is too many to be kept from computing."""


class Vllm(Served):
    """A folder in vLLM's server.

    Args:
        rest: The model's name in its reference.
        find: Finds the folder, until a deadline.
        command: The command `vllm`, a path where it is not on PATH.
        dtype: What `--dtype` gets.
        chat_template: The name of one of the model's chat templates, or a template; None is its default.
        repetition_stop: Whether a cycle ends an answer.
    """

    engine: ClassVar[str] = "vllm"

    def __init__(
        self,
        rest: str,
        find: Callable[[float | None], Path],
        *,
        command: str,
        dtype: str,
        chat_template: str | None = None,
        repetition_stop: bool = True,
    ) -> None:
        super().__init__(rest, repetition_stop=repetition_stop)
        self._find, self._command, self._dtype = find, command, dtype
        self._chat_template = chat_template
        self._folder: Path | None = None

    def prepare(self, deadline: float | None) -> Start:
        """Find the folder, read its tokenizer; say how to serve it."""
        folder = self._find(deadline)
        config = checkpoint.read_json(folder / "config.json")
        made_with = (folder / "modules.json").exists()
        model_kind.check_generates(model_kind.of_config(config, sentence_transformers=made_with))
        self.prompt_config = _prompt_config(folder, self._chat_template)
        self._folder = folder
        key, port = secrets.token_urlsafe(24), _free_port()
        serve = [self._command, "serve", str(folder.absolute()), "--host", "127.0.0.1", "--port", str(port)]
        serve += ["--served-model-name", MODEL, "--dtype", self._dtype]
        program = children.watched(serve)
        # vLLM also reads the key from this variable; an argument would stand in the list of processes.
        environment = {"VLLM_API_KEY": key, "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
        environment |= _cpu_settings()
        return Start(self.engine, program, key=key, model=MODEL, port=port, environment=environment)

    def fields(self, sampling: SamplingParams, prompt: int) -> dict[str, Any]:
        """Return the options as vLLM spells them."""
        assert self.prompt_config is not None  # noqa: S101 - the server has been prepared
        generation = self.prompt_config.generation_config
        suppressed = getattr(generation, "suppress_tokens", None) or ()
        return {
            "top_k": sampling.top_k or -1,
            "repetition_penalty": sampling.repetition_penalty,
            "min_tokens": generation_config.least_tokens(generation, prompt),
            **({"logit_bias": dict.fromkeys(map(str, suppressed), -100)} if suppressed else {}),
        }

    def shape(self, output: OutputFormat) -> dict[str, Any]:
        """Return what the answer must look like, for vLLM's `structured_outputs`."""
        return {"structured_outputs": {"grammar": written(output, "gbnf", self.engine)}}

    def markers(self, texts: list[str], ends: Mapping[str, int]) -> dict[str, Any]:
        """Return the tokens that end an answer, and that control tokens stay in the text where markers are such."""
        tokens = [*(self.prompt_config.eos_token_ids if self.prompt_config else ()), *ends.values()]
        kept = {"skip_special_tokens": False} if texts else {}
        return kept | {"stop_token_ids": list(dict.fromkeys(tokens))}

    def describe(self) -> dict[str, Any]:
        """Return where the model is, how it runs and where its server is."""
        return {
            "path": str(self._folder) if self._folder else None,
            "device": "as vLLM chooses",
            "dtype": self._dtype,
            "context": self.prompt_config.context if self.prompt_config else None,
            "not_honoured": self.not_honoured(generation_config.VLLM),
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
    """Return what vLLM is told where it runs on a CPU, but for what the user says; on a GPU it does not read it."""
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
