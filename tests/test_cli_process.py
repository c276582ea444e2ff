"""The command in a process of its own: pipes, Ctrl-C, what is imported, and the talk on a terminal."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest

COMMAND = [sys.executable, "-m", "openmodels"]
# The wait is far longer than any test: only what stops it lets the test go on.
SLOW = ["-m", "echo:", "-o", 'script=[["first ", 3600, "never"], "second"]']
HEAVY = ("pydantic", "torch", "transformers", "huggingface_hub", "httpx2", "rich", "tenacity")

posix = pytest.mark.skipif(os.name != "posix", reason="a pseudo-terminal and SIGINT are POSIX")


def start(*arguments: str, **streams: Any) -> subprocess.Popen[bytes]:
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams
    return subprocess.Popen([*COMMAND, *arguments], **pipes)


@pytest.mark.parametrize("arguments", [["--help"], ["version"], ["version", "--json"], ["--version"]])
def test_light_commands_import_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys\nfrom openmodels.cli import cli\n"
        f"cli({arguments!r}, standalone_mode=False)\n"
        f"print(sorted(set({HEAVY!r}) & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
    assert done.stdout


def test_models_imports_no_vendor_module() -> None:
    code = (
        "import sys\nfrom openmodels.cli import cli\ncli(['models', '--json'], standalone_mode=False)\n"
        "print(sorted({'torch', 'transformers', 'gguf', 'safetensors'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
    assert json.loads(done.stdout)["backends"]


def test_prompt_from_a_pipe() -> None:
    with start("chat", "-m", "echo:", stdin=subprocess.PIPE) as process:
        out, err = process.communicate("höher\n".encode())
    assert (process.returncode, out.decode(), err) == (0, "höher" + os.linesep, b"")


def test_closed_standard_input() -> None:
    code = f"import os, sys; os.close(0); os.execv(sys.executable, {[*COMMAND, 'chat', '-m', 'echo:', 'hi']!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert (done.returncode, done.stdout.split()) == (0, [b"hi"])


@posix
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is Linux's")
@pytest.mark.parametrize("arguments", [["chat", "-m", "echo:", "hello"], ["version"], ["models", "--json"], ["--help"]])
def test_a_full_disk_is_one_line(arguments: list[str]) -> None:
    with Path("/dev/full").open("wb") as full, start(*arguments, stdout=full) as process:
        _, err = process.communicate()
    assert process.returncode == 1
    assert err.decode().splitlines() == ["error: No space left on device"]


@posix
def test_closed_standard_output_is_one_line() -> None:
    code = f"import os, sys; os.close(1); os.execv(sys.executable, {[*COMMAND, 'chat', '-m', 'echo:', 'hi']!r})"
    done = subprocess.run([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: standard output is closed")
    assert len(done.stderr.splitlines()) == 1


def test_a_file_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("hello\n")
    for place in (tmp_path / "no" / "such.jsonl", tmp_path):
        with start("map", "-m", "echo:", str(tmp_path / "in.txt"), "-o", str(place)) as process:
            _, err = process.communicate()
        assert process.returncode in (1, 2)
        assert len(err.decode().splitlines()) <= 2
        assert str(place) in err.decode()


@posix
def test_ctrl_c_exits_with_130() -> None:
    with start("chat", *SLOW, "hi") as process:
        assert process.stdout
        assert process.stderr
        assert process.stdout.read(6) == b"first "
        process.send_signal(signal.SIGINT)
        assert process.stdout.read() == b"\n"
        assert process.stderr.read() == b"\n"
    assert process.returncode == 130


@posix
def test_reader_that_goes_away_is_no_crash() -> None:
    with start("chat", "-m", "echo:", "word " * 20_000) as process:
        assert process.stdout
        assert process.stderr
        assert process.stdout.read(4) == b"word"
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1


def test_characters_that_stdout_cannot_show() -> None:
    environment = os.environ | {"PYTHONIOENCODING": "latin-1", "PYTHONUTF8": "0"}
    with start("chat", "-m", "echo:", "snow\N{SNOWMAN}man", env=environment) as process:
        out, _ = process.communicate()
    assert (process.returncode, out.split()) == (0, [b"snow?man"])


class Terminal:
    """A process whose standard streams are a pseudo-terminal; what it wrote is in `seen`."""

    def __init__(self, *arguments: str, **environment: str) -> None:
        import pty

        self._master, slave = pty.openpty()
        self.seen = ""
        # A session of its own, whose terminal this is: so Ctrl-C reaches it as a signal.
        script = "import fcntl, os, sys, termios; os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0)"
        self.process = subprocess.Popen(
            [sys.executable, "-c", f"{script}; os.execv(sys.executable, {[*COMMAND, *arguments]!r})"],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=os.environ | {"TERM": "dumb"} | environment,
        )
        os.close(slave)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._master)

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def says_something_after(self, text: str) -> bool:
        """Type a text; return whether anything is written within a second."""
        self.type(text)
        return bool(select.select([self._master], [], [], 1.0)[0])

    def until(self, text: str) -> str:
        """Read until a text appears, and return everything before and including it."""
        give_up = time.monotonic() + 60
        while text not in self.seen:
            assert select.select([self._master], [], [], max(0.0, give_up - time.monotonic()))[0], self.seen
            try:
                self.seen += os.read(self._master, 4096).decode().replace("\r", "")
            except OSError:  # Linux: the other end is closed
                raise AssertionError(f"{text!r} never came: {self.seen}") from None
        before, _, self.seen = self.seen.partition(text)
        return before + text

    def end(self) -> int:
        """Return the exit code."""
        return self.process.wait(60)


@pytest.fixture
def talk() -> Iterator[Terminal]:
    """A talk with the echo backend whose first answer hangs."""
    with Terminal("chat", *SLOW) as terminal:
        terminal.until("Ready.")
        terminal.until("> ")
        yield terminal


@posix
def test_talk_keeps_history_over_ctrl_c(talk: Terminal, tmp_path: Path) -> None:
    talk.type("one\n")
    talk.until("first ")
    talk.type("\x03")
    talk.until("Stopped")
    talk.until("> ")
    talk.type("two\n")
    talk.until("second\n> ")
    talk.type(f"/save {tmp_path / 'talk.json'}\n")
    talk.until("Saved 2 messages")
    saved = json.loads((tmp_path / "talk.json").read_text())
    assert [turn["content"] for turn in saved["messages"]] == ["two", "second"]
    talk.until("> ")
    talk.type("\x04")
    assert talk.end() == 0


@posix
@pytest.mark.parametrize("line", ["exit", "quit ", "/quit"])
def test_talk_ends_by_the_words_of_other_programs(talk: Terminal, line: str) -> None:
    talk.type(f"{line}\n")
    assert talk.end() == 0


@posix
def test_talk_ctrl_c_at_the_prompt_ends_nothing(talk: Terminal) -> None:
    talk.type("half a line")
    talk.until("half a line")
    # A signal that comes just before readline waits for a key is not noticed; a person presses again.
    assert any(talk.says_something_after("\x03") for _ in range(30))
    talk.until("Ctrl-D or /exit ends the session.")
    talk.until("> ")
    talk.type("/exit\n")
    assert talk.end() == 0


@posix
def test_talk_commands(talk: Terminal, tmp_path: Path) -> None:
    file = tmp_path / "talk.json"
    for typed, told in {
        "/model": "The model is echo:.",
        "/model echo:second": "The model is echo:second.",
        "/model nope:": "error: There is no backend 'nope'.",
        "/modle": "Did you mean /model?",
        "/nothing at all": "/help shows the commands.",
        "/system Be brief.": "The instruction is set.",
        f"/save {tmp_path}": f"error: {tmp_path}: Is a directory",
        "/save": "usage: /save FILE",
        f"/load {tmp_path / 'missing'}": "No such file",
        "/clear everything": "usage: /clear",
        "/help": "write the conversation to a JSON file",
        f"/save {file}": "Saved 0 messages",
        "/system": "There is no instruction.",
        f"/load {file}": "Loaded 0 messages",
        "/clear": "The conversation is forgotten.",
    }.items():
        talk.type(f"{typed}\n")
        talk.until(told)
        talk.until("> ")
    assert json.loads(file.read_text()) == {"system": "Be brief.", "messages": []}
    talk.type("/exit\n")
    assert talk.end() == 0


@posix
def test_talk_ends_when_its_first_model_does_not_load() -> None:
    with Terminal("chat", "-m", "nope:") as terminal:
        terminal.until("There is no backend 'nope'.")
        assert terminal.end() == 2


@posix
def test_talk_gives_no_json() -> None:
    with Terminal("chat", "-m", "echo:", "--json") as terminal:
        terminal.until("--json answers one prompt")
        assert terminal.end() == 2


class TestCurrentFolder:
    """A stranger's folder is where the command is called, and what lies in it is never run."""

    @pytest.fixture
    def strange(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        folder = tmp_path / "strange"
        (folder / "lib").mkdir(parents=True)
        monkeypatch.chdir(folder)
        for module in ("click", "json", "pydantic", "lib/secrets", "lib/numpy", "scipy", "sentencepiece"):
            file = folder / f"{module}.py"
            file.write_text(f"open({str(tmp_path / 'executed')!r}, 'a').write(__file__)\n")
        return tmp_path / "executed"

    @pytest.mark.parametrize("entries", [[], [""], [".", "lib"]])
    def test_no_module_of_it_is_imported(self, strange: Path, entries: list[str]) -> None:
        path = os.pathsep.join([*entries, os.environ.get("PYTHONPATH", ""), *entries])
        with start("chat", "-m", "echo:", "hi", env=os.environ | {"PYTHONPATH": path}) as process:
            out, err = process.communicate()
        assert (out.split(), err) == ([b"hi"], b"")
        assert not strange.exists()

    def test_an_absolute_entry_stays(self, strange: Path, tmp_path: Path) -> None:
        (tmp_path / "sitecustomize.py").write_text("")
        code = "import sys, openmodels.cli as cli; cli._leave_current_folder(); print(*sys.path, sep='\\n')"
        path = os.pathsep.join([str(tmp_path), "lib", str(strange.parent / "strange")])
        command = [sys.executable, "-P", "-c", code]
        done = subprocess.run(
            command, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=True
        )
        places = done.stdout.splitlines()
        assert str(tmp_path) in places
        assert str(strange.parent / "strange") in places
        assert str(strange.parent / "strange" / "lib") not in places


@posix
@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGHUP", 129), ("SIGINT", 130)])
def test_signals_end_with_their_code(name: str, code: int) -> None:
    with start("chat", *SLOW, "hi") as process:
        assert process.stdout
        assert process.stderr
        assert process.stdout.read(6) == b"first "
        process.send_signal(getattr(signal, name))
        assert b"Traceback" not in process.stderr.read()
    assert process.returncode == code


@posix
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_in_an_import_ends_without_a_traceback(name: str, tmp_path: Path) -> None:
    """A dependency that is torn by the signal and fails in a way of its own, as extension modules do."""
    (tmp_path / "click.py").write_text(
        "import os, signal\n"
        f"try:\n    os.kill(os.getpid(), signal.{name}); import time; time.sleep(60)\n"
        "except BaseException as error:\n    raise error\n"
    )
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    with start("chat", "-m", "echo:", "hi", env=os.environ | {"PYTHONPATH": path}) as process:
        _, err = process.communicate()
    assert (process.returncode, err) == (128 + getattr(signal, name), b"")


@posix
def test_a_signal_that_was_ignored_stays_ignored() -> None:
    ignore = "import os, signal, sys; signal.signal(signal.SIGHUP, signal.SIG_IGN)"
    code = f"{ignore}; os.execv(sys.executable, {COMMAND!r} + sys.argv[1:])"
    command = [sys.executable, "-c", code, "chat", "-m", "echo:", "-o", 'script=[["first ", 1, "second"]]', "hi"]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.read(6) == b"first "
        process.send_signal(signal.SIGHUP)
        assert process.stdout.read().strip() == b"second"
    assert process.returncode == 0
