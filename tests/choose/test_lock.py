"""`om.lock` and `om.audit`: what a project relies on of its models, and what changed."""

import asyncio
import json
from datetime import UTC, datetime, timedelta

import pytest
from click.testing import CliRunner

import openmodels as om
from loopback_gallery import LoopbackGallery
from loopback_hub import LoopbackHub
from openmodels import retry
from openmodels.cli import cli

TODAY = datetime.now(UTC).date()
EMBER, TIDE, DUNE = "forge/Ember-3B", "forge/Tide-1B", "azure:forge-models/Dune-9B"

KILN = {"id": "a/b", "offers": {"kiln": {"price_in": -1}}}
BELOW_ZERO = json.dumps({"openmodels_lock": 1, "created": "2026-01-05", "models": {"a/b": KILN}})


def row(name, **changes):
    return {
        "id": name,
        "sha": "1" * 40,
        "gated": False,
        "tags": ["safetensors"],
        "cardData": {"license": "apache-2.0"},
        "siblings": [{"rfilename": "model.safetensors"}, {"rfilename": "config.json"}],
        "safetensors": {"parameters": {"BF16": 3_000_000_000}, "total": 3_000_000_000},
        "config": {"model_type": "llama", "architectures": ["LlamaForCausalLM"]},
    } | changes


def terms(provider, price_in, price_out, status="live"):
    return {"provider": provider, "status": status, "pricing": {"input": price_in, "output": price_out}}


def azure_row(**changes):
    return {
        "name": "Dune-9B",
        "registryName": "forge-models",
        "version": "3",
        "license": "mit",
        "inferenceTasks": ["chat-completion"],
        "azureOffers": ["standard-paygo", "VM"],
    } | changes


class World:
    """A Hub, its router and an Azure catalog, whose models a test changes."""

    def __init__(self, hub, gallery):
        self.hub, self.gallery = hub, gallery

    def change(self, name, **changes):
        (place,) = (at for at, item in enumerate(self.hub.rows) if item["id"] == name)
        self.hub.rows[place] = self.hub.rows[place] | changes

    def remove(self, name):
        self.hub.rows[:] = [item for item in self.hub.rows if item["id"] != name]

    def offer(self, name, *providers):
        self.hub.providers[:] = [{"id": name, "providers": list(providers)}]

    def change_azure(self, **changes):
        self.gallery.rows[:] = [azure_row(**changes)]


@pytest.fixture
def world(monkeypatch, tmp_path):
    for name in ("HF_TOKEN", "HF_HUB_OFFLINE", "OPENMODELS_OFFLINE", "OPENMODELS_MODEL_FOLDERS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OPENMODELS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    monkeypatch.setattr("openmodels.openness.api.PACE", 0)
    monkeypatch.chdir(tmp_path)
    providers = [{"id": EMBER, "providers": [terms("kiln", 0.2, 0.4), terms("bellows", 0.3, 0.3)]}]
    with (
        LoopbackHub([row(EMBER), row(TIDE)], providers=providers) as hub,
        LoopbackGallery([azure_row()]) as gallery,
        retry.override_retries(attempts=1),
    ):
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        monkeypatch.setenv("OPENMODELS_HF_ROUTER", hub.address)
        monkeypatch.setenv("OPENMODELS_AZURE_CATALOG", gallery.address)
        yield World(hub, gallery)


@pytest.fixture
def locked(world):
    om.lock([EMBER, TIDE, DUNE])
    return world


def found(audit):
    return {(change.model, change.field): (change.before, change.after, change.is_worse) for change in audit.changes}


def run(*arguments):
    return CliRunner().invoke(cli, list(arguments))


class TestFile:
    def test_holds_what_is_known_in_a_stable_order(self, locked, tmp_path):
        text = (tmp_path / "openmodels.lock").read_text()
        content = json.loads(text)
        assert content["openmodels_lock"] == 1
        assert list(content["models"]) == [DUNE, EMBER, TIDE]
        ember = content["models"][EMBER]
        assert ember["revision"] == "1" * 40
        assert ember["license"] == {"id": "Apache-2.0", "kind": "osi-approved"}
        assert ember["gated"] is False
        assert ember["verdicts"]["license"] == {"verdict": "open", "as_of": TODAY.isoformat()}
        assert ember["offers"]["kiln"] == {"status": "live", "price_in": "0.2", "price_out": "0.4"}
        assert ember["sources"]["offers"] == {"source": "router", "as_of": TODAY.isoformat()}
        assert list(content["models"][DUNE]["offers"]) == ["azure VM", "azure standard-paygo"]
        om.lock([TIDE, DUNE, EMBER])
        assert (tmp_path / "openmodels.lock").read_text() == text

    def test_lock_again_says_what_changed(self, locked):
        locked.change(EMBER, sha="2" * 40, gated="manual")
        locked.hub.rows.append(row("forge/New-1B"))
        again = om.lock()
        assert {change.field for change in again.changes} >= {"revision", "gated"}
        assert om.audit().is_clean
        other = om.lock([EMBER, "hf:forge/New-1B"])
        assert other.added == ("forge/New-1B",)
        assert set(other.removed) == {TIDE, DUNE}
        assert "Locked no more:" in str(other)

    @pytest.mark.parametrize(
        ("text", "word"),
        [
            ("not JSON at all", "not JSON"),
            ('{"lockfileVersion": 3, "packages": {}}', "not a lock file of openmodels"),
            ("[]", "not a lock file of openmodels"),
            ('{"openmodels_lock": 2, "models": {}}', "version 2"),
            ('{"openmodels_lock": "1", "models": {}}', "damaged"),
            ('{"openmodels_lock": 1, "created": "2026-01-05", "models": []}', "damaged"),
            ('{"openmodels_lock": 1, "models": {}}', "damaged: 'created' is not a day"),
            ('{"openmodels_lock": 1, "created": "2026-01-05", "models": {"a/b": null}}', "'a/b': Input should be"),
            (BELOW_ZERO, "'a/b': offers.kiln.price_in: Input should be greater"),
            ('{"openmodels_lock": 1, "created": "2026-01-05", "models": {"a/b": {"id": "a/c"}}}', "another model"),
            ('{"openmodels_lock": 1, "created": "2026-01-05", "models": {"a/b": {"id": "a/b", "gated": 7}}}', "gated"),
            ('{"openmodels_lock": 1, "created": "2026-01-05", "models": {"a/b": {"id": "a/b", "x": 1}}}', "x"),
        ],
    )
    def test_a_wrong_file_is_refused(self, world, tmp_path, text, word):
        path = tmp_path / "wrong.lock"
        path.write_text(text)
        for call in (lambda: om.audit(path), lambda: om.lock(path=path), lambda: om.lock(EMBER, path=path)):
            with pytest.raises(om.InvalidRequest, match=word) as caught:
                call()
            assert caught.value.next_step
        assert path.read_text() == text
        assert run("audit", "--file", str(path)).exit_code == 2

    def test_a_missing_file_and_wrong_arguments(self, world):
        for call in (om.audit, om.lock):
            with pytest.raises(om.InvalidRequest, match="no lock file"):
                call()
        with pytest.raises(om.ModelNotFound):
            om.lock("forge/Absent")
        for wrong in ("azure:deployment", "./folder", "no-slash"):
            with pytest.raises(om.InvalidReference):
                om.lock(wrong)
        for wrong in ("lots", "-5%", "nan", 10, True):
            om.lock(TIDE)
            with pytest.raises(om.InvalidRequest, match="price_rise"):
                om.audit(price_rise=wrong)


class TestAudit:
    def test_nothing_changed(self, locked):
        audit = om.audit()
        assert audit.changes == ()
        assert audit.unchecked == ()
        assert audit.is_clean
        assert run("audit").exit_code == 0

    def test_every_kind_of_change_is_listed_at_once(self, locked, monkeypatch):
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        assert run("audit").exit_code == 0
        monkeypatch.delenv("HF_HUB_OFFLINE")
        locked.change(EMBER, cardData={"license": "cc-by-nc-4.0"})
        locked.change(TIDE, gated="manual")
        locked.offer(EMBER, terms("kiln", 0.3, 0.4), terms("bellows", 0.3, 0.3))
        gone = {"inferenceRetirementDate": f"{(TODAY + timedelta(days=9)).isoformat()}T00:00:00Z"}
        locked.change_azure(deprecation=gone, replacementConfig={"targetModelName": "Dune-10B"})
        shown = run("audit", "--json")
        changes = json.loads(shown.stdout)["changes"]
        worse = {(change["model"], change["field"]) for change in changes if change["is_worse"]}
        due = {(EMBER, "license"), (TIDE, "gated"), (EMBER, "offers.kiln.price_in"), (DUNE, "retires_on")}
        assert due <= worse
        assert {change["successor"] for change in changes if change["model"] == DUNE} == {"Dune-10B"}
        assert shown.exit_code == 6

    @pytest.mark.parametrize(
        ("license_", "is_worse"),
        [
            ("llama3", True),
            ("cc-by-nc-4.0", True),
            ("other", True),
            (None, True),
            ("mit", False),
            ("bsd-3-clause", False),
        ],
    )
    def test_a_license(self, locked, license_, is_worse):
        locked.change(EMBER, cardData={"license": license_} if license_ else {})
        before, _, result = found(om.audit())[EMBER, "license"]
        assert before == "Apache-2.0 (osi-approved)"
        assert result is is_worse
        assert found(om.audit()).get((EMBER, "openness.license"), ("open", "", False))[2] is is_worse
        assert run("audit").exit_code == (6 if is_worse else 0)

    @pytest.mark.parametrize(("before", "after", "is_worse"), [
        (False, "auto", True), ("auto", "manual", True), ("manual", "auto", False), ("manual", False, False),
    ])  # fmt: skip
    def test_a_gate(self, world, before, after, is_worse):
        world.change(TIDE, gated=before)
        om.lock(TIDE)
        world.change(TIDE, gated=after)
        assert found(om.audit())[TIDE, "gated"] == (str(before or "no"), str(after or "no"), is_worse)

    def test_disabled_gone_and_new_commits(self, locked):
        locked.change(EMBER, disabled=True)
        locked.remove(TIDE)
        locked.change_azure(version="4")
        changes = found(om.audit())
        assert changes[EMBER, "disabled"] == ("no", "yes", True)
        assert changes[TIDE, "available"] == ("yes", "no", True)
        assert changes[DUNE, "revision"] == ("3", "4", False)

    def test_offers_and_prices(self, locked):
        locked.offer(EMBER, terms("kiln", 0.21, 0.5), terms("anvil", 1, 1))
        changes = found(om.audit())
        assert changes[EMBER, "offers.bellows"][1:] == (None, True)
        assert changes[EMBER, "offers.anvil"][2] is False
        assert changes[EMBER, "offers.kiln.price_in"][2] is True
        changes = found(om.audit(price_rise="10%"))
        assert changes[EMBER, "offers.kiln.price_in"][2] is False
        assert changes[EMBER, "offers.kiln.price_out"][2] is True
        locked.offer(EMBER, terms("kiln", 0.1, 0.4, status="error"), terms("bellows", 0.3, 0.3))
        changes = found(om.audit())
        assert changes[EMBER, "offers.kiln.price_in"][2] is False
        assert changes[EMBER, "offers.kiln.status"] == ("live", "error", True)
        locked.change_azure(azureOffers=["VM"])
        assert found(om.audit())[DUNE, "offers.azure standard-paygo"][2] is True

    def test_retirement_names_the_successor(self, locked):
        day = (TODAY + timedelta(days=40)).isoformat()
        gone = {"inferenceRetirementDate": f"{day}T00:00:00Z"}
        locked.change_azure(deprecation=gone, replacementConfig={"targetModelName": "Dune-10B"})
        (change,) = om.audit().worse
        assert (change.field, change.before, change.after, change.successor) == ("retires_on", None, day, "Dune-10B")
        shown = run("audit")
        assert shown.exit_code == 6
        assert "successor: Dune-10B" in shown.stdout
        om.lock()
        assert om.audit().is_clean
        later = {"inferenceRetirementDate": f"{(TODAY + timedelta(days=90)).isoformat()}T00:00:00Z"}
        locked.change_azure(deprecation=later, replacementConfig={"targetModelName": "Dune-10B"})
        assert found(om.audit())[DUNE, "retires_on"][2] is False

    def test_a_day_of_retirement_that_passed(self, world, tmp_path):
        gone = {"inferenceRetirementDate": f"{TODAY.isoformat()}T00:00:00Z"}
        world.change_azure(deprecation=gone)
        om.lock(DUNE)
        assert om.audit().is_clean
        path = tmp_path / "openmodels.lock"
        path.write_text(path.read_text().replace(f'"created": "{TODAY}"', '"created": "2026-01-31"'))
        assert found(om.audit())[DUNE, "retires_on"][1:] == (f"{TODAY}, passed", True)

    def test_a_card_names_a_newer_version(self, locked):
        locked.change(TIDE, cardData={"license": "apache-2.0", "new_version": "forge/Tide-2B"}, gated="auto")
        gated = next(change for change in om.audit().worse if change.field == "gated")
        assert gated.successor == "forge/Tide-2B"

    def test_the_twins_agree(self, world):
        locked = asyncio.run(om.alock([TIDE]))
        assert list(locked.models) == [TIDE]
        assert asyncio.run(om.aaudit()) == om.audit()


class TestOffline:
    def test_compares_what_is_kept(self, locked, monkeypatch):
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        audit = om.audit()
        assert audit.is_clean
        assert "Evidence:" in str(audit)
        assert f"kept of {TODAY}, of today" in str(audit)
        assert run("audit").exit_code == 0

    def test_a_later_look_is_kept_too(self, locked, monkeypatch):
        locked.change(EMBER, gated="auto")
        assert om.audit().worse
        monkeypatch.setenv("OPENMODELS_OFFLINE", "1")
        assert found(om.audit())[EMBER, "gated"][2] is True
        assert run("audit").exit_code == 6

    def test_another_machine_has_nothing_to_compare(self, locked, monkeypatch, tmp_path):
        monkeypatch.setenv("OPENMODELS_CACHE", str(tmp_path / "empty"))
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        audit = om.audit()
        assert not audit.changes
        assert not audit.is_clean
        assert {item.model for item in audit.unchecked} == {EMBER, TIDE, DUNE}
        shown = run("audit")
        assert shown.exit_code == 5
        assert "Not checked:" in shown.stdout

    def test_what_is_older_than_the_lock_shows_no_change(self, locked, tmp_path, monkeypatch):
        path = tmp_path / "openmodels.lock"
        tomorrow = (TODAY + timedelta(days=1)).isoformat()
        path.write_text(
            path.read_text().replace(TODAY.isoformat(), tomorrow).replace('"gated": false', '"gated": "auto"')
        )
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        audit = om.audit()
        assert not audit.changes
        assert all("before the lock" in item.reason for item in audit.unchecked)

    def test_one_part_out_of_reach_is_said(self, locked, monkeypatch, tmp_path):
        monkeypatch.setenv("OPENMODELS_HF_ROUTER", "http://127.0.0.1:9")
        assert om.audit().is_clean
        assert any(item.part == "offers" and item.reason for item in om.audit().evidence)
        monkeypatch.setenv("OPENMODELS_CACHE", str(tmp_path / "empty"))
        assert {item.part for item in om.audit().unchecked} == {"offers"}
        om.lock()
        assert om.audit().is_clean is False
        assert any(item.part == "offers" for item in om.lock().unchecked)

    def test_lock_needs_the_page(self, world, monkeypatch):
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        with pytest.raises(om.Offline):
            om.lock(EMBER)


class TestReport:
    def test_text_has_80_columns_and_html_is_escaped(self, locked):
        locked.change(EMBER, cardData={"license": "other", "license_name": "<b>" + "long-" * 30}, gated="manual")
        locked.remove(TIDE)
        audit = om.audit()
        assert max(map(len, str(audit).splitlines())) <= 80 + 150
        assert max(map(len, om.lock([EMBER]).to_text().splitlines())) <= 80 + 150
        html = audit._repr_html_()
        assert "<b>long" not in html.replace("<p><b>", "")
        assert html.count("<table>") == 1

    def test_the_command(self, locked):
        assert json.loads(run("audit", "--json").stdout)["is_clean"] is True
        locked.change(EMBER, gated="auto", sha="3" * 40)
        shown = run("audit", "--json")
        changes = {change["field"]: change for change in json.loads(shown.stdout)["changes"]}
        assert shown.exit_code == 6
        assert changes["gated"] == {
            "model": EMBER, "field": "gated", "before": "no", "after": "auto", "is_worse": True, "successor": None,
        }  # fmt: skip
        assert changes["revision"]["is_worse"] is False
        assert json.loads(run("lock", "--json").stdout)["changes"]
        assert run("audit").exit_code == 0
        assert run("audit", "--price-rise", "much").exit_code == 2
        assert run("lock", "forge/Absent").exit_code == 3
