import asyncio
import base64
import json
import socket
import threading

import pytest
from fake_sites import FakeSites

import openmodels as om
from openmodels import retry
from openmodels.errors import InvalidResponse, ModelNotFound, Offline, RateLimited, ServerFailed
from openmodels.hub.client import HubClient
from openmodels.openness import api, gather as gathering, github
from openmodels.openness.findings import Verdict
from openmodels.openness.gather import EvidenceSources
from openmodels.openness.report import Report

GLOW = "acme/Glow-7B"


@pytest.fixture(autouse=True)
def _alone(monkeypatch, tmp_path):
    for name in ("HF_TOKEN", "GITHUB_TOKEN", "HF_HUB_OFFLINE", "OPENMODELS_OFFLINE", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OPENMODELS_CACHE", str(tmp_path / "cache"))
    with retry.override_retries(attempts=1):
        yield


@pytest.fixture
def sites():
    return FakeSites()


@pytest.fixture
def sources(sites, monkeypatch):
    with sites.serve() as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        monkeypatch.setattr(github, "API", address)
        clients = EvidenceSources.connect()
        yield clients
        clients.close()


def test_gathers_what_the_rules_need(sources):
    report = Report.of(gathering.gather(GLOW, sources=sources))
    verdicts = {one.criterion: one.verdict for one in report}
    assert verdicts["training_data"] == "open"
    assert verdicts["weights"] == "open"
    assert verdicts["training_code"] == "open"
    assert verdicts["training_metrics"] == "open"
    assert verdicts["checkpoints"] == "open"
    assert report["license"].missing == ("what the file LICENSE permits",)  # the LICENSE file is of their own
    assert report.as_of
    files = [one.url.partition(f"/blob/{'b' * 40}/")[2] for one in report["training_code"].evidence]
    assert files[:2] == ["configs/7b.yaml", "scripts/train.py"]


def test_the_public_verbs_gather_and_keep(sources, sites):
    first = om.openness(GLOW)
    assert not first.offline
    assert om.openness(GLOW, deep=False)["license"].verdict is Verdict.OPEN
    assert sites.request_counts["/repos/acme/glow"] == 1, "repositories are kept for days"
    om.openness(GLOW)
    assert sites.request_counts["/repos/acme/glow"] == 1


def test_a_quick_look_asks_once(sources, sites):
    report = om.openness(GLOW, deep=False)
    assert report["weights"].verdict is Verdict.OPEN
    assert report["training_code"].verdict is Verdict.UNKNOWN
    assert sum(sites.request_counts.values()) == 1


@pytest.mark.parametrize(("status", "headers"), [(429, {}), (403, {"x-ratelimit-remaining": "0"})])
def test_a_rate_limited_github_makes_findings_unknown_never_closed(sources, sites, status, headers):
    sites.pages["/repos/acme/glow"] = status
    sites.headers["/repos/acme/glow"] = headers
    report = om.openness(GLOW)
    for name in ("training_code", "finetuning_code", "evaluation_code"):
        assert report[name].verdict is Verdict.UNKNOWN
        assert "rate limit" in report[name].missing[0]
    assert report["weights"].verdict is Verdict.OPEN
    # What failed is fetched again.
    om.openness(GLOW)
    assert sites.request_counts["/repos/acme/glow"] == 2


def test_github_is_asked_no_more_once_its_limit_is_used_up(sources, sites):
    sites.pages["/repos/acme/glow"] = 429
    for _ in range(3):
        with pytest.raises(RateLimited):
            sources.github.get_repository("acme/glow")
    assert sites.request_counts["/repos/acme/glow"] == 1


def test_a_repository_that_is_gone_is_said_to_be(sources, sites):
    del sites.pages["/repos/acme/glow"]
    assert "no such repository" in om.openness(GLOW)["training_code"].missing[0]


def test_a_repository_named_as_the_model_counts_in_the_first_report(sources, sites):
    card = f"/acme/Glow-7B/resolve/{'a' * 40}/README.md"
    sites.pages[card] = sites.pages[card].replace("https://github.com/acme/glow", "https://example.org/glow")
    for path in [path for path in sites.pages if path.startswith("/repos/acme/glow")]:
        sites.pages[path.replace("glow", "Glow")] = sites.pages[path]
    first = om.openness(GLOW)
    assert first["training_code"].verdict is Verdict.OPEN
    assert om.openness(GLOW, evidence=gathering.store())["training_code"] == first["training_code"]


def test_a_card_or_data_set_that_cannot_be_read_is_unknown(sources, sites):
    sites.pages[f"/acme/Glow-7B/resolve/{'a' * 40}/README.md"] = 403
    sites.pages["/api/datasets/acme/glow-corpus"] = 500
    report = om.openness(GLOW)
    assert report["model_card"].verdict is Verdict.UNKNOWN
    assert report["training_data"].verdict is Verdict.UNKNOWN


def test_pages_that_want_a_token_are_unknown(sources, sites):
    sites.pages[f"/acme/Glow-7B/resolve/{'a' * 40}/README.md"] = 401
    sites.pages["/repos/acme/glow"] = 401
    sites.pages["/api/datasets/acme/glow-corpus"] = 401
    report = om.openness(GLOW)
    assert report["model_card"].verdict is Verdict.UNKNOWN
    assert report["training_data"].verdict is not Verdict.OPEN


def test_a_base_that_only_the_card_names_is_gathered_too(sources, sites):
    about = sites.pages["/api/models/acme/Glow-7B"]
    sites.pages["/api/models/other/Shine-7B"] = about | {"id": "other/Shine-7B", "cardData": {"license": "mit"}}
    sites.pages[f"/other/Shine-7B/resolve/{'a' * 40}/README.md"] = (
        "# Shine\nShine is a fine-tuned version of [Glow-7B](https://huggingface.co/acme/Glow-7B)."
    )
    report = om.openness("other/Shine-7B")
    assert report.bases == (GLOW,)
    assert report["training_data"].verdict is Verdict.OPEN


def test_a_missing_data_set_is_not_open(sources, sites):
    del sites.pages["/api/datasets/acme/glow-corpus"]
    assert om.openness(GLOW)["training_data"].verdict is Verdict.CLOSED


@pytest.mark.parametrize(
    ("answer", "error"),
    [(404, ModelNotFound), (401, ModelNotFound), (500, ServerFailed), (429, RateLimited), ("<html>", InvalidResponse)],
)
def test_what_the_hub_answers(sources, sites, answer, error):
    sites.pages["/api/models/acme/Glow-7B"] = answer
    with pytest.raises(error) as caught:
        om.openness(GLOW)
    assert caught.value.cause.endswith(".")


def test_tokens_go_to_their_own_site_only(sources, sites, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("GITHUB_TOKEN", "gh_secret")
    monkeypatch.setattr(github, "API", github.API.replace("127.0.0.1", "localhost"))
    om_report = Report.of(gathering.gather(GLOW))
    assert sites.tokens["/api/models/acme/Glow-7B"] == "Bearer hf_secret"
    assert sites.tokens["/repos/acme/glow"] == "Bearer gh_secret"
    assert "secret" not in om_report.to_json()


def test_a_redirect_to_another_host_is_not_followed(sources, sites):
    sites.pages["/api/models/acme/Glow-7B"] = 307
    sites.headers["/api/models/acme/Glow-7B"] = {"Location": "http://localhost:1/elsewhere"}
    with pytest.raises(InvalidResponse, match="another host"):
        om.openness(GLOW)


def test_a_renamed_model_is_followed(sources, sites):
    sites.pages["/api/models/old/Glow-7B"] = 307
    sites.headers["/api/models/old/Glow-7B"] = {"Location": "/api/models/acme/Glow-7B"}
    assert om.openness("old/Glow-7B").id == GLOW


class TestOffline:
    def test_switched_off_and_nothing_kept(self, monkeypatch):
        monkeypatch.setenv("OPENMODELS_OFFLINE", "1")
        with pytest.raises(Offline) as caught:
            om.openness(GLOW)
        assert caught.value.reference == GLOW
        assert "evidence=" in caught.value.next_step

    def test_no_connection_and_nothing_kept(self, monkeypatch):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{taken.getsockname()[1]}")
            with pytest.raises(Offline):
                om.openness(GLOW)
            with pytest.raises(Offline):
                om.compare_openness([GLOW, "acme/Other"])

    def test_kept_evidence_stands_in_and_bears_its_date(self, sources, monkeypatch):
        before = om.openness(GLOW)
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        after = om.openness(GLOW)
        assert after.offline
        assert after.as_of == before.as_of
        assert "offline" in after.to_markdown()


def test_a_batch_goes_on_where_it_stopped(sources, sites, tmp_path, monkeypatch):
    monkeypatch.setattr(api, "PACE", 0.0)
    names = [f"acme/Glow-{number}B" for number in range(1, 41)]
    for name in names[:30]:
        sites.pages[f"/api/models/{name}"] = sites.pages["/api/models/acme/Glow-7B"] | {"id": name}
    found = om.compare_openness(names, deep=False, save=tmp_path / "kept")
    assert (len(found), len(found.failures)) == (30, 10)
    assert [one.id for one in found] == names[:30]
    for name in names[30:]:
        sites.pages[f"/api/models/{name}"] = sites.pages["/api/models/acme/Glow-7B"] | {"id": name}
    again = om.compare_openness(names, deep=False, save=tmp_path / "kept")
    assert len(again) == 40
    assert {sites.request_counts[f"/api/models/{name}"] for name in names[:30]} == {1}


def batch(sites, count):
    """Put models on the Hub; return their names."""
    names = [f"acme/Glow-{number}B" for number in range(1, count + 1)]
    for name in names:
        sites.pages[f"/api/models/{name}"] = sites.pages["/api/models/acme/Glow-7B"] | {"id": name}
    return names


def test_a_batch_that_is_interrupted_goes_on_later(sources, sites, tmp_path, monkeypatch):
    monkeypatch.setattr(api, "PACE", 0.0)
    names = batch(sites, 60)
    gathered, leave = api.gather, threading.Event()

    def gather(name, **options):
        if name in names[30:]:
            leave.wait(60)
        return gathered(name, **options)

    def interrupt(done, total):
        assert total == 60
        if done == 20:
            leave.set()
            raise KeyboardInterrupt

    monkeypatch.setattr(api, "gather", gather)
    with pytest.raises(KeyboardInterrupt):
        om.compare_openness(names, deep=False, save=tmp_path / "kept", progress=interrupt)
    kept = {path.stem for path in (tmp_path / "kept" / "models").glob("*.json")}
    fetched = sum(sites.request_counts[f"/api/models/{name}"] for name in names)
    assert 20 <= len(kept) == fetched < 60
    told = []
    found = om.compare_openness(
        names, deep=False, save=tmp_path / "kept", progress=lambda done, total: told.append((done, total))
    )
    assert [one.id for one in found] == names
    assert told == [(done, 60) for done in range(1, 61)]
    assert {sites.request_counts[f"/api/models/{name}"] for name in names} == {1}


def test_a_batch_asks_a_few_at_a_time(sources, sites, monkeypatch):
    monkeypatch.setattr(api, "PACE", 0.0)
    names = batch(sites, 40)
    under_way, most, lock = 0, 0, threading.Lock()
    gathered = api.gather

    def counting(*arguments, **options):
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        try:
            return gathered(*arguments, **options)
        finally:
            with lock:
                under_way -= 1

    monkeypatch.setattr(api, "gather", counting)
    assert len(om.compare_openness(names, deep=False)) == 40
    assert 1 <= most <= api.CONCURRENCY


def test_the_async_batch_gives_the_same(sources, sites, monkeypatch):
    monkeypatch.setattr(api, "PACE", 0.0)
    names = batch(sites, 6)
    found = asyncio.run(om.acompare_openness([*names, "acme/Absent"], deep=False))
    assert [one.id for one in found] == names
    assert list(found.failures) == ["acme/Absent"]


async def cancelled(work, reached):
    """Begin the work, and cancel it once it has reached a point."""
    task = asyncio.create_task(work)
    await asyncio.to_thread(reached.wait, 60)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_cancelling_the_async_batch_begins_no_further_model(sources, sites, monkeypatch):
    names = [f"acme/Glow-{number}B" for number in range(1, 41)]
    reached, leave, begun = threading.Event(), threading.Event(), []
    ended = threading.Event()

    def stuck(name, **_):
        begun.append(name)
        reached.set()
        leave.wait(60)
        raise ModelNotFound("It is gone.")

    compare = api._compare

    def compare_and_signal(*arguments, **options):
        try:
            return compare(*arguments, **options)
        finally:
            ended.set()

    monkeypatch.setattr(api, "gather", stuck)
    monkeypatch.setattr(api, "_compare", compare_and_signal)

    async def main():
        await cancelled(om.acompare_openness(names), reached)
        leave.set()

    asyncio.run(main())
    assert ended.wait(60)
    assert len(begun) < len(names)


def test_a_license_that_github_does_not_know_is_not_no_license(sources, sites):
    sites.pages["/repos/acme/glow"]["license"] = {"spdx_id": "NOASSERTION"}
    om.openness(GLOW)
    assert json.loads((gathering.store() / "github" / "acme__glow.json").read_text("utf-8"))["license"] == "other"


def test_requests_to_a_host_are_paced(sources, sites, monkeypatch):
    waits = []
    hub = EvidenceSources.connect(interval=60.0).hub
    hub.pacer.sleep = waits.append
    for _ in range(3):
        hub.get_model(GLOW)
    hub.close()
    assert len(waits) == 2
    assert 50 < waits[0] <= 60
    assert 110 < waits[1] <= 120


def test_kept_pages_grow_old_by_the_day_they_were_gathered(sources, sites):
    om.openness(GLOW)
    path = gathering.store() / "github" / "acme__glow.json"
    page = json.loads(path.read_text("utf-8"))
    page["gathered_at"] = "2020-01-01T00:00:00Z"
    path.write_text(json.dumps(page))
    om.openness(GLOW)
    assert sites.request_counts["/repos/acme/glow"] == 2
    assert json.loads(path.read_text("utf-8"))["gathered_at"] > "2026"


def test_cancelling_the_async_twin_does_not_wait_for_the_network(sources, monkeypatch):
    reached, leave = threading.Event(), threading.Event()

    def stuck(*_):
        reached.set()
        leave.wait(60)
        raise Offline("The network is gone.")

    monkeypatch.setattr(HubClient, "get_model", stuck)

    async def main():
        await cancelled(om.aopenness(GLOW), reached)
        assert not leave.is_set()
        leave.set()

    asyncio.run(main())


def test_a_fork_its_submodules_and_its_readme_are_kept(sources, sites):
    about = sites.pages["/repos/acme/glow"]
    sites.pages["/repos/acme/glow"] = about | {"fork": True, "parent": {"full_name": "frameworks/neox"}}
    tree = sites.pages["/repos/acme/glow/git/trees/main"]
    tree["tree"].append({"path": "megatron", "type": "commit"})
    readme = "# GPT-NeoX\n\nTrained with [the framework](https://github.com/frameworks/neox)."
    sites.pages["/repos/acme/glow/readme"] = {"content": base64.encodebytes(readme.encode()).decode()}
    report = om.openness(GLOW)
    assert report["training_code"].verdict is Verdict.PARTIAL, "nothing in the fork names the model"
    page = json.loads((gathering.store() / "github" / "acme__glow.json").read_text("utf-8"))
    assert (page["fork"], page["parent"], page["submodules"]) == (True, "frameworks/neox", ["megatron"])
    assert page["readme"]["headings"] == ["GPT-NeoX"]
    assert page["readme"]["links"][0]["url"] == "https://github.com/frameworks/neox"


@pytest.mark.parametrize("answer", [404, 500, {}, {"content": "%%%"}])
def test_a_readme_that_cannot_be_read_changes_nothing(sources, sites, answer):
    sites.pages["/repos/acme/glow/readme"] = answer
    assert om.openness(GLOW)["training_code"].verdict is Verdict.OPEN


PAPER = {"id": "2501.00001", "title": "Glow", "authors": [{"name": "Ann Ash"}, {"name": "Bo Li"}]}


def test_the_titles_of_papers_are_gathered_and_kept(sources, sites, tmp_path):
    assert om.openness(GLOW)["technical_report"].verdict is Verdict.UNKNOWN
    sites.pages["/api/papers/2501.00001"] = PAPER | {"organization": {"name": "acme", "fullname": "Acme, Inc."}}
    report = om.openness(GLOW)
    assert report["technical_report"].verdict is Verdict.OPEN
    assert report["technical_report"].evidence[0].url == "https://arxiv.org/abs/2501.00001"
    report.save(tmp_path / "saved")
    page = json.loads((tmp_path / "saved" / "models" / "acme__Glow-7B.json").read_text("utf-8"))
    assert page["papers"] == {"2501.00001": {"title": "Glow", "authors": "Ann Ash and Bo Li", "organization": "acme"}}
    assert om.openness(GLOW, evidence=tmp_path / "saved")["technical_report"] == report["technical_report"]


@pytest.mark.parametrize("answer", [404, 500, {}, {"title": 3, "authors": "nobody", "organization": []}])
def test_a_paper_that_cannot_be_read_is_not_its_own(sources, sites, answer):
    sites.pages["/api/papers/2501.00001"] = answer
    assert om.openness(GLOW)["technical_report"].verdict is Verdict.UNKNOWN


@pytest.mark.parametrize(
    ("layers", "verdict"), [(32, Verdict.OPEN), (40, Verdict.PARTIAL), ("$N", Verdict.OPEN), (None, Verdict.OPEN)]
)
def test_recipes_are_compared_with_the_models_own_sizes(sources, sites, layers, verdict):
    model = sites.pages[f"/api/models/{GLOW}"]
    model["siblings"].append({"rfilename": "config.json"})
    sites.pages[f"/{GLOW}/resolve/{'a' * 40}/config.json"] = '{"hidden_size": 4096, "num_hidden_layers": 32}'
    text = f"d_model: 4096\nn_layers: {layers}\n"
    if layers:
        sites.pages["/repos/acme/glow/contents/configs/7b.yaml"] = {"content": base64.b64encode(text.encode()).decode()}
    report = om.openness(GLOW)
    assert report["training_code"].verdict is verdict
    assert sites.request_counts["/repos/acme/glow/contents/configs/7b.yaml"] == 1
