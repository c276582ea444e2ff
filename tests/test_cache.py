"""The folder for converted models: whole or not there, one writer at a time."""

import threading
import time

import pytest

from openmodels import errors
from openmodels.backends.local.weights import cache


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENMODELS_CACHE", str(tmp_path / "own"))


def test_an_interrupt_leaves_nothing(tmp_path):
    def interrupted():
        with cache.build_folder(tmp_path / "made") as draft:
            (draft / "half").touch()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_left_overs_of_a_killed_process_go(tmp_path):
    (tmp_path / ".made-killed").mkdir()
    with cache.build_folder(tmp_path / "made") as draft:
        (draft / "whole").touch()
    assert [path.name for path in tmp_path.iterdir()] == ["made"]
    assert (tmp_path / "made" / "whole").exists()


def test_a_lock_held_elsewhere():
    taken, free = threading.Event(), threading.Event()

    def hold():
        with cache.lock("item", None):
            taken.set()
            free.wait()

    holder = threading.Thread(target=hold)
    holder.start()
    taken.wait()
    with pytest.raises(errors.DeadlineExceeded), cache.lock("item", time.monotonic()):
        pass
    free.set()
    holder.join()


def test_a_cache_that_cannot_be_made(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("OPENMODELS_CACHE", str(tmp_path / "file"))
    with pytest.raises(errors.LoadFailed, match="OPENMODELS_CACHE"), cache.lock("item", None):
        pass


def test_a_large_file_is_read_once_as_long_as_it_does_not_change(tmp_path, monkeypatch):
    file = tmp_path / "large.gguf"
    file.write_bytes(b"a large file")
    monkeypatch.setattr(cache, "_REMEMBERED_SIZE", 4)
    first = cache.file_digest(file)
    with monkeypatch.context() as patch:
        patch.setattr(cache.hashlib, "file_digest", lambda *_: pytest.fail("read again"))
        assert cache.file_digest(file) == first
    with file.open("r+b") as opened:
        opened.write(b"GGUF")
    assert cache.file_digest(file) != first


class TestDamage:
    @pytest.fixture
    def folder(self, tmp_path, monkeypatch):
        monkeypatch.setenv("OPENMODELS_CACHE", str(tmp_path))
        folder = cache.weights_folder() / "abc-bf16-1"
        folder.parent.mkdir(parents=True)
        with cache.build_folder(folder) as draft:
            (draft / "weights.bin").write_bytes(b"w" * 5000)
            (draft / "sub").mkdir()
            (draft / "sub" / "config.json").write_text("{}")
        assert cache.is_intact(folder)
        return folder

    @pytest.mark.parametrize(
        "change",
        [
            lambda folder: (folder / "weights.bin").write_bytes(b"w" * 4999 + b"x"),
            lambda folder: (folder / "weights.bin").write_bytes(b"w" * 10),
            lambda folder: (folder / "sub" / "config.json").unlink(),
            lambda folder: (folder / cache.MANIFEST).write_bytes(b""),
            lambda folder: (folder / cache.MANIFEST).write_bytes(b"[" * 10_000),
            lambda folder: (folder / cache.MANIFEST).write_text('{"weights.bin": 7}'),
        ],
        ids=["changed", "shorter", "missing", "list empty", "list deep", "list wrong"],
    )
    def test_is_noticed_named_and_mended(self, folder, change):
        change(folder)
        with pytest.raises(errors.LoadFailed, match="damaged") as caught:
            cache.is_intact(folder)
        assert str(folder) in caught.value.cause
        assert caught.value.next_step == "Try again: it is made anew."
        assert not cache.is_intact(folder)
        assert list(cache.weights_folder().iterdir()) == []

    def test_a_folder_of_an_earlier_version_is_taken_over_where_it_looks_whole(self, folder):
        (folder / cache.MANIFEST).unlink()
        assert cache.is_intact(folder)
        assert (folder / cache.MANIFEST).is_file()
        (folder / cache.MANIFEST).unlink()
        (folder / "weights.bin").write_bytes(b"")
        with pytest.raises(errors.LoadFailed, match=r"weights\.bin is empty"):
            cache.is_intact(folder)

    def test_a_damaged_note_of_a_hash_is_no_hash(self, folder, monkeypatch):
        monkeypatch.setattr(cache, "_REMEMBERED_SIZE", 10)
        digest = cache.file_digest(folder / "weights.bin")
        (note,) = (cache.weights_folder() / "known").iterdir()
        note.write_text("")
        assert cache.file_digest(folder / "weights.bin") == digest
        assert note.read_text() == digest
