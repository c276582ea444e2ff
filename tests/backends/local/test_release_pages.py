"""Pages of mapped files that are let go."""

from __future__ import annotations

import sys
from pathlib import Path

import psutil
import pytest
import torch

import openmodels as om
from openmodels.backends.local.weights import memory

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets pages go")

_SIZE = 2**22


def _resident(file: Path) -> int:
    return sum(found.rss for found in psutil.Process().memory_maps(grouped=False) if found.path == str(file))


@pytest.fixture
def mapped(tmp_path: Path) -> tuple[Path, torch.Tensor]:
    """A file of ones, and the mapping of it."""
    file = tmp_path / "ones"
    file.write_bytes(b"\x01" * _SIZE)
    return file, torch.from_file(str(file), shared=False, size=_SIZE, dtype=torch.uint8)


def test_pages_go_and_come_back(mapped: tuple[Path, torch.Tensor]) -> None:
    file, numbers = mapped
    assert numbers.sum().item() == _SIZE
    assert _resident(file) >= _SIZE
    memory.release_pages([numbers.data_ptr() + 5])
    assert _resident(file) == 0
    assert numbers.sum().item() == _SIZE


def test_what_was_written_stays(mapped: tuple[Path, torch.Tensor]) -> None:
    _, numbers = mapped
    numbers[7] = 3
    memory.release_pages([numbers.data_ptr()])
    assert numbers[7].item() == 3


def test_other_mappings_stay(mapped: tuple[Path, torch.Tensor]) -> None:
    file, numbers = mapped
    numbers.sum()
    elsewhere = torch.ones(_SIZE)
    memory.release_pages([elsewhere.data_ptr()])
    memory.release_pages([])
    assert _resident(file) >= _SIZE
    assert elsewhere.sum().item() == _SIZE


def test_where_mappings_are_hidden_pages_stay(
    mapped: tuple[Path, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    def hidden(*args: object, **options: object) -> None:
        raise FileNotFoundError("/proc/self/smaps")

    file, numbers = mapped
    numbers.sum()
    with monkeypatch.context() as patched:
        patched.setattr(psutil.Process, "memory_maps", hidden)
        memory.release_pages([numbers.data_ptr()])
    assert _resident(file) >= _SIZE


def test_a_model_in_bfloat16_is_not_in_memory_twice() -> None:
    with om.Model(om.DEFAULT_MODEL, engine="transformers", dtype="bfloat16") as model:
        file = Path(model.load().backend.describe()["path"], "model.safetensors").resolve()
        assert (_resident(file) < file.stat().st_size / 4) == model.backend._engine.scheduler.runner._fused.is_packed
