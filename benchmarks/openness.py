"""How well the openness rules agree with people: confusion matrices beside three baselines.

    python benchmarks/openness.py [--data ../shared/data] [--released partial]

Labels: European Open Source AI Index (CC-BY-4.0, doi:10.5281/zenodo.15386042), Model Openness Tool
(MIT), os-ai-map (MIT), from `openness/labels-dev.jsonl`; evidence from `hub-snapshot`. Models that the
snapshot marks as test are left out. Where people disagree, the first source in the order above counts.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from openmodels.licenses import LicenseClass, find
from openmodels.openness.criteria import criterion_names
from openmodels.openness.evidence import Evidence
from openmodels.openness.evidence_pages import ModelEvidence
from openmodels.openness.findings import Finding
from openmodels.openness.model_context import ModelContext

ORDER = ("OSAI", "MOT", "os-ai-map")
VALUES = ("open", "partial", "closed")
FOUR = ("training_data", "weights", "training_code", "license")
SHOWN = criterion_names()

# Labels the evidence contradicts, with what says so: kept in every number, and shown apart at the end.
DISPUTED = {
    ("TildeAI/TildeOpen-30b", "weights"): (
        "called closed without a link; 30.7 B parameters in safetensors, config readable without a token in 2026-10",
        "https://huggingface.co/TildeAI/TildeOpen-30b/tree/main",
    ),
    ("microsoft/phi-2", "weights"): (
        "called closed without a link; both shards are listed, config readable without a token in 2026-10",
        "https://huggingface.co/microsoft/phi-2/tree/main",
    ),
    ("upstage/Solar-Open-100B", "weights"): (
        "called partial; config readable without a token in 2026-10",
        "https://huggingface.co/upstage/Solar-Open-100B/tree/main",
    ),
    ("deepseek-ai/DeepSeek-R1", "license"): (
        "called DeepSeek License Agreement, its base's license; front matter, card and its GitHub repository say MIT",
        "https://github.com/deepseek-ai/DeepSeek-R1",
    ),
    ("deepseek-ai/DeepSeek-Coder-V2-Lite-Instruct", "training_code"): (
        "called open; the repository's 11 files hold no program",
        "https://github.com/deepseek-ai/DeepSeek-Coder-V2",
    ),
    ("openai/gpt-oss-20b", "evaluation_code"): (
        "called closed; the repository holds gpt_oss/evals/*.py",
        "https://github.com/openai/gpt-oss/tree/main/gpt_oss/evals",
    ),
    ("openai/gpt-oss-120b", "evaluation_code"): (
        "called closed; the repository holds gpt_oss/evals/*.py",
        "https://github.com/openai/gpt-oss/tree/main/gpt_oss/evals",
    ),
    ("LLM360/Amber", "training_metrics"): (
        "called closed; the card links the log of the whole training",
        "https://wandb.ai/llm360/Amber",
    ),
    ("mistralai/Mistral-7B-v0.1", "technical_report"): (
        "called closed; the card links its paper",
        "https://arxiv.org/abs/2310.06825",
    ),
}
TERMS = "~ people say: published, under terms that are not open; terms are judged under license"


@dataclass(frozen=True)
class Row:
    """One judgement: what people say, what we say."""

    model: str
    criterion: str
    human: str
    predicted: str
    finding: Finding | None = None
    terms: bool = False
    """Whether the label is about the terms of something published."""


def human(entry: dict, criterion: str, *, released: str) -> str | None:
    """Return the label of the first source, with the Model Openness Tool's words mapped.

    "released-restricted" and "released-unlicensed" mean: it can be had, its terms are not open. For
    weights the terms are a criterion of their own, so `released` says what they count as there.
    """
    if criterion == "license":
        return _license_label(entry.get("stated_license"))
    value = first_label(entry, criterion)
    if value is None:
        return None
    if value.startswith("released"):
        return released if criterion == "weights" else "partial"
    return value


def first_label(entry: dict, criterion: str) -> str | None:
    """Return the label of the first source that has one, in its own words."""
    labels = sorted(entry["labels"].get(criterion, []), key=lambda one: ORDER.index(one["source"]))
    return labels[0]["value"] if labels else None


def _license_label(stated: str | None) -> str | None:
    if not stated:
        return None
    kind = find(stated).kind
    return "open" if kind is LicenseClass.OSI_APPROVED else "closed"


def baseline_majority(rows: list[Row]) -> Callable[[ModelEvidence, str], str]:
    """Always say what people say most often."""
    most = {name: Counter(row.human for row in rows if row.criterion == name).most_common(1) for name in SHOWN}
    return lambda _model, name: most[name][0][0] if most[name] else "unknown"


def baseline_link(model: ModelEvidence, name: str) -> str:
    """Say open where a link or an entry exists."""
    urls = " ".join(link.url for link in model.links)
    found = {
        "training_data": bool(model.datasets) or "/datasets/" in urls,
        "finetuning_data": bool(model.datasets) or "/datasets/" in urls,
        "weights": bool(model.weight_files or model.parameters),
        "training_code": "github.com" in urls,
        "finetuning_code": "github.com" in urls,
        "evaluation_code": "github.com" in urls,
        "training_metrics": "wandb.ai" in urls,
        "checkpoints": len(model.refs) > 1,
        "technical_report": bool(model.papers),
        "model_card": True,
        "license": bool(model.page.card.get("license")),
        "license_all_parts": bool(model.page.card.get("license")),
    }
    return "open" if found[name] else "closed"


def baseline_keyword(model: ModelEvidence, name: str) -> str:
    """Say open where a keyword occurs: the rules of the Model Openness Tool's draft scraper."""
    text = " ".join((*model.sentences, *model.headings, *(link.text for link in model.links))).lower()
    license_id = str(model.page.card.get("license") or "")
    # That scraper takes use-restricted licenses for open.
    free = find(license_id).osi_approved or "rail" in license_id or find(license_id).open
    words = {
        "training_data": ("dataset", "trained on"),
        "finetuning_data": ("dataset", "fine-tun"),
        "training_code": ("training code", "github"),
        "finetuning_code": ("fine-tuning code", "github"),
        "evaluation_code": ("evaluation code",),
        "training_metrics": ("metrics", "loss"),
        "checkpoints": ("checkpoint",),
        "technical_report": ("report", "paper"),
        "model_card": ("",),
    }
    if name in ("license", "license_all_parts"):
        return "open" if free else "closed"
    if name == "weights":
        return "open" if model.files or model.parameters else "closed"
    return "open" if any(word in text for word in words[name]) else "closed"


def confusion(rows: Iterable[Row]) -> str:
    """Return a matrix: people in rows, ours in columns."""
    counts = Counter((row.human, row.predicted) for row in rows)
    heads = (*VALUES, "unknown")
    lines = [f"    {'people / ours':14s}" + "".join(f"{one:>9s}" for one in heads)]
    lines += [f"    {truth:14s}" + "".join(f"{counts[truth, one]:9d}" for one in heads) for truth in VALUES]
    return "\n".join(lines)


def agreement(rows: list[Row]) -> float:
    """Return the share in which "open or not" agrees; `unknown` counts as not open."""
    return sum((row.human == "open") == (row.predicted == "open") for row in rows) / len(rows) if rows else float("nan")


def precision(rows: list[Row]) -> float:
    """Return the share of our "open" that people call open."""
    said = [row for row in rows if row.predicted == "open"]
    return sum(row.human == "open" for row in said) / len(said) if said else float("nan")


def collect(data: Path, released: str) -> tuple[list[Row], dict[str, ModelEvidence]]:
    """Judge every labelled model that has evidence and is not marked as test."""
    snapshot = data / "hub-snapshot"
    rows, pages = [], {}
    for line in (data / "openness" / "labels-dev.jsonl").read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        name = entry["hub_id"]
        path = snapshot / "models" / f"{name.replace('/', '__')}.json"
        if not path.is_file() or json.loads(path.read_text(encoding="utf-8")).get("labels_split") == "test":
            continue
        evidence = Evidence.load(snapshot, name)
        pages[name] = evidence.model
        for finding in ModelContext(evidence).findings().values():
            truth = human(entry, finding.criterion, released=released)
            if truth is not None:
                terms = (first_label(entry, finding.criterion) or "").startswith("released")
                rows.append(Row(name, str(finding.criterion), truth, str(finding.verdict), finding, terms))
    return rows, pages


def show(rows: list[Row], pages: dict[str, ModelEvidence]) -> float:
    """Print every table; return the average of the four criteria."""
    majority = baseline_majority(rows)
    others: dict[str, Callable[[ModelEvidence, str], str]] = {
        "majority": majority,
        "a link exists": baseline_link,
        "keyword scraper": baseline_keyword,
    }
    scores: dict[str, list[float]] = {name: [] for name in ("ours", *others)}
    kept: dict[str, list[Row]] = {name: [] for name in scores}
    for criterion in SHOWN:
        mine = [row for row in rows if row.criterion == criterion]
        if not mine:
            print(f"\n{criterion}: no labels")
            continue
        print(f"\n{criterion}  ({len(mine)} labels)\n{confusion(mine)}")
        systems = {"ours": mine}
        for name, predict in others.items():
            systems[name] = [Row(row.model, criterion, row.human, predict(pages[row.model], criterion)) for row in mine]
        for name, found in systems.items():
            said = sum(row.predicted == "open" for row in found)
            wrong = sum(row.predicted == "open" and row.human == "closed" for row in found)
            unknown = sum(row.predicted == "unknown" for row in found) / len(found)
            print(
                f"    {name:16s} open-or-not {agreement(found):.3f}  precision of open {precision(found):.3f} ({said}) "
                f"open but closed {wrong}  unknown {unknown:.2f}"
            )
            if criterion in FOUR:
                scores[name].append(agreement(found))
                kept[name] += found
    print("\nopen or not, mean over", ", ".join(FOUR))
    for name, values in scores.items():
        wrong = [row for row in kept[name] if row.predicted == "open" and row.human == "closed"]
        print(
            f"    {name:16s} {sum(values) / len(values):.3f}   precision of open {precision(kept[name]):.3f}   "
            f"said open, people say closed: {len(wrong)}"
        )
    return sum(scores["ours"]) / len(scores["ours"])


def show_disputed(rows: list[Row]) -> None:
    """Print where we differ from people, and the numbers without the labels we dispute."""
    print(f"\nWhere open-or-not differs (* label disputed, {TERMS}):")
    for row in rows:
        if (row.human == "open") == (row.predicted == "open"):
            continue
        why, link = DISPUTED.get((row.model, row.criterion), ("", ""))
        reason = row.finding.reason[:110] if row.finding else ""
        mark = "*" if why else "~" if row.terms and row.criterion != "license" else " "
        head = f"  {mark} {row.model:44s} {row.criterion:17s}"
        print(f"{head} people {row.human:8s} ours {row.predicted:8s} {f'{why}: {link}' if why else reason}")
    rest = [row for row in rows if (row.model, row.criterion) not in DISPUTED and row.criterion in FOUR]
    values = [agreement([row for row in rest if row.criterion == name]) for name in FOUR]
    wrong = sum(row.predicted == "open" and row.human == "closed" for row in rest)
    print(
        f"\nWithout disputed labels: mean {sum(values) / 4:.3f}, precision of open {precision(rest):.3f}, "
        f"open but closed {wrong}"
    )


def show_folds(rows: list[Row]) -> None:
    """Print the mean for two halves of the organisations: the rules know none, so both should be alike."""
    for half in (0, 1):
        some = [row for row in rows if hashlib.sha256(row.model.split("/")[0].encode()).digest()[0] % 2 == half]
        values = [agreement([row for row in some if row.criterion == name]) for name in FOUR]
        owners = len({row.model.split("/")[0] for row in some})
        print(f"half {half}: {owners} organisations, mean {sum(values) / 4:.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    parser.add_argument("--data", type=Path, help="default: ../shared/data, where it is there")
    parser.add_argument(
        "--released", choices=("open", "partial"), default="open", help="what released weights count as"
    )
    options = parser.parse_args()
    data = options.data or beside
    if not data.is_dir():
        # Without --data there is nothing to measure, and that is no failure.
        parser.exit(2 if options.data else 0, f"No labels and evidence at {data}: nothing measured.\n")
    rows, pages = collect(data, options.released)
    print(f"{len(pages)} models of {len({name.split('/')[0] for name in pages})} organisations, {len(rows)} labels")
    show(rows, pages)
    show_disputed(rows)
    show_folds(rows)


if __name__ == "__main__":
    main()
