"""`show`, `tree`, `search` and `openness` on a pseudo-terminal."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
from made_up import page, whole

from openmodels.catalog.index.codec import today
from openmodels.catalog.index.writer import Writer
from openmodels.catalog.sources import hub_records
from openmodels.openness.report import Report

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals")

CHILD = page("acme/Glow-7B-Chat", tags=["base_model:finetune:acme/Glow-7B"], cardData={"license": "mit"})


def on_terminal(folder, *arguments):
    """Run a command on a terminal of 80 columns; return its exit code and what it wrote."""
    import pty

    master, slave = pty.openpty()
    environment = {"OPENMODELS_CACHE": str(folder), "HF_HUB_CACHE": str(folder / "hub"), "OPENMODELS_OFFLINE": "1"}
    command = [sys.executable, "-W", "error", "-m", "openmodels", *arguments]
    environment = os.environ | environment | {"TERM": "xterm", "COLUMNS": "80"}
    process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=environment)
    os.close(slave)
    written = b""
    try:
        while part := os.read(master, 4096):
            written += part
    except OSError:  # Linux: the other end is closed
        pass
    finally:
        os.close(master)
    return process.wait(60), re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", written.decode()).replace("\r", "")


@pytest.fixture
def folder(tmp_path):
    with Writer(tmp_path / "catalog.sqlite") as writer:
        writer.put_all(hub_records.record(row, today()) for row in (page(), CHILD))
        writer.flush({"hub.as_of": today().isoformat()})
        writer.finish()
    Report.of(whole()).save(tmp_path / "evidence")
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("show", "acme/Glow-7B"), ("Apache-2.0", "7")),
        (("tree", "acme/Glow-7B"), ("acme/Glow-7B", "acme/Glow-7B-Chat")),
        (("search", "glow", "--open"), ("acme/Glow-7B",)),
        (("openness", "acme/Glow-7B"), ("acme/Glow-7B: open [default]", "github.com/acme/glow")),
    ],
    ids=lambda value: value[0],
)
def test_commands_show_themselves(folder, arguments, told):
    if arguments[0] == "openness":
        arguments = (*arguments, "--evidence", str(folder / "evidence"))
    code, written = on_terminal(folder, *arguments)
    assert code == 0, written
    assert "Traceback" not in written
    for text in told:
        assert text in written


def test_what_is_not_there_is_told_in_words(folder):
    code, written = on_terminal(folder, "openness", "acme/Absent", "--evidence", str(folder / "evidence"))
    assert code == 3
    assert "acme/Absent" in written
    assert "Traceback" not in written
