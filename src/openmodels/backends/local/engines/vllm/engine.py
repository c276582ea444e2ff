"""vLLM for a folder of safetensors: the command `vllm serve`."""

import os
import secrets
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from openmodels.backends.local import generation_config, subprocesses
from openmodels.backends.local.engines.selection import find_command
from openmodels.backends.local.engines.server_engine import PostJson, ServerEngine
from openmodels.backends.local.engines.server_process import MODEL, ServerCommand
from openmodels.backends.local.prompt import tokenizer_files
from openmodels.backends.local.prompt.prepare import PreparedRequest, PromptConfig
from openmodels.backends.local.prompt.scoring import PreparedScores
from openmodels.backends.local.weights import checkpoint, memory, task_detection
from openmodels.backends.local.weights.locate import locate_folder
from openmodels.openai_wire import prompt_logprobs

_FEW_CORES = 4  # cores up to which one is too many to be kept from computing


class VllmEngine(ServerEngine):
    """A folder in vLLM's server; see `ServerEngine`."""

    name: ClassVar[str] = "vllm"
    device: ClassVar[str] = "as vLLM chooses"
    honoured: ClassVar[frozenset[str]] = generation_config.VLLM

    def prepare_command(self, deadline: float | None) -> ServerCommand:
        """Find the folder, read its tokenizer, and return how to serve it."""
        config = self.config
        folder = locate_folder(config.model, revision=config.revision, deadline=deadline, dtype=config.dtype)
        model_config = checkpoint.read_json(folder / "config.json")
        task_detection.check_generates(task_detection.classify_folder(folder, model_config))
        self.prompt_config = _prompt_config(folder, config.chat_template)
        self.path, self.context = folder, self.prompt_config.context
        key, port = secrets.token_urlsafe(24), _free_port()
        serve = [find_command(config), "serve", str(folder.absolute()), "--host", "127.0.0.1", "--port", str(port)]
        serve += ["--served-model-name", MODEL, "--dtype", config.dtype]
        # vLLM also reads the key from this variable; an argument would stand in the list of processes.
        environment = {"VLLM_API_KEY": key, "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
        return ServerCommand(
            subprocesses.supervised_command(serve), key, port=port, environment=environment | _cpu_settings()
        )

    def sampling_fields(self, prepared: PreparedRequest, generation: Any) -> dict[str, Any]:
        """Return the options as vLLM spells them."""
        suppressed = getattr(generation, "suppress_tokens", None) or ()
        return {
            "top_k": prepared.sampling.top_k or -1,
            "repetition_penalty": prepared.sampling.repetition_penalty,
            "min_tokens": generation_config.least_tokens(generation, len(prepared.prompt.tokens)),
            **({"logit_bias": dict.fromkeys(map(str, suppressed), -100)} if suppressed else {}),
        }

    async def compute_logprobs(self, prepared: PreparedScores, post: PostJson) -> list[list[tuple[float, bool | None]]]:
        """Return what the server says of both as one prompt; see `ServerEngine`."""
        sequences = [prepared.prompt + tokens for tokens in prepared.continuations]
        body = await post("/v1/completions", prompt_logprobs.encode_sequences(sequences, MODEL))
        scores = prompt_logprobs.read_scores(body, len(prepared.prompt), prepared.continuations, prepared.texts)
        return [[(token.logprob, token.is_likeliest) for token in score.tokens] for score in scores]

    def grammar_fields(self, grammar: str) -> dict[str, Any]:
        """Return the grammar for vLLM's `structured_outputs`."""
        return {"structured_outputs": {"grammar": grammar}}

    def control_token_fields(self, markers: list[str], stop_tokens: Mapping[str, int]) -> dict[str, Any]:
        """Return the tokens that end an answer and those that stay in its text."""
        tokens = [*(self.prompt_config.eos_token_ids if self.prompt_config else ()), *stop_tokens.values()]
        kept = {"skip_special_tokens": False} if markers else {}
        return kept | {"stop_token_ids": list(dict.fromkeys(tokens))}

    def describe(self) -> dict[str, Any]:
        """Return where the model is, how it runs and where its server is."""
        return {**super().describe(), "dtype": self.config.dtype}


def _prompt_config(folder: Path, chat_template: str | None) -> PromptConfig:
    from transformers import AutoConfig

    from openmodels.backends.local.engines.torch.loader import context_length, exclusive_loading, translated_errors

    offline: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    with exclusive_loading(), translated_errors(folder):
        tokenizer = tokenizer_files.load_tokenizer(folder)
        tokenizer_files.install_template(tokenizer, folder, choice=chat_template)
        config = AutoConfig.from_pretrained(folder, **offline)
        generation = generation_config.read_config(folder, config)
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
