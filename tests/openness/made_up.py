"""Small made-up models, data sets and repositories for the openness rules."""

from __future__ import annotations

from openmodels.openness.evidence import Evidence
from openmodels.openness.model_context import ModelContext


def page(name="acme/Glow-7B", **fields):
    """A model page, open in every respect unless told otherwise."""
    page = {
        "id": name,
        "sha": "0" * 40,
        "gated": False,
        "private": False,
        "tags": ["safetensors", "arxiv:2501.00001", "license:apache-2.0"],
        "cardData": {"license": "apache-2.0", "datasets": ["acme/glow-corpus"]},
        "siblings": [{"rfilename": name} for name in ("README.md", "config.json", "model.safetensors")],
        "safetensors": {"parameters": {}, "total": 7_000_000_000},
        "refs": {"branches": ["main", "step1000", "step2000"], "branches_complete": True},
        "readme": {
            "headings": ["Glow 7B", "Intended use", "Limitations", "Training data", "Evaluation", "License"],
            "links": [
                {"text": "code", "url": "https://github.com/acme/glow", "section": "Glow 7B"},
                {"text": "logs", "url": "https://wandb.ai/acme/glow", "section": "Training data"},
                {"text": "Technical report", "url": "https://arxiv.org/abs/2501.00001", "section": "Glow 7B"},
            ],
            "claims": [{"fact": "The model was trained on glow-corpus, 2T tokens."}],
        },
        "gathered_at": "2026-11-01T00:00:00Z",
    }
    return page | fields


TREE = [
    "LICENSE",
    "README.md",
    "configs/glow-7b.yaml",
    "scripts/generate.py",
    "scripts/train.py",
    "data_prep/dedup.py",
    "sft/finetune.py",
    "sft/configs/glow-7b-sft.yaml",
    "evaluation/run_eval.py",
    "evaluation/tasks.py",
]


def repository(name="acme/glow", tree=TREE, **fields):
    return {
        "repo": name,
        "tree": list(tree),
        "tree_total": len(tree),
        "tree_truncated": False,
        "license": "apache-2.0",
        "head": "1" * 40,
    } | fields


def dataset(name="acme/glow-corpus", **fields):
    return {"id": name, "exists": True, "gated": False, "license": "odc-by"} | fields


def evidence(model=None, *others, datasets=(), repositories=()):
    """Evidence about `model`, with other models, data sets and repositories beside it."""
    model = model or page()
    found = Evidence(model["id"])
    for one in (model, *others):
        found.pages["models"][one["id"].lower()] = one
    for one in datasets:
        found.pages["datasets"][one["id"].lower()] = one
    for one in repositories:
        found.pages["github"][one["repo"].lower()] = one
    return found


def whole(**fields):
    """Evidence about a model that is open in every respect."""
    return evidence(page(**fields), datasets=[dataset()], repositories=[repository()])


def context(*args, **kwargs):
    return ModelContext(evidence(*args, **kwargs))
