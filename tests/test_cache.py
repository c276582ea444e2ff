"""The folder for converted models: whole or not there, one writer at a time."""

import threading
import time

import pytest

from openmodels import errors
from openmodels.backends.local import cache


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENMODELS_CACHE", str(tmp_path / "own"))


def test_an_interrupt_leaves_nothing(tmp_path):
    def interrupted():
        with cache.building(tmp_path / "made") as draft:
            (draft / "half").touch()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_left_overs_of_a_killed_process_go(tmp_path):
    (tmp_path / ".made-killed").mkdir()
    with cache.building(tmp_path / "made") as draft:
        (draft / "whole").touch()
    assert [path.name for path in tmp_path.iterdir()] == ["made"]
    assert (tmp_path / "made" / "whole").exists()


def test_a_lock_held_elsewhere():
    taken, free = threading.Event(), threading.Event()

    def hold():
        with cache.locked("item", None):
            taken.set()
            free.wait()

    holder = threading.Thread(target=hold)
    holder.start()
    taken.wait()
    with pytest.raises(errors.DeadlineExceeded), cache.locked("item", time.monotonic()):
        pass
    free.set()
    holder.join()


def test_a_cache_that_cannot_be_made(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("OPENMODELS_CACHE", str(tmp_path / "file"))
    with pytest.raises(errors.LoadFailed, match="OPENMODELS_CACHE"), cache.locked("item", None):
        pass


def test_a_large_file_is_read_once_as_long_as_it_does_not_change(tmp_path, monkeypatch):
    file = tmp_path / "large.gguf"
    file.write_bytes(b"a large file")
    monkeypatch.setattr(cache, "_LARGE", 4)
    first = cache.file_digest(file)
    with monkeypatch.context() as patch:
        patch.setattr(cache, "_sha256", lambda path: pytest.fail("read again"))
        assert cache.file_digest(file) == first
    with file.open("r+b") as opened:
        opened.write(b"GGUF")
    assert cache.file_digest(file) != first
