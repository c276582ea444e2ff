"""llama.cpp for any GGUF file: its own server, from the package xllamacpp."""

import json
import math
import os
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from openmodels.backends.local import generation_config
from openmodels.backends.local.engines.selection import find_gguf
from openmodels.backends.local.engines.server_engine import PostJson, ServerEngine
from openmodels.backends.local.engines.server_process import MODEL, READY, ServerCommand
from openmodels.backends.local.prompt import tokenizer_files
from openmodels.backends.local.prompt.prepare import PreparedRequest, PromptConfig
from openmodels.backends.local.prompt.scoring import PreparedScores
from openmodels.backends.local.weights import cache, gguf_header, memory, task_detection
from openmodels.errors import InvalidResponse, LoadFailed, UnsupportedFeature
from openmodels.openai_wire.decode import json_object

_EVERY_TOKEN = 2**20  # more than any vocabulary holds
_FORCING_BIAS = 1e6  # added to the score of a token that must come
PARALLEL = 32  # answers that the server computes together; more wait for a place
_MAX_CONTEXTS = 4  # whole contexts that the answers being made may fill together, if the memory allows it


class LlamaCppEngine(ServerEngine):
    """A GGUF file in llama.cpp's server; see `ServerEngine`."""

    name: ClassVar[str] = "llamacpp"
    device: ClassVar[str] = "cpu"
    honoured: ClassVar[frozenset[str]] = generation_config.LLAMACPP

    def prepare_command(self, deadline: float | None) -> ServerCommand:
        """Find the file, read its tokenizer, and return how to serve it."""
        file, digest = find_gguf(self.config, deadline)
        header = gguf_header.read_header(file)
        task_detection.check_gguf(file.name, header)
        memory.check_memory(file.stat().st_size)
        context = _read_context(header)
        self.prompt_config = _prompt_config(file, digest, header, deadline)
        if self.config.chat_template is not None:
            if self.prompt_config is None:
                raise UnsupportedFeature(
                    "The engine 'llamacpp' cannot honour the option 'chat_template' for this file: only llama.cpp "
                    "itself reads its tokenizer, and renders the file's own template.",
                    next_step="Leave it out.",
                )
            tokenizer_files.install_template(
                self.prompt_config.tokenizer, file.parent, choice=self.config.chat_template
            )
        self.path, self.context = file, context
        key, ready = secrets.token_urlsafe(24), f"{READY}{secrets.token_hex(16)}:"
        settings = {
            "path": str(file.absolute()),
            "model": MODEL,
            "key": key,
            "context": _kv_tokens(header, context),
            "parallel": PARALLEL,
            "threads": _count_processors(),
            "ready": ready,
        }
        # -P: the folder of the program must not come before the installed packages.
        program = [sys.executable, "-P", str(Path(__file__).with_name("xllamacpp_server.py"))]
        return ServerCommand(program, key, ready=ready, stdin=json.dumps(settings))

    def sampling_fields(self, prepared: PreparedRequest, generation: Any) -> dict[str, Any]:
        """Return the options as llama.cpp spells them."""
        sampling = prepared.sampling
        greedy = sampling.temperature == 0
        samplers = ["penalties", "temperature", "top_k", "top_p", "min_p", "typ_p"]
        suppressed = getattr(generation, "suppress_tokens", None) or ()
        typical = getattr(generation, "typical_p", None) if getattr(generation, "do_sample", False) else None
        return {
            # Finding the likeliest token takes no order of all the others.
            "samplers": ["penalties", "top_k"] if greedy else samplers,
            "typical_p": typical or 1.0,
            **({"logit_bias": [[token, False] for token in suppressed]} if suppressed else {}),
            "top_k": 1 if greedy else sampling.top_k,
            "repeat_penalty": sampling.repetition_penalty,
            "repeat_last_n": self.context,
        }

    async def compute_logprobs(self, prepared: PreparedScores, post: PostJson) -> list[list[tuple[float, bool | None]]]:
        """Return what the server says of tokens that a bias forces; see `ServerEngine`.

        It has no log-probabilities of a prompt, and those of an answer are from before the bias.
        """
        # Token by token, of which each is one step, since the server keeps the keys and values of what stands before.
        # A grammar of tokens takes one request, but the server aborts at a token that is a part of a character.
        assert self.prompt_config is not None  # noqa: S101 - what is prepared was made with it
        results: list[list[tuple[float, bool | None]]] = []
        for tokens in prepared.continuations:
            sequence, values = list(prepared.prompt), []
            for token in tokens:
                value = _read_forced(token, await _force(post, sequence, token))
                if value is None:
                    # It ends within a character, and the server then drops what it says: it stands beside another one.
                    plain: int = self.prompt_config.tokenizer.encode("a", add_special_tokens=False)[-1]
                    value = _read_listed(token, await _force(post, sequence, plain, listed=_EVERY_TOKEN))
                values.append(value)
                sequence.append(token)
            results.append(values)
        return results

    def grammar_fields(self, grammar: str) -> dict[str, Any]:
        """Return the grammar as llama.cpp takes it."""
        return {"grammar": grammar}

    def control_token_fields(self, markers: list[str], stop_tokens: Mapping[str, int]) -> dict[str, Any]:
        """Return the tokens that stay in the text, where stop strings are looked for."""
        kept = list(dict.fromkeys((*markers, *stop_tokens)))
        return {"preserved_tokens": kept} if kept else {}

    def describe(self) -> dict[str, Any]:
        """Return where the model is, how it runs and where its server is."""
        template = None if self.path is None else "openmodels" if self.prompt_config else "the server's own"
        return {**super().describe(), "dtype": "as in the file" if self.path else None, "template": template}


def _prompt_config(
    file: Path, digest: str | None, header: gguf_header.GgufHeader, deadline: float | None
) -> PromptConfig | None:
    """Return how the model is prompted; None where transformers cannot read it."""
    from openmodels.backends.local.engines.torch.loader import exclusive_loading

    name = f"{digest or cache.file_digest(file)}-tokenizer-1"
    folder = cache.weights_folder() / name
    if not cache.is_intact(folder):
        with cache.lock(name, deadline):
            if not folder.is_dir():
                from openmodels.backends.local.weights import convert

                try:
                    with cache.build_folder(folder) as draft:
                        convert.gguf_tokenizer(file, draft, header)
                except LoadFailed:
                    return None
    with exclusive_loading():
        tokenizer = tokenizer_files.load_tokenizer(folder)
    return PromptConfig(
        tokenizer, generation_config.read_config(folder), _read_context(header), header.embeddings or None
    )


def _read_context(header: gguf_header.GgufHeader) -> int:
    context = header.read_number("context_length")
    if context is None:
        raise LoadFailed(
            "The GGUF file does not say how long its context is, or something that cannot be (context_length).",
            next_step="Use another file of the model: this one was cut or edited when it was made.",
        )
    return context


def _kv_tokens(header: gguf_header.GgufHeader, context: int) -> int:
    """Return how many tokens the server's KV cache holds.

    They are some whole contexts, or what a quarter of the free memory holds.
    """
    heads = header.read_number("attention.head_count") or 1
    width = header.read_number("attention.key_length") or (header.read_number("embedding_length") or 4096) // heads
    kv_heads = header.read_number("attention.head_count_kv") or heads
    # A header of nonsense may give less than a byte; llama.cpp says what is wrong with it.
    each = max(1, 2 * 2 * (header.read_number("block_count") or 32) * width * kv_heads)
    most = max(memory.available() // 4 // each, min(context, 512))
    return int(min(_MAX_CONTEXTS * context, most, gguf_header.MAX_NUMBER))


def _count_processors() -> int:
    """Return the number of processors that this process may use."""
    try:
        return max(1, len(os.sched_getaffinity(0)))
    except AttributeError:
        return os.cpu_count() or 1


async def _force(post: PostJson, sequence: list[int], token: int, listed: int = 1) -> list[dict[str, Any]]:
    """Return what the server says of a forced token, with `listed` likeliest ones."""
    forced = {"prompt": sequence, "n_predict": 1, "logit_bias": [[token, _FORCING_BIAS]], "n_probs": listed}
    body = forced | {"samplers": ["top_k"], "top_k": 1, "stream": False}
    entries = json_object(await post("/completion", body)).get("completion_probabilities")
    return [entry for entry in entries or () if isinstance(entry, dict)]


def _read_forced(token: int, entries: list[dict[str, Any]]) -> tuple[float, bool | None] | None:
    """Return (log-probability, is likeliest) of a forced token, if there is one."""
    return _read_value(token, entries[0], entries[0].get("top_logprobs")) if entries else None


def _read_listed(token: int, entries: list[dict[str, Any]]) -> tuple[float, bool | None]:
    """Return (log-probability, is likeliest) of a token among all that are listed."""
    top = entries[0].get("top_logprobs") if entries else None
    listed = top if isinstance(top, list) else []
    return _read_value(token, next((entry for entry in listed if entry.get("id") == token), {}), listed)


def _read_value(token: int, entry: dict[str, Any], top: Any) -> tuple[float, bool | None]:
    logprob = entry.get("logprob")
    if entry.get("id") != token or not isinstance(logprob, int | float) or not math.isfinite(logprob):
        raise InvalidResponse("llama.cpp's server did not give the log-probability of a token that it was to make.")
    return float(logprob), top[0].get("id") == token if isinstance(top, list) and top else None
