"""`show`, `tree`, `search` and `openness` on a pseudo-terminal."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from made_up import evidence, page, whole

from openmodels.catalog.index.codec import today
from openmodels.catalog.index.writer import Writer
from openmodels.catalog.sources import hub_records
from openmodels.openness.report import Report
from pseudo_terminal import offline_cache, run_on_terminal, without_escapes

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals")

CHILD = page("acme/Glow-7B-Chat", tags=["base_model:finetune:acme/Glow-7B"], cardData={"license": "mit"})


def on_terminal(folder, *arguments, raw=False):
    code, written = run_on_terminal(*arguments, **offline_cache(folder))
    return code, written if raw else without_escapes(written)


@pytest.fixture
def folder(tmp_path):
    with Writer(tmp_path / "catalog.sqlite") as writer:
        writer.put_all(hub_records.build_record(row, today()) for row in (page(), CHILD))
        writer.flush({"hub.as_of": today().isoformat()})
        writer.finish()
    Report.of(whole()).save(tmp_path / "evidence")
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("show", "acme/Glow-7B"), ("Apache-2.0", "7")),
        (("tree", "acme/Glow-7B"), ("acme/Glow-7B", "acme/Glow-7B-Chat")),
        (("search", "glow", "--open"), ("acme/Glow-7B",)),
        (("openness", "acme/Glow-7B"), ("acme/Glow-7B: open [default]", "github.com/acme/glow")),
    ],
    ids=lambda value: value[0],
)
def test_commands_show_themselves(folder, arguments, expected):
    if arguments[0] == "openness":
        arguments = (*arguments, "--evidence", str(folder / "evidence"))
    code, written = on_terminal(folder, *arguments)
    assert code == 0, written
    assert "Traceback" not in written
    for text in expected:
        assert text in written


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252"])
def test_verdicts_keep_their_signs_in_every_encoding(folder, encoding):
    command = [sys.executable, "-m", "openmodels", "openness", "acme/Glow-7B", "--evidence", str(folder / "evidence")]
    written = subprocess.run(
        command, capture_output=True, env=os.environ | {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}, check=True
    ).stdout.decode(encoding)
    assert "+ weights: open" in written
    assert "? finetuning data: unknown" in written
    assert "+ open or met, ~ partial, x closed" in written


def test_json_loses_no_letter_in_any_encoding(folder):
    made = page("acme/Glow-7B", cardData={"license": "other", "license_name": "許諾 €"}, tags=[])
    Report.of(evidence(made)).save(folder / "evidence")
    command = [sys.executable, "-m", "openmodels", "openness", "acme/Glow-7B", "--evidence", str(folder / "evidence")]
    for form in ("--json", "--bom"):
        environment = os.environ | {"PYTHONIOENCODING": "latin-1", "PYTHONUTF8": "0"}
        written = subprocess.run([*command, form], capture_output=True, env=environment, check=True).stdout
        assert "許諾 €" in str(json.loads(written.decode("latin-1")))


def test_no_color_is_honoured(folder, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    code, written = on_terminal(folder, "openness", "acme/Absent", "--evidence", str(folder / "evidence"), raw=True)
    assert code == 3
    assert "\x1b[" not in written


def test_an_argument_of_any_length_is_quoted_in_part(folder):
    code, written = on_terminal(folder, "openness", "acme/" + "x" * 9_000, "--evidence", str(folder / "evidence"))
    assert code == 2
    assert len(written) < 2_000
    assert "…" in written


def test_what_is_not_there_is_told_in_words(folder):
    code, written = on_terminal(folder, "openness", "acme/Absent", "--evidence", str(folder / "evidence"))
    assert code == 3
    assert "acme/Absent" in written
    assert "Traceback" not in written
