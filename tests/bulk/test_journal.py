"""The journal of a bulk run against full disks, power loss and files of strangers."""

from __future__ import annotations

import errno
import json
import os
import stat
import sys
import tracemalloc

import pytest
from hypothesis import given, strategies as st

import openmodels as om
from openmodels.bulk import journal as journals
from openmodels.bulk.journal import Journal


class Filling:
    """A raw file whose disk is full for some writes: each takes `cut` bytes and then fails."""

    def __init__(self, file, fails, cut):
        self.file, self.fails, self.cut, self.count = file, set(fails), cut, 0

    def write(self, data):
        self.count += 1
        if self.count in self.fails:
            self.file.write(bytes(data)[: self.cut])
            raise OSError(errno.ENOSPC, "No space left on device")
        return self.file.write(data)

    def __getattr__(self, name):
        return getattr(self.file, name)


def kept(path, count):
    journal = Journal(path)
    try:
        return [reply.text if (reply := journal.find(index, "k")) else None for index in range(count)], journal.damaged
    finally:
        journal.close()


@given(fails=st.sets(st.integers(1, 5)), cut=st.integers(0, 400))
def test_a_disk_that_fills_and_frees_loses_no_item(tmp_path_factory, fails, cut):
    path = tmp_path_factory.mktemp("bulk") / "out.jsonl"
    journal = Journal(path)
    journal._file = Filling(journal._file, fails, cut)
    failed = 0
    for index in range(6):
        try:
            journal.add(index, "k", om.Reply(text=f"answer {index}"))
        except om.WriteFailed as error:
            assert error.filename == str(path)
            failed += 1
    journal.close()
    assert failed == len(fails)
    assert kept(path, 6) == ([f"answer {index}" for index in range(6)], 0)
    assert [json.loads(line)["index"] for line in path.read_bytes().splitlines()] == list(range(6))


def test_other_calls_under_way_are_kept_when_one_write_fails(tmp_path, monkeypatch):
    path = tmp_path / "out.jsonl"
    plain = Journal.__init__

    def filling(self, where):
        plain(self, where)
        self._file = Filling(self._file, [3], 10)

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "__init__", filling)
        run = om.Model("echo:").map([f"p{number}" for number in range(50)], save=path, concurrency=6)
        delivered = []
        with pytest.raises(om.WriteFailed):
            delivered.extend(item.index for item in run)
    lines = [json.loads(line)["index"] for line in path.read_bytes().splitlines()]
    assert set(delivered) <= set(lines)
    assert len(lines) == len(set(lines)) >= 3
    again = om.Model("echo:")
    items = list(again.map([f"p{number}" for number in range(50)], save=path))
    assert [item.reply.text for item in items] == [f"p{number}" for number in range(50)]
    assert sum(item.resumed for item in items) == len(lines)


GOOD = b'{"index": 0, "key": "k", "reply": {"text": "zero"}}\n'
LAST = b'{"index": 2, "key": "k", "reply": {"text": "two"}}\n'


@pytest.mark.parametrize(
    "middle",
    [
        b'{"index": 1, "key": "k", "reply": {"text": "on',
        b'{"index": 1, "key": "k", "reply": {"text": "on\n',
        b"\0" * 5000,
        b"\0" * 10 + b"\n",
        b'{"index": 1, "key": "k", "reply": ' + b"[" * 10**5 + b"]" * 10**5 + b"}\n",
        b'{"index": 1, "key": "k", "reply": {"text": "\xff\xfe"}}\n',
        b'{"index": 1' + b"0" * 6000 + b', "key": "k", "reply": {}}\n',
        b'{"index": 1, "key": ["k"], "reply": {}}\n',
        b'{"index": 1, "key": "k", "reply": "text"}\n',
        b'{"index": true, "key": "k", "reply": {}}\n',
        b'{"index": 1.0, "key": "k", "reply": {}}\n',
        b'{"index": NaN, "key": "k", "reply": {}}\n',
    ],
)
def test_a_damaged_line_in_the_middle_is_skipped_and_counted(tmp_path, middle):
    path = tmp_path / "out.jsonl"
    path.write_bytes(GOOD + middle + LAST)
    assert kept(path, 3) == (["zero", None, "two"], 1)
    assert path.read_bytes() == GOOD + middle + LAST


def test_the_summary_tells_of_damaged_lines(tmp_path):
    path = tmp_path / "out.jsonl"
    list(om.Model("echo:").map(["a", "b"], save=path, concurrency=1))
    first, second = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first[:30] + b"\n" + second)
    run = om.Model("echo:").map(["a", "b"], save=path)
    assert [item.resumed for item in run] == [False, True]
    assert run.summary.damaged == 1
    assert "1 damaged lines of the file were skipped" in str(run.summary)


@given(
    st.lists(
        st.sampled_from([GOOD, LAST, GOOD[:-1], GOOD[:30], b"\0\0", b"\n", b"x\n", b"\xff"]) | st.binary(max_size=40)
    )
)
def test_any_file_gives_a_journal_or_a_typed_error(tmp_path_factory, parts):
    path = tmp_path_factory.mktemp("bulk") / "out.jsonl"
    content = b"".join(parts)
    path.write_bytes(content)
    try:
        journal = Journal(path)
    except om.InvalidRequest:
        assert path.read_bytes() == content
        return
    journal.add(7, "k", om.Reply(text="new"))
    journal.close()
    assert kept(path, 8)[0][7] == "new"


def test_an_index_out_of_range_fills_no_memory(tmp_path):
    path = tmp_path / "out.jsonl"
    path.write_bytes(b"".join(b'{"index": %d, "key": "k", "reply": {}}\n' % (2**39 + n) for n in range(50)))
    tracemalloc.start()
    try:
        journal = Journal(path)
        assert journal.find(2**39 + 7, "k") == om.Reply()
        journal.close()
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


def test_a_line_without_end_is_not_read_into_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(journals, "_MAX_LINE_BYTES", 2_000)
    path = tmp_path / "out.jsonl"
    path.write_bytes(GOOD + b'{"index": 1, "key": "k", "reply": {"text": "' + b"x" * 9_000 + b'"}}\n' + LAST)
    assert kept(path, 3) == (["zero", None, "two"], 1)


@pytest.mark.skipif(os.name != "posix", reason="the modes are POSIX")
def test_answers_are_for_the_users_eyes_and_reach_the_disk(tmp_path, monkeypatch):
    synced = []
    plain = os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: (synced.append(file), plain(file)))
    list(om.Model("echo:").map(["secret"], save=tmp_path / "out.jsonl"))
    assert synced
    talk = om.Conversation(om.Model("echo:"))
    talk.save(tmp_path / "talk.json")
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}


@pytest.mark.parametrize("name", ["a\0b", ".", "none/out.jsonl"])
def test_a_name_that_takes_no_file_is_a_typed_error(tmp_path, name):
    with pytest.raises(om.WriteFailed):
        Journal(str(tmp_path / name))


@pytest.mark.skipif(sys.platform == "win32", reason="the lock is POSIX")
def test_a_file_system_without_locks_is_a_typed_error_with_its_cause(tmp_path, monkeypatch):
    import fcntl

    def flock(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(om.WriteFailed, match="No locks available") as info:
        Journal(tmp_path / "out.jsonl")
    assert info.value.__cause__.errno == errno.ENOLCK


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="/dev/full is Linux's")  # noqa: PTH110
def test_a_device_is_written_and_not_read():
    with pytest.raises(om.WriteFailed):
        list(om.Model("echo:").map(["a"], save="/dev/full", progress=False))
    with om.Model("echo:").map(["a", "b"], save=os.devnull, progress=False) as items:
        assert [item.reply.text for item in items] == ["a", "b"]
