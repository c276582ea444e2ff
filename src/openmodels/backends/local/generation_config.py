"""A model's generation_config.json: what is honoured, and how it changes scores.

The scores are changed by transformers' own processors, in the order in which its `generate` applies them.
What no engine of ours does, such as a search with beams, is named instead: in `describe()` and in the log.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openmodels.errors import LoadFailed

if TYPE_CHECKING:
    import torch
    from transformers import GenerationConfig, LogitsProcessorList

    from openmodels.backends.local.prompt.prepare import SamplingParams

_log = logging.getLogger(__name__)

FILE = "generation_config.json"
_FIELDS = json.loads((files("openmodels.backends.local") / "generation_fields.json").read_text(encoding="utf-8"))
SHARED = frozenset(_FIELDS["honoured"]["shared"])  # fields that every engine honours
TRANSFORMERS, OPENVINO, LLAMACPP, VLLM = (
    SHARED.union(_FIELDS["honoured"][name]) for name in ("transformers", "openvino", "llamacpp", "vllm")
)
_WITHOUT_EFFECT = frozenset(chain.from_iterable(_FIELDS["without_effect"].values()))
_NEUTRAL: dict[str, Any] = {"num_beams": 1, "num_return_sequences": 1, "guidance_scale": 1, "typical_p": 1}
_NEUTRAL |= {"repetition_penalty": 1, "encoder_repetition_penalty": 1, "top_h": 1, "top_p": 1, "temperature": 1}
_TOKENS = frozenset({"forced_bos_token_id", "forced_eos_token_id"})  # fields in which 0 is a token
_OUR_CUTS = frozenset({"temperature", "top_k", "top_p"})  # what `Sampler` does by itself, which is faster
TOP_K = 50  # what transformers cuts to where a model samples and names no `top_k`; 0 would be none


def read_config(folder: Path, config: Any = None) -> GenerationConfig:
    """Return a folder's generation config, or what its config says instead."""
    from transformers import GenerationConfig

    if not (folder / FILE).is_file():
        if config is not None:
            return GenerationConfig.from_model_config(config)
        eos_token_ids = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("eos_token_id")
        return GenerationConfig(eos_token_id=eos_token_ids)
    try:
        return GenerationConfig.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, TypeError) as error:
        raise LoadFailed(f"{FILE} cannot be read: {error}.", next_step="Fetch the model again.") from error


def not_honoured(config: Any, honoured: frozenset[str]) -> list[str]:
    """Return the fields that a model's config sets and an engine does not follow."""
    ignored = honoured | _WITHOUT_EFFECT
    fields = {} if config is None else config.to_dict()
    is_set = {name for name, value in fields.items() if value and value != _NEUTRAL.get(name)}
    return sorted(name for name in is_set - ignored if not name.startswith("_"))


def warn(config: Any, honoured: frozenset[str]) -> None:
    """Log the fields that an engine does not follow, if any; see `not_honoured`."""
    if fields := not_honoured(config, honoured):
        _log.warning("The model's %s asks for what this engine does not do: %s.", FILE, ", ".join(fields))


def stop_strings(config: Any) -> tuple[str, ...]:
    """Return the texts that end an answer."""
    texts = getattr(config, "stop_strings", None) or ()
    return (texts,) if isinstance(texts, str) else tuple(texts)


def least_tokens(config: Any, prompt: int) -> int:
    """Return how many tokens an answer to a prompt of so many has at least."""
    total = getattr(config, "min_length", None) or 0
    return max(0, getattr(config, "min_new_tokens", None) or 0, total - prompt)


def make_processors(
    config: Any,
    sampling: SamplingParams,
    prompt: Sequence[int],
    *,
    max_new_tokens: int,
    eos_token_ids: Sequence[int],
    device: torch.device,
) -> LogitsProcessorList | None:
    """Return what changes the scores before sampling; None where nothing does.

    The request's repetition penalty is among the processors.

    Raises:
        LoadFailed: A field of the config holds what it may not.
    """
    import torch
    from transformers.generation import logits_process as process

    size, place, end = len(prompt), str(device), torch.tensor(list(eos_token_ids), device=device)
    seen = torch.tensor([list(prompt)], device=device)
    begin = size if size > 1 or getattr(config, "forced_bos_token_id", None) is None else size + 1
    makers: dict[str, Callable[[Any], Any]] = {
        "sequence_bias": process.SequenceBiasLogitsProcessor,
        "encoder_repetition_penalty": lambda value: process.EncoderRepetitionPenaltyLogitsProcessor(value, seen),
        "repetition_penalty": process.RepetitionPenaltyLogitsProcessor,
        "no_repeat_ngram_size": process.NoRepeatNGramLogitsProcessor,
        "encoder_no_repeat_ngram_size": lambda value: process.EncoderNoRepeatNGramLogitsProcessor(value, seen),
        "bad_words_ids": lambda value: process.NoBadWordsLogitsProcessor(value, end),
        "min_new_tokens": lambda value: process.MinNewTokensLengthLogitsProcessor(size, value, end, device=place),
        "forced_bos_token_id": process.ForcedBOSTokenLogitsProcessor,
        "forced_eos_token_id": lambda value: process.ForcedEOSTokenLogitsProcessor(
            size + max_new_tokens, value, device=place
        ),
        "remove_invalid_values": lambda _: process.InfNanRemoveLogitsProcessor(),
        "exponential_decay_length_penalty": lambda value: process.ExponentialDecayLengthPenalty(value, end, size),
        "suppress_tokens": lambda value: process.SuppressTokensLogitsProcessor(value, device=place),
        "begin_suppress_tokens": lambda value: process.SuppressTokensAtBeginLogitsProcessor(value, begin, device=place),
    }
    values = {name: getattr(config, name, None) for name in makers}
    values["repetition_penalty"] = sampling.repetition_penalty
    values["min_new_tokens"] = least_tokens(config, size)
    if not eos_token_ids:
        values["min_new_tokens"] = values["exponential_decay_length_penalty"] = None
    made = _make_processors(makers, values)
    return process.LogitsProcessorList(made.values()) if made.keys() - {"repetition_penalty"} else None


def _make_processors(makers: Mapping[str, Callable[[Any], Any]], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the processors of the values that have an effect, in the makers' order."""
    made = {}
    for name, make in makers.items():
        value = values[name]
        if value is None or (not value and name not in _TOKENS) or value == _NEUTRAL.get(name):
            continue
        try:
            made[name] = make(value)
        except (TypeError, ValueError, IndexError) as error:
            reason = str(error).partition("\n")[0].rstrip(".")
            raise LoadFailed(
                f"{name} in the model's {FILE} is wrong: {reason}.", next_step="Mend or remove it."
            ) from error
    return made


def make_warpers(
    config: Any, sampling: SamplingParams, *, size: int, device: torch.device
) -> LogitsProcessorList | None:
    """Return what cuts unlikely tokens; None where `top_k` and `top_p` are all of it.

    Raises:
        LoadFailed: A field of the config holds what it may not.
    """
    from transformers.generation import logits_process as process

    makers: dict[str, Callable[[Any], Any]] = {
        "temperature": lambda value: process.TemperatureLogitsWarper(max(value, 1e-4)),
        "top_h": process.TopHLogitsWarper,
        "top_k": process.TopKLogitsWarper,
        "top_p": process.TopPLogitsWarper,
        "min_p": process.MinPLogitsWarper,
        "typical_p": process.TypicalLogitsWarper,
        "epsilon_cutoff": process.EpsilonLogitsWarper,
        "eta_cutoff": lambda value: process.EtaLogitsWarper(value, device=str(device)),
        "watermarking_config": lambda value: value.construct_processor(size, device),
    }
    values: dict[str, Any] = dict.fromkeys(makers)
    if sampling.temperature:
        if getattr(config, "do_sample", False):
            values = {name: getattr(config, name, None) for name in makers}
        values |= {name: getattr(sampling, name) for name in ("temperature", "top_k", "top_p", "min_p")}
    values["watermarking_config"] = getattr(config, "watermarking_config", None)
    made = _make_processors(makers, values)
    return process.LogitsProcessorList(made.values()) if made.keys() - _OUR_CUTS else None
