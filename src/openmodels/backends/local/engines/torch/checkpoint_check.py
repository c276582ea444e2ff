"""A comparison of a checkpoint's tensors with those of the model.

transformers fills what is missing with random numbers, leaves out what it has no place for, and lists both in
a report. Here both are errors, but for what transformers itself lists as harmless.
"""

import re
from collections.abc import Collection, Mapping
from typing import Any

from openmodels.errors import LoadFailed

_SHOWN = 3
_QUANTISED = re.compile(
    r"\.(qweight|qzeros|scales|g_idx|weight_(scale|scale_inv|packed|shape|zero_point)|(input|k|v|kv)_scale|SCB"
    r"|absmax|quant_map|nested_absmax|quant_state\..+|weight\.(absmax|quant_map|quant_state.*))$"
)
_ADAPTER = re.compile(r"lora_|\.base_layer\.|^base_model\.model\.|modules_to_save")
_LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks)\.(\d+)\.")
_MASKS = re.compile(r"\.inv_freq$|\bmasked_bias$|attn(\.attention)?\.bias$|\.causal_mask$|(^|\.)position_ids$")
"""Buffers that older checkpoints hold and that models compute."""
_SENSES = re.compile(r"vision|visual|image|audio|multi_modal|mm_projector", re.IGNORECASE)


def check(model: Any, report: Mapping[str, Any], *, encoder: bool) -> None:
    """Check that a checkpoint holds the tensors of a model and no others.

    The report is what `from_pretrained(..., output_loading_info=True)` returns. An encoder may be that of a larger
    model, whose heads are left over.
    """
    mismatched = sorted(report.get("mismatched_keys", ()))
    if mismatched:
        name, stored, needed = mismatched[0]
        raise LoadFailed(
            f"{len(mismatched)} tensors of the weights have another shape than config.json describes, "
            f"e.g. {name!r} with {'x'.join(map(str, stored))}, not {'x'.join(map(str, needed))}.",
            next_step="Use the config.json that the weights were saved with.",
        )
    missing = {name for name in report["missing_keys"] if not name.startswith("pooler.")}
    unused = {name for name in report["unexpected_keys"] if not _is_harmless(name, model, encoder=encoder)}
    if not missing and not unused:
        return
    kind = type(model).__name__
    if missing:
        count = len(model.state_dict())
        cause = f"The weights hold no {_join_names(missing)} ({len(missing)} of the {count} tensors that {kind} needs)"
        cause += f"; and they hold {len(unused)} that it has no place for: {_join_names(unused)}." if unused else "."
    else:
        cause = f"The weights hold {len(unused)} tensors that {kind} has no place for: {_join_names(unused)}."
    advice = "Use the config.json that the weights were saved with, or a model made for this use."
    if any(map(_QUANTISED.search, unused)):
        advice = (
            "These are quantised weights, and config.json has no quantization_config that fits them: use the one "
            "that they were saved with, or another version of the model."
        )
    elif any(map(_ADAPTER.search, unused)):
        advice = (
            "These are rests of an adapter: merge it into its base model (PEFT's merge_and_unload()), and save that."
        )
    raise LoadFailed(cause, next_step=advice)


def _is_harmless(name: str, model: Any, *, encoder: bool) -> bool:
    """Return whether a model does not need a tensor that its checkpoint holds."""
    if _MASKS.search(name) or name in dict(model.named_buffers()):
        return True
    config = model.config
    if encoder:
        top = name.removeprefix(f"{model.base_model_prefix}.").partition(".")[0]
        return "pooler." in name or top not in dict(model.named_children())
    text = config.get_text_config(decoder=True)
    beside = getattr(text, "num_nextn_predict_layers", None)
    if type(beside) is int and (match := _LAYER.search(name)):
        # Multi-token prediction only drafts; its layers are counted behind the others.
        return bool(text.num_hidden_layers <= int(match[1]) < text.num_hidden_layers + beside)
    senses = getattr(config, "vision_config", None) or getattr(config, "audio_config", None)
    return bool(senses) and not any(map(_SENSES.search, dict(model.named_modules()))) and bool(_SENSES.search(name))


def _join_names(names: Collection[str]) -> str:
    shown = sorted(names)[:_SHOWN]
    return ", ".join(map(repr, shown)) + (f" and {len(names) - len(shown)} more" if len(names) > _SHOWN else "")
