"""What is read without loading a model: safetensors headers and the memory that is free."""

import pytest

from fake_hub import safetensors
from openmodels import errors
from openmodels.backends.local.weights import checkpoint, memory


class TestSafetensorsHeader:
    def test_tensors(self, tmp_path):
        (tmp_path / "m").write_bytes(safetensors(a=3, b=5))
        found = checkpoint.read_tensors(tmp_path / "m")
        assert [tensor.elements for tensor in found] == [3, 5]
        assert [tensor.size(2) for tensor in found] == [6, 10]
        assert checkpoint.TensorInfo("U8", 7).size(2) == 7

    @pytest.mark.parametrize("keep", [0, 7, 8, 20, -1])
    def test_truncated(self, tmp_path, keep):
        (tmp_path / "m").write_bytes(safetensors(a=3)[:keep])
        with pytest.raises(errors.LoadFailed, match="m is"):
            checkpoint.read_tensors(tmp_path / "m")

    @pytest.mark.parametrize(
        "header",
        [
            b"[]",
            b"[" * 100_000,
            b"{",
            b'{"a": 1}',
            b'{"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, -4]}}',
            b'{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}',
            b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}',
            b'{"a": {"dtype": "F32", "shape": "1", "data_offsets": [0, 4]}}',
        ],
    )
    def test_damaged(self, tmp_path, header):
        (tmp_path / "m").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
        with pytest.raises(errors.LoadFailed, match=r"m is|header of m"):
            checkpoint.read_tensors(tmp_path / "m")


class TestMemory:
    @pytest.fixture
    def group(self, tmp_path):
        def make(path, limit, usage, stat, *, limit_name, usage_name):
            place = tmp_path / path
            place.mkdir(parents=True, exist_ok=True)
            (place / limit_name).write_text(f"{limit}\n")
            (place / usage_name).write_text(f"{usage}\n")
            (place / "memory.stat").write_text(stat)

        return make

    def test_version_2(self, tmp_path, group):
        names = {"limit_name": "memory.max", "usage_name": "memory.current"}
        group("a/b", "max", 50, "inactive_file 10\n", **names)
        group("a", 100, 60, "anon 1\ninactive_file 10\n", **names)
        (tmp_path / "own").write_text("0::/a/b\n")
        assert memory._cgroup_left(tmp_path, tmp_path / "own") == [50]

    def test_version_1_in_a_container(self, tmp_path, group):
        group(
            "memory", 100, 60, "total_inactive_file 5\n",
            limit_name="memory.limit_in_bytes", usage_name="memory.usage_in_bytes",
        )  # fmt: skip
        (tmp_path / "own").write_text("4:cpu:/\n3:memory:/on/the/host\n")
        assert memory._cgroup_left(tmp_path, tmp_path / "own") == [45]

    def test_no_cgroups(self, tmp_path):
        assert memory._cgroup_left(tmp_path, tmp_path / "own") == []

    def test_the_numbers_are_in_the_message(self, monkeypatch):
        monkeypatch.setattr(memory, "available", lambda *_: 2 * 10**9)
        with pytest.raises(errors.DoesNotFit, match=r"needs 3\.3 GB of memory, 2\.0 GB are available"):
            memory.check_memory(3 * 10**9)
