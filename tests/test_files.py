"""Files: whole or not at all, private where they must be, read within bounds."""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

import openmodels as om
from openmodels import files


def full(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


class TestWrite:
    @pytest.mark.parametrize("step", ["fsync", "open"])
    def test_a_full_disk_leaves_the_old_file(self, tmp_path, monkeypatch, step):
        file = tmp_path / "talk.json"
        files.write_atomically(file, "old")
        with monkeypatch.context() as patch:
            patch.setattr(files.os, step, full)
            with pytest.raises(om.WriteFailed, match=r"talk\.json cannot be written: No space") as caught:
                files.write_atomically(file, "new")
        assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(file))
        assert isinstance(caught.value.__cause__, OSError)
        assert caught.value.next_step.endswith(".")
        assert [path.name for path in tmp_path.iterdir()] == ["talk.json"]
        assert file.read_text() == "old"

    def test_what_the_block_raises_leaves_the_old_file(self, tmp_path):
        file = tmp_path / "report.md"
        files.write_atomically(file, "old")

        def interrupted():
            with files.atomic_writer(file) as opened:
                opened.write(b"half")
                raise KeyError

        with pytest.raises(KeyError):
            interrupted()
        assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]

    @pytest.mark.skipif(os.name != "posix", reason="the modes are POSIX")
    def test_modes(self, tmp_path):
        def mode(name):
            return stat.S_IMODE((tmp_path / name).stat().st_mode)

        before = os.umask(0o027)
        try:
            files.write_atomically(tmp_path / "private", "x", private=True)
            files.write_atomically(tmp_path / "public", "x")
            (tmp_path / "kept").touch(0o600)
            files.write_atomically(tmp_path / "kept", "x")
        finally:
            os.umask(before)
        assert (mode("private"), mode("public"), mode("kept")) == (0o600, 0o640, 0o600)

    @pytest.mark.skipif(os.name != "posix", reason="links and pipes are POSIX")
    def test_links_are_followed_and_devices_written_to(self, tmp_path):
        (tmp_path / "target").write_text("old")
        (tmp_path / "link").symlink_to(tmp_path / "target")
        files.write_atomically(tmp_path / "link", "new")
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "target").read_text() == "new"
        files.write_atomically(os.devnull, "x")
        assert stat.S_ISCHR(Path(os.devnull).stat().st_mode)

    @pytest.mark.parametrize("name", ["no/such/folder.json", ".", "a\0b", "x" * 300])
    def test_a_name_that_takes_no_file_is_a_typed_error(self, tmp_path, name):
        with pytest.raises(om.WriteFailed, match="cannot be written"):
            files.write_atomically(tmp_path / name, "x")


class TestJson:
    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ('{"a": NaN, "b": -Infinity, "c": 1e400}', {"a": None, "b": None, "c": None}),
            ('{"a": ' + "7" * 5000 + "}", {"a": None}),
            ('\ufeff{"a": 1}', {"a": 1}),
            ('{"a": "\\ud83d\\ude00 \\udc00"}', {"a": "\U0001f600 \ufffd"}),
            ('{"a": 1, "a": 2}', {"a": 2}),
        ],
    )
    def test_what_no_field_can_hold_is_none(self, text, value):
        assert files.parse_json(text.encode(), "The answer") == value

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"{",
            b"\xff\xfe{}",
            b"\0" * 50,
            b"[" * 10**6,
            b'{"a":' * 5000 + b"1" + b"}" * 5000,
            b"[" * 250 + b"]" * 250,
        ],
    )
    def test_damage_is_one_typed_error(self, data):
        with pytest.raises(om.InvalidResponse, match=r"^The answer is "):
            files.parse_json(data, "The answer", kind=om.InvalidResponse)

    @given(st.binary(max_size=200) | st.text(max_size=200))
    def test_any_bytes_give_a_value_or_a_typed_error(self, data):
        try:
            value = files.parse_json(data, "The answer")
        except om.InvalidRequest:
            return
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()

    def test_size_and_kind_are_bounded(self, tmp_path):
        file = tmp_path / "x.json"
        file.write_bytes(b"[1, 2, 3]")
        assert files.read_json(file, largest=9) == [1, 2, 3]
        for path, largest in ((file, 8), (tmp_path, 9), (tmp_path / "none", 9), (tmp_path / "a\0b", 9)):
            with pytest.raises(om.InvalidRequest):
                files.read_json(path, largest=largest)
        if hasattr(os, "mkfifo"):
            os.mkfifo(tmp_path / "pipe")  # opening it as usual would wait for a writer
            with pytest.raises(om.InvalidRequest, match="not a plain file"):
                files.read_bounded(tmp_path / "pipe", largest=9)
        if Path("/dev/zero").exists():
            with pytest.raises(om.InvalidRequest, match="not a plain file"):
                files.read_bounded("/dev/zero", largest=10)
