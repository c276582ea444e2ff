"""Child processes: nothing of the current folder runs in them, and none outlives what wants it."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import psutil
import pytest

import openmodels as om
from openmodels import background
from openmodels.backends.local import subprocesses
from openmodels.backends.local.weights import default_model
from openmodels.testing.driver import wait_until

posix = pytest.mark.skipif(os.name != "posix", reason="programs are files with a mode here")


@pytest.fixture
def strange(tmp_path, monkeypatch):
    """A folder of a stranger, which is the current one and stands in both search paths."""
    folder = tmp_path / "strange"
    folder.mkdir()
    monkeypatch.chdir(folder)
    for name in ("PATH", "PYTHONPATH"):
        monkeypatch.setenv(name, os.pathsep.join(["", ".", "lib", os.environ.get(name, ""), ""]))
    mark = tmp_path / "executed"
    code = f"open({str(mark)!r}, 'a').write(__file__)\n"
    (folder / "lib").mkdir()
    for module in ("pip.py", "json.py", "sitecustomize.py", "signal.py", "lib/encodings.py", "threading.py"):
        (folder / module).write_text(code)
    for program in ("pip", "uv", "vllm", "lib/tool"):
        (folder / program).write_text(f"#!/bin/sh\necho run >> {mark}\n")
        (folder / program).chmod(0o755)
    return mark


class TestCurrentFolder:
    @posix
    @pytest.mark.parametrize("module", ["pip", "json.tool", "signal"])
    def test_no_module_of_it_is_imported(self, strange, module):
        status, _ = subprocesses.run([sys.executable, "-m", module], deadline=time.monotonic() + 60)
        assert isinstance(status, int)
        assert not strange.exists()

    @posix
    def test_no_program_of_it_is_found(self, strange):
        for program in ("pip", "uv", "vllm", "tool"):
            assert not str(subprocesses.find_program(program)).startswith(str(Path.cwd()))
        for command in default_model._list_installers(strange.parent):
            assert Path(command[0]).is_absolute()
            assert not command[0].startswith(str(Path.cwd()))

    @posix
    def test_a_program_named_by_its_path_is_the_callers_own(self, strange):
        assert subprocesses.find_program("./vllm") == f"{Path.cwd()}/vllm"
        assert subprocesses.find_program("lib/tool") == f"{Path.cwd()}/lib/tool"
        assert subprocesses.find_program("./none") is None

    def test_absolute_entries_stay(self, strange, monkeypatch, tmp_path):
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["", str(tmp_path), "x"]))
        assert subprocesses.safe_environment()["PYTHONPATH"] == str(tmp_path)
        monkeypatch.setenv("PYTHONPATH", f".{os.pathsep}")
        assert "PYTHONPATH" not in subprocesses.safe_environment()


WAITS = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"


def alive(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class TestEnd:
    def start(self, tmp_path, deadline):
        """Run a child that waits, on a thread; return the thread, its number, and what the thread raises."""
        out, raised = tmp_path / "out", []

        def work():
            with out.open("w") as opened:
                try:
                    subprocesses.run([sys.executable, "-c", WAITS], stdout=opened, deadline=deadline)
                except (TimeoutError, om.StreamInterrupted) as error:
                    raised.append(error)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        wait_until(lambda: out.exists() and out.read_text().endswith("\n"), 30)
        return thread, int(out.read_text()), raised

    def test_a_deadline_ends_it(self, tmp_path):
        thread, pid, raised = self.start(tmp_path, time.monotonic() + 2)
        thread.join(30)
        assert isinstance(raised[0], TimeoutError)
        assert not alive(pid)

    def test_a_cancelled_thread_ends_it(self, tmp_path):
        thread, pid, raised = self.start(tmp_path, None)
        background.cancel(thread)
        thread.join(30)
        assert isinstance(raised[0], om.StreamInterrupted)
        assert not alive(pid)

    def test_a_killed_process_ends_it(self, tmp_path):
        code = f"""
            import sys
            from openmodels.backends.local import subprocesses
            subprocesses.run([sys.executable, "-c", {WAITS!r}], stdout=sys.stdout, deadline=None)
        """
        with subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True) as user:
            pid = int(user.stdout.readline())
            user.kill()
            user.wait()
            wait_until(lambda: not alive(pid), 30)

    def test_what_it_writes_and_how_it_ends(self):
        code = "import sys; sys.exit('no such package')"
        assert subprocesses.run([sys.executable, "-c", code], deadline=None) == (
            1,
            "no such package\n",
        )


def test_a_process_that_ends_while_it_makes_a_folder_leaves_none(tmp_path):
    code = f"""
        import sys, threading
        from pathlib import Path
        from openmodels.backends.local.weights import cache
        made = threading.Event()

        def work():
            with cache.build_folder(Path({str(tmp_path)!r}) / "model") as draft:
                (draft / "weights").write_text("half")
                made.set()
                threading.Event().wait()

        threading.Thread(target=work, daemon=True).start()
        made.wait(60)
        assert list(Path({str(tmp_path)!r}).iterdir())
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, timeout=60)
    assert not list(tmp_path.iterdir())
