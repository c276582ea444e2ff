"""Bills of materials: what they say of licenses, and models judged from them."""

from __future__ import annotations

import copy
import json

import jsonschema
import pytest
from click.testing import CliRunner
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from made_up import dataset, evidence, page, repository, whole

import openmodels as om
from openmodels.cli import cli
from openmodels.errors import InvalidRequest
from openmodels.openness.report import Report, schema


def bill_of(*args, **kwargs):
    bill = Report.of(evidence(*args, **kwargs)).to_bom()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(bill)) is None
    return bill


def licenses_of(bill):
    return bill["metadata"]["component"].get("licenses")


class TestWritten:
    def test_the_license_that_binds_stands_in_it(self):
        text = "Glow Research License. This model may be used for non-commercial research only. No commercial use."
        report = Report.of(
            evidence(page(cardData={"license": "mit"}, tags=["license:mit"], license_texts={"LICENSE.txt": text}))
        )
        assert report["license"].verdict != "open"
        assert licenses_of(report.to_bom()) != [{"license": {"id": "MIT"}}]
        properties = {entry["name"]: entry["value"] for entry in report.to_bom()["metadata"]["component"]["properties"]}
        assert properties["openmodels:license:binding"] == "file LICENSE.txt"
        assert properties["openmodels:license:stated-by:front matter"] == "MIT"

    def test_a_bases_stricter_license_binds_too(self):
        tuned = page("bmce/Glow-Chat", cardData={"license": "mit", "base_model": "acme/Glow-7B"}, tags=["license:mit"])
        bill = bill_of(tuned, page(cardData={"license": "cc-by-nc-4.0"}, tags=["license:cc-by-nc-4.0"]))
        assert licenses_of(bill) == [{"license": {"id": "CC-BY-NC-4.0"}}]

    @pytest.mark.parametrize(
        ("stated", "written"),
        [
            ("bsd-3-clause", {"license": {"id": "BSD-3-Clause"}}),
            ("gpl-3.0", {"license": {"id": "GPL-3.0-only"}}),
            ("isc or apache-2.0", {"expression": "ISC OR Apache-2.0"}),
            ("gemma", {"license": {"name": "gemma"}}),
        ],
    )
    def test_by_spdx_id_or_expression_or_name(self, stated, written):
        assert licenses_of(bill_of(page(cardData={"license": stated}, tags=[]))) == [written]

    def test_data_sets_bear_spdx_ids(self):
        bill = bill_of(page(), datasets=[dataset(license="odc-by")], repositories=[repository()])
        (data,) = [entry for entry in bill["components"] if entry["type"] == "data"]
        assert data["licenses"] == [{"license": {"id": "ODC-By-1.0"}}]


CYCLONE = {
    "bomFormat": "CycloneDX",
    "specVersion": "1.6",
    "serialNumber": "urn:uuid:3e671687-395b-41f5-a30f-a58921a69b79",
    "version": 2,
    "metadata": {"timestamp": "2026-10-03T08:00:00Z"},
    "components": [
        {"type": "library", "name": "torch"},
        {
            "type": "machine-learning-model",
            "bom-ref": "lamp",
            "group": "dusk-lab",
            "name": "Lamp-3B",
            "version": "1.2",
            "licenses": [{"license": {"id": "Apache-2.0"}}],
            "hashes": [{"alg": "SHA-256", "content": "00"}],
            "pedigree": {"ancestors": [{"type": "machine-learning-model", "name": "dawn/Base-3B"}], "notes": "tuned"},
            "modelCard": {
                "modelParameters": {
                    "task": "text-generation",
                    "datasets": [
                        {"ref": "corpus"},
                        {"type": "dataset", "name": "notes", "contents": {"url": "https://huggingface.co/datasets/dusk-lab/notes"}},
                    ],
                },
                "considerations": {"technicalLimitations": ["It may be wrong."], "environmentalConsiderations": {}},
            },
        },
        {
            "type": "data",
            "bom-ref": "corpus",
            "name": "dusk-lab/corpus",
            "licenses": [{"license": {"id": "CC-BY-NC-4.0"}}],
        },
    ],
}  # fmt: skip


def cyclone(version="1.6", **fields):
    bill = copy.deepcopy(CYCLONE) | {"specVersion": version}
    bill["components"][1] |= fields
    return bill


def spdx(availability="directDownload", license_="MIT", **fields):
    creation = {"type": "CreationInfo", "@id": "_:c", "created": "2026-09-09T09:00:00Z", "specVersion": "3.0.1"}
    return {
        "@context": "https://spdx.org/rdf/3.0.1/spdx-context.jsonld",
        "@graph": [
            creation,
            {"type": "SpdxDocument", "spdxId": "https://dusk.example/doc-7", "creationInfo": "_:c"},
            {
                "type": "ai_AIPackage",
                "spdxId": "urn:lamp",
                "name": "dusk-lab/Lamp-3B",
                "ai_limitation": "It may be wrong.",
                "ai_energyConsumption": {"type": "ai_EnergyConsumption"},
                **fields,
            },
            {
                "type": "dataset_DatasetPackage",
                "spdxId": "urn:corpus",
                "name": "dusk-lab/corpus",
                "dataset_datasetAvailability": availability,
                "dataset_sensor": [],
            },
            {
                "type": "simplelicensing_LicenseExpression",
                "spdxId": "urn:l",
                "simplelicensing_licenseExpression": license_,
            },
            {"type": "Relationship", "from": "urn:lamp", "relationshipType": "hasDeclaredLicense", "to": ["urn:l"]},
            {
                "type": "Relationship",
                "from": "urn:corpus",
                "relationshipType": "hasDeclaredLicense",
                "to": ["https://spdx.org/licenses/CC-BY-4.0"],
            },
            {"type": "Relationship", "from": "urn:lamp", "relationshipType": "trainedOn", "to": ["urn:corpus"]},
            {"type": "Relationship", "from": "urn:lamp", "relationshipType": "hasEvidence", "to": ["urn:corpus"]},
        ],
    }  # fmt: skip


class TestCycloneRead:
    @pytest.mark.parametrize("version", ["1.5", "1.6", "1.7"])
    def test_it_is_judged_and_named_by_the_evidence(self, tmp_path, version):
        path = tmp_path / "lamp.cdx.json"
        path.write_text(json.dumps(cyclone(version)))
        report = om.openness(bom=path)
        assert report.id == "dusk-lab/Lamp-3B"
        assert report.bases == ("dawn/Base-3B",)
        assert report.as_of.startswith("2026-10-03")
        assert [stated.license.spdx for stated in report.licenses] == ["Apache-2.0"]
        for finding in report:
            for proof in finding.evidence:
                assert "lamp.cdx.json" in proof.what
                assert proof.url == "urn:cdx:3e671687-395b-41f5-a30f-a58921a69b79/2"
        jsonschema.validate(json.loads(report.to_json()), schema())

    def test_what_a_bill_cannot_show_is_unknown(self):
        report = om.openness(bom=cyclone())
        for name in ("weights", "training_code", "evaluation_code", "checkpoints", "training_metrics"):
            assert report[name].verdict == "unknown", name
        assert report["training_data"].verdict != "open"

    def test_a_data_sets_license_meets_the_models(self):
        report = om.openness(bom=cyclone(pedigree={}))
        assert any("dusk-lab/corpus" in conflict.reason for conflict in report.conflicts)

    @pytest.mark.parametrize(
        ("licenses", "verdict"),
        [
            ([{"license": {"id": "CC-BY-NC-4.0"}}], "closed"),
            ([{"license": {"id": "MIT"}}, {"license": {"id": "CC-BY-NC-4.0"}}], "closed"),
            ([{"expression": "MIT AND CC-BY-NC-SA-4.0"}], "closed"),
            ([{"license": {"name": "Dusk House Terms"}}], "unknown"),
            ([], "unknown"),
            ("MIT", "unknown"),
        ],
    )
    def test_licenses(self, licenses, verdict):
        report = om.openness(bom=cyclone(licenses=licenses, pedigree={}))
        assert report["license"].verdict == verdict

    def test_fields_that_were_not_read_are_named_everywhere(self):
        report = om.openness(bom=cyclone())
        for text in (
            " ".join(report.notes),
            str(report).replace("\n", " "),
            report.to_markdown(),
            report._repr_html_(),
        ):
            for name in ("hashes", "pedigree.notes", "modelCard.considerations.environmentalConsiderations"):
                assert name in " ".join(text.split())

    def test_one_of_several_models_is_named(self):
        bill = cyclone()
        bill["components"].append({"type": "machine-learning-model", "name": "Other-1B"})
        assert om.openness("dusk-lab/Lamp-3B", bom=bill).id == "dusk-lab/Lamp-3B"
        with pytest.raises(InvalidRequest, match="2 models") as error:
            om.openness(bom=bill)
        assert "Other-1B" in (error.value.next_step or "")

    def test_the_model_that_the_bill_is_about_goes_before_others(self):
        bill = cyclone()
        bill["metadata"]["component"] = {"type": "machine-learning-model", "name": "Wick-2B", "bom-ref": "wick"}
        report = om.openness(bom=bill)
        assert report.id == "Wick-2B"
        assert "machine-learning-model Lamp-3B" in " ".join(report.notes)
        for name in ("lamp", "LAMP-3b", "dusk-lab/Lamp-3B"):
            assert om.openness(name, bom=bill).id == "dusk-lab/Lamp-3B"

    def test_models_of_one_name_are_told_apart_by_their_references(self):
        bill = cyclone()
        bill["components"].append({**bill["components"][1], "bom-ref": "lamp-2", "licenses": []})
        with pytest.raises(InvalidRequest, match="several are called") as error:
            om.openness("dusk-lab/Lamp-3B", bom=bill)
        assert "(lamp-2)" in (error.value.next_step or "")
        assert om.openness("lamp-2", bom=bill)["license"].verdict == "unknown"

    def test_bases_are_read_to_the_root(self):
        root = {"type": "machine-learning-model", "name": "old/Root-3B", "licenses": [{"license": {"name": "gemma"}}]}
        base = {"type": "machine-learning-model", "name": "dawn/Base-3B", "pedigree": {"ancestors": [root]}}
        report = om.openness(bom=cyclone(pedigree={"ancestors": [base]}))
        assert report.bases == ("dawn/Base-3B", "old/Root-3B")
        assert report["license"].verdict == "closed"

    def test_what_a_model_depends_on_is_its_base_or_its_data(self):
        bill = cyclone(pedigree={}, modelCard={})
        terms = [{"license": {"name": "Terms", "text": {"content": "For non-commercial use only. No commercial use."}}}]
        bill["components"] += [
            {"type": "machine-learning-model", "bom-ref": "b", "name": "dawn/Base-3B", "licenses": terms},
            {"type": "data", "name": "stray"},
        ]
        bill["dependencies"] = [
            {"ref": "lamp", "dependsOn": ["b", "corpus", "gone"]},
            {"ref": "b", "dependsOn": ["lamp"]},
        ]
        bill["vulnerabilities"] = [{}]
        report = om.openness("lamp", bom=bill)
        assert report.bases == ("dawn/Base-3B",)
        assert report["license"].verdict == "closed"
        assert "dusk-lab/corpus" in report["finetuning_data"].reason
        notes = " ".join(report.notes)
        for unread in ("library torch", "data stray", "vulnerabilities", "form a circle"):
            assert unread in notes

    def test_names_in_other_letters_stay_apart(self):
        ancestors = [{"type": "machine-learning-model", "name": name} for name in ("灯-3B", "蠟-3B", "Lämpchen")]
        report = om.openness(bom=cyclone(pedigree={"ancestors": ancestors}, name="燈籠", group=None))
        assert len(set(report.bases)) == 3
        assert report.bases[2] == "Lampchen"
        assert "燈籠" in report.notes[0]
        assert report.id in report.notes[0]

    def test_a_text_that_cannot_be_decoded_is_said(self):
        text = {"content": "§§", "encoding": "base64"}
        report = om.openness(bom=cyclone(licenses=[{"license": {"id": "MIT", "text": text}}]))
        assert "a text that is not base64" in " ".join(report.notes)

    def test_our_bill_of_a_fine_tune_keeps_its_base(self):
        tuned = page("bmce/Glow-Chat", cardData={"license": "mit", "base_model": "acme/Glow-7B"}, tags=[])
        live = Report.of(evidence(tuned, page(cardData={"license": "cc-by-nc-4.0"}, tags=[])))
        report = om.openness(bom=live.to_bom())
        assert (report.id, report.bases) == (live.id, live.bases)
        assert report["license"].verdict == live["license"].verdict == "closed"

    def test_a_bill_of_ours_is_read_back(self):
        bill = Report.of(whole()).to_bom()
        report = om.openness(bom=bill)
        assert report.id == "acme/Glow-7B"
        assert [stated.license.spdx for stated in report.licenses] == ["Apache-2.0"]


class TestSpdxRead:
    def test_packages_licenses_and_relationships(self):
        report = om.openness(bom=spdx())
        assert report.id == "dusk-lab/Lamp-3B"
        assert report.as_of == "2026-09-09T09:00:00Z"
        assert [stated.license.spdx for stated in report.licenses] == ["MIT"]
        assert report["license"].evidence[0].url == "https://dusk.example/doc-7"
        assert "ai_energyConsumption" in " ".join(report.notes)
        assert "dataset_sensor" in " ".join(report.notes)
        assert "hasEvidence" in " ".join(report.notes)

    def test_the_root_of_the_bill_is_meant_and_the_rest_is_named(self):
        bill = spdx()
        bill["@graph"] += [
            {"type": "ai_AIPackage", "spdxId": "urn:other", "name": "Wick-2B"},
            {"type": "software_File", "spdxId": "urn:file", "name": "model.onnx"},
        ]
        with pytest.raises(InvalidRequest, match="2 models") as error:
            om.openness(bom=bill)
        assert "Wick-2B (urn:other)" in (error.value.next_step or "")
        assert om.openness("urn:other", bom=bill).id == "Wick-2B"
        bill["@graph"][1]["rootElement"] = ["urn:lamp"]
        report = om.openness(bom=bill)
        assert report.id == "dusk-lab/Lamp-3B"
        assert "AIPackage Wick-2B, File model.onnx" in " ".join(report.notes)

    def test_another_version_is_said(self):
        bill = spdx()
        bill["@graph"][0]["specVersion"] = "3.2.0"
        assert "SPDX 3.2.0" in om.openness(bom=bill).notes[0]

    def test_elements_without_an_spdx_id_are_read(self):
        bill = spdx()
        bill["@graph"][2]["@id"] = bill["@graph"][2].pop("spdxId")
        bill["@graph"].append({"type": "ai_AIPackage"})
        assert om.openness("urn:lamp", bom=bill)["license"].verdict == "open"

    def test_bases_and_their_license_texts_are_read_to_the_root(self):
        bill = spdx()
        bill["@graph"] += [
            {"type": "ai_AIPackage", "spdxId": "urn:base", "name": "dawn/Base-3B"},
            {"type": "ai_AIPackage", "spdxId": "urn:root", "name": "old/Root-3B"},
            {"type": "Relationship", "from": "urn:lamp", "relationshipType": "descendantOf", "to": ["urn:base"]},
            {"type": "Relationship", "from": "urn:root", "relationshipType": "ancestorOf", "to": ["urn:base"]},
            {"type": "Relationship", "from": "urn:root", "relationshipType": "descendantOf", "to": ["urn:base"]},
            {"type": "Relationship", "from": "urn:root", "relationshipType": "hasDeclaredLicense", "to": ["urn:x"]},
            {
                "type": "simplelicensing_LicenseExpression",
                "spdxId": "urn:x",
                "simplelicensing_licenseExpression": "LicenseRef-dusk",
                "simplelicensing_customIdToUri": [{"key": "LicenseRef-dusk", "value": "urn:text"}],
            },
            {
                "type": "simplelicensing_SimpleLicensingText",
                "spdxId": "urn:text",
                "simplelicensing_licenseText": "For non-commercial use only. Commercial use is not permitted.",
            },
        ]
        report = om.openness("urn:lamp", bom=bill)
        assert report.bases == ("dawn/Base-3B", "old/Root-3B")
        assert report["license"].verdict == "closed"
        assert "form a circle" in " ".join(report.notes)

    @pytest.mark.parametrize("availability", ["registration", "clickthrough", "query", None])
    def test_data_behind_a_door_are_not_open(self, availability):
        assert om.openness(bom=spdx(availability))["training_data"].verdict != "open"

    def test_a_license_that_forbids_is_heard(self):
        assert om.openness(bom=spdx(license_="CC-BY-NC-ND-4.0"))["license"].verdict == "closed"

    def test_the_frameworks_class_is_told(self):
        report = om.openness(bom=spdx(), profile="mof-1.0")
        assert "undetermined" in report.grade or report.grade == "Unclassified"
        assert report.assessment.because


class TestRefused:
    @pytest.mark.parametrize("bill", [{}, {"spdxVersion": "SPDX-2.3"}, {"bomFormat": "CycloneDX"}, {"@graph": []}])
    def test_what_is_no_bill_of_a_model(self, bill):
        with pytest.raises(InvalidRequest, match="bill of materials"):
            om.openness(bom=bill)

    def test_what_is_no_bill_at_all(self, tmp_path):
        deep: dict = {}
        for _ in range(5_000):
            deep = {"components": [deep]}
        (tmp_path / "torn.json").write_text('{"bomFormat": "CycloneDX", "components": [')
        (tmp_path / "empty.json").write_text("")
        (tmp_path / "bill.xml").write_text('<?xml version="1.0"?><bom xmlns="http://cyclonedx.org/schema/bom/1.6"/>')
        files = [tmp_path, *(tmp_path / name for name in ("torn.json", "empty.json", "bill.xml", "gone.json"))]
        odd = [deep, {1: {2, 3}}, {"bomFormat": object()}, 7, b"{}", "", "~no-such-user/x", "a\0b", "x" * 9_000]
        for bill in (*files, *odd):
            with pytest.raises(InvalidRequest):
                om.openness(bom=bill)

    @pytest.mark.parametrize(
        "damage",
        [
            {"licenses": "MIT", "modelCard": [], "pedigree": 7},
            {
                "licenses": [None, {"license": 4}],
                "modelCard": {"modelParameters": {"datasets": ["x", {"ref": "gone"}, 3]}},
            },
            {"name": "../../etc/passwd", "group": "\x1b[31m", "purl": 9},
        ],
    )
    def test_damage_is_survived(self, damage):
        assert om.openness(bom=cyclone(**damage))["license"].verdict in ("unknown", "open")

    def test_nothing_or_both(self, tmp_path):
        with pytest.raises(InvalidRequest):
            om.openness()
        with pytest.raises(InvalidRequest, match="not on both"):
            om.openness(bom=cyclone(), evidence=tmp_path)

    def test_saved_evidence_of_a_bill_gives_the_same_report(self, tmp_path):
        report = om.openness(bom=cyclone())
        report.save(tmp_path)
        assert om.openness(report.id, evidence=tmp_path).to_dict() == report.to_dict()


def test_the_command_reads_a_bill(tmp_path):
    path = tmp_path / "lamp.spdx.json"
    path.write_text(json.dumps(spdx()))
    result = CliRunner().invoke(cli, ["openness", "--from-bom", str(path), "--profile", "osaid-1.0"])
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("dusk-lab/Lamp-3B: ")
    assert "Note: Not read of the model's fields" in result.stdout.replace("\n", " ")
    assert CliRunner().invoke(cli, ["openness"]).exit_code == 2
