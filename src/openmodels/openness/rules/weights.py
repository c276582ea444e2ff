"""The rule about weights: whether everyone can download all of the model."""

import re

from openmodels.openness.criteria import criterion
from openmodels.openness.evidence_pages import ModelEvidence
from openmodels.openness.findings import CLOSED, OPEN, PARTIAL, Judgement, Proof, unknown
from openmodels.openness.model_context import ModelContext

_ADAPTER = re.compile(r"(?i)(?:^|[/_.-])(?:adapter|q?lora)(?:[_.-][^/]*)?$")
_DELTA = re.compile(
    r"(?i)\b(?:these|this|repo\w*|releas\w*|apply\w*|contain\w*|provid\w*|publish\w*)\b[^.;]{0,60}"
    r"\b(?:delta weights?|weights? (?:delta|diff)s?|weight differences)\b"
)
_DELTA_NAME = re.compile(r"(?i)[-_]delta(?:[-_]v?\d[\d.]*)?$")
# Bytes: smaller files keep a model's place and hold none.
_SMALLEST = 10_000
_QUANTIZED = re.compile(r"(?i)\.(?:gguf|ggml)$|gptq|awq")
_SHARD = re.compile(r"-(\d{5,6})-of-(\d{5,6})\.")
_MAX_SHARDS = 2000


@criterion("weights", "files of parameters, no gate")
def weights(context: ModelContext) -> Judgement:
    """Judge whether everyone can download all of the model."""
    model = context.model
    files = model.weight_files
    proofs = _weight_proofs(model, files)
    if model.data.get("private") or model.data.get("disabled"):
        reason = "The repository is private or disabled."
        return Judgement(CLOSED, reason, "weights.private", 0.95, (model.proof("private"),))
    if model.gated in ("auto", "manual"):
        how = "after a click" if model.gated == "auto" else "after a request that somebody reviews"
        proofs = (model.proof(f"gated: {model.gated}", "gated"), *proofs)
        return Judgement(PARTIAL, f"The weights can be had only {how}.", "weights.gated", 0.95, proofs)
    if not proofs:
        if model.files_complete:
            proofs = (model.proof("no weights", "siblings"),)
            return Judgement(CLOSED, "The repository holds no file of parameters.", "weights.no-files", 0.9, proofs)
        return unknown("weights.files-unseen", "No file of parameters was seen.", "the whole list of files")
    if model.gated is None:
        missing = "whether access is gated"
        return unknown("weights.gate-unseen", "Whether access is gated was not seen.", missing, evidence=proofs)
    if (lack := _find_lack(model, files, proofs)) is not None:
        return lack
    if not files and not model.parameters and context.finding("checkpoints").verdict is not OPEN:
        # The Hub derives the tag from files, but these may be gone since: something else must bear it out.
        reason = f"The Hub tags the format {model.weight_tags[0]}, but no file of parameters was seen."
        return unknown("weights.tag-only", reason, "a file of parameters in the list of files", evidence=proofs)
    confidence = 0.95 if files else 0.85 if model.parameters else 0.65
    proofs = (*proofs, model.proof("gated: no", "gated"))
    return Judgement(OPEN, "Anybody can download the parameters.", "weights.public", confidence, proofs)


def _find_lack(model: ModelEvidence, files: list[str], proofs: tuple[Proof, ...]) -> Judgement | None:
    """Return why what can be downloaded is not the whole model, or None."""
    names = set(files)
    sizes = [file.size for file in model.page.files if file.name in names]
    if sizes and sum(_SMALLEST if size is None else size for size in sizes) < _SMALLEST:
        reason = "The files of parameters are placeholders: they hold next to nothing."
        return Judgement(CLOSED, reason, "weights.placeholder", 0.85, proofs)
    is_named_adapter = {relation for _, relation in model.bases} == {"adapter"}
    is_listed = bool(files) and (model.files_complete or not model.parameters)
    if all(map(_ADAPTER.search, files)) and (is_listed or is_named_adapter):
        return Judgement(PARTIAL, "Only an adapter is published.", "weights.adapter", 0.9, proofs)
    if _DELTA_NAME.search(model.id) or any(map(_DELTA.search, model.sentences)):
        reason = "Published are differences to the weights of another model."
        return Judgement(PARTIAL, reason, "weights.delta", 0.8, proofs)
    if model.files_complete and (shard := _missing_shard(files)):
        return Judgement(PARTIAL, f"{shard} is missing.", "weights.shards", 0.8, proofs)
    if model.files_complete and files and all(_QUANTIZED.search(name) for name in files):
        return Judgement(PARTIAL, "Only quantised weights are published.", "weights.quantised", 0.8, proofs)
    return None


def _weight_proofs(model: ModelEvidence, files: list[str]) -> tuple[Proof, ...]:
    proofs = []
    if files:
        what = f"{len(files)} files of parameters, such as {files[0]}"
        proofs.append(model.proof(what, "siblings", url=f"{model.url}/tree/main"))
    if model.parameters:
        proofs.append(model.proof(f"{model.parameters:,} parameters in safetensors files", "safetensors"))
    if model.weight_tags:
        proofs.append(model.proof(f"tagged by the Hub: {', '.join(model.weight_tags)}", "tags"))
    return tuple(proofs)


def _missing_shard(files: list[str]) -> str:
    """Return the name of a shard that is missing from the list, or ""."""
    names, series = set(files), set()
    for name in files:
        if match := _SHARD.search(name):
            start, width, total, suffix = name[: match.start()], len(match[1]), match[2], name[match.end() :]
            if (start, width, total, suffix) in series:
                continue
            series.add((start, width, total, suffix))
            shards = [
                f"{start}-{number:0{width}d}-of-{total}.{suffix}" for number in range(min(int(total), _MAX_SHARDS) + 1)
            ]
            missing = next((shard for shard in shards[1:] if shard not in names), "")
            if missing and shards[0] not in names:
                return missing
    return ""
