"""The catalog's filter by memory against `om.fit`, for models whose configs are known."""

import json
from pathlib import Path

import pytest

from openmodels.backends.local.weights import process_memory
from openmodels.backends.local.weights.checkpoint import TensorInfo
from openmodels.catalog import query
from openmodels.catalog.index.writer import in_memory
from openmodels.catalog.record import Ids, ModelRecord, Parameters
from openmodels.catalog.search import execute
from openmodels.choose.fit import _Calculation
from openmodels.choose.fit_device import Device, read_device
from openmodels.choose.fit_files import ModelFiles

PUBLISHED = json.loads((Path(__file__).parent / "published_configs.json").read_text(encoding="utf-8"))
MODELS = {
    f"toys/{model.partition('/')[2]}-{count}": (facts["config"], count)
    for model, facts in PUBLISHED.items()
    for count in (36 * 10**8, 79 * 10**8, 105 * 10**8, 116 * 10**8, 118 * 10**8, 40 * 10**9)
}


@pytest.fixture(scope="module")
def index():
    return in_memory(
        ModelRecord.sourced("hub", None, {"ids": Ids(hub=name), "parameters": Parameters(total=count)})
        for name, (_, count) in MODELS.items()
    )


def assert_agree(index, memory, device):
    """Compare what the catalog lists with what `om.fit` says; return both."""
    matches = execute.search(index, query.build_query(fits=memory, limit=1000))
    listed, accepted = {record.id for _, record in matches.hits}, set()
    for name, (config, count) in MODELS.items():
        calculation = _Calculation(ModelFiles(name, config, {"w": TensorInfo("BF16", count)}), device, None)
        fit = calculation.fit(8192, 1, is_default=True)
        fixed = fit.overhead["interpreter and libraries"]
        fixed += process_memory.RUNTIME if device.kind == "cpu" else 0
        assert (name in listed) is (fit.weights_bytes + fixed <= fit.available_bytes), name
        accepted |= {name} if fit.fits else set()
    assert accepted <= listed
    (remark,) = matches.parsed.interpretation.remarks
    assert "om.fit" in remark
    return listed, accepted


@pytest.mark.parametrize("memory", ["8GB", "16GB", "24GB", "80GB"])
def test_what_fits_on_a_gpu(index, memory):
    listed, accepted = assert_agree(index, memory, read_device(f"cuda:{memory}"))
    assert accepted
    assert len(listed) < len(MODELS)


def test_ten_billion_parameters_fit_in_24_gb(index):
    listed, accepted = assert_agree(index, "24GB", read_device("cuda:24GB"))
    name = "toys/Llama-3.1-8B-10500000000"
    assert name in listed & accepted


@pytest.mark.parametrize(("native", "width"), [(True, 2), (False, 4)])
def test_what_fits_here(index, monkeypatch, native, width):
    memory = 16 * 10**9
    monkeypatch.setattr(query, "free_memory", lambda _: memory)
    for module in ("backends.local.weights.process_memory", "choose.fit"):
        monkeypatch.setattr(f"openmodels.{module}.cpu_has_bfloat16", lambda: native)
    listed, _ = assert_agree(index, "here", Device("cpu", "cpu", memory, None, True, "cpu", ""))
    assert {MODELS[name][1] for name in listed} == {count for _, count in MODELS.values() if width * count < 15.5e9}
