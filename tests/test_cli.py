"""The command: options, what goes where, exit codes. Ctrl-C, pipes and the talk are in `test_cli_process`."""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import openmodels as om
from openmodels import settings
from openmodels.backends import registry
from openmodels.backends.echo import EchoBackend
from openmodels.cli import chat as chat_module, cli, hints, output
from openmodels.errors import OpenModelsError


def run(*arguments: str, stdin: str | bytes | None = None) -> Result:
    return CliRunner().invoke(cli, list(arguments), input=stdin, prog_name="openmodels")


class SaysOneThing(EchoBackend):
    """Says or raises `steps`, whatever is asked."""

    steps: tuple[Any, ...] = ()
    made: list[SaysOneThing]

    def __init__(self, rest: str = "", *, mood: Any = None) -> None:
        super().__init__(rest, script=[list(self.steps)])
        self.mood = mood
        self.made.append(self)


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> type[SaysOneThing]:
    """A backend under the name "scripted" that says what a test puts into `steps`."""

    class Scripted(SaysOneThing):
        made: list[SaysOneThing] = []

    monkeypatch.setitem(registry._registered, "scripted", Scripted)
    return Scripted


@pytest.mark.parametrize("arguments", [[], ["-h"], ["--help"]])
def test_help_shows_every_command(arguments: list[str]) -> None:
    result = run(*arguments)
    assert result.exit_code == 0
    for name in cli.list_commands(None):
        assert f"\n  {name} " in result.stdout


def test_every_command_has_help() -> None:
    for name in cli.list_commands(None):
        result = run(name, "-h")
        assert result.exit_code == 0
        assert "--json" in result.stdout


@pytest.mark.parametrize("name", [[], *([name] for name in cli.list_commands(None)), ["catalog", "update"]])
def test_help_shows_no_markup(name: list[str]) -> None:
    assert "\\" not in run(*name, "-h").stdout


def test_unquoted_words_are_one_prompt() -> None:
    assert run("chat", "-m", "echo:", "what", "is", "this?").stdout == "what is this?\n"


def test_an_option_that_is_text_stays_text(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    class Typed(EchoBackend):
        def __init__(
            self,
            rest: str = "",
            *,
            api_key: str | None = None,
            label: str = "",
            size: int | None = None,
            more: dict[str, Any] | None = None,
            either: str | list[Any] | None = None,
        ) -> None:
            super().__init__(rest)
            seen.update(api_key=api_key, label=label, size=size, more=more, either=either)

    Typed.__init__.__annotations__["label"] = str  # as without `from __future__ import annotations`
    monkeypatch.setitem(registry._registered, "typed", Typed)
    given = ["api_key=007", "label=1e3", "size=12", 'more={"a": 1}', "either=[3]"]
    assert run("chat", "-m", "typed:", "x", *(part for pair in given for part in ("-o", pair))).exit_code == 0
    assert seen == {"api_key": "007", "label": "1e3", "size": 12, "more": {"a": 1}, "either": [3]}
    for text in ("true", "1e5", "[x", "null"):
        assert run("chat", "-m", "typed:", "x", "-o", f"api_key={text}").exit_code == 0
        assert seen["api_key"] == text


@pytest.mark.parametrize("backend", ["server", "azure", "hf"])
@pytest.mark.parametrize("key", ["[1]", "{}", '["a"]', "0012"])
def test_a_key_that_looks_like_json_is_the_text_it_is(backend, key):
    with chat_module.open_model(f"{backend}:m", {"api_key": key, "base_url": "http://127.0.0.1:9/v1"}) as model:
        assert model.backend.api_key.reveal() == key


@pytest.mark.parametrize(
    ("python", "command"),
    [
        ("Raise `timeout`, or lower `max_tokens`.", "Raise --timeout, or lower --max-tokens."),
        ("Write om.Model('server:a', base_url='http://x/v1').", "Write -m server:a -o base_url=http://x/v1."),
        ("Pass it as `api_key=`; what came is in the error's `partial`.", "Pass it as -o api_key=…"),
        ("Connect once; or give evidence='a folder saved by report.save()'.", "Connect once."),
        ("Raise `timeout`; or make it ready with `load()`; call again.", "Raise --timeout; call again."),
        ("Use https, or say allow_http=True here.", "Use https, or say -o allow_http=true here."),
        ("Choose another with engine=….", "Choose another with -o engine=…."),
        ("The whole is in the error's `reply`.", None),
        ("Ask for JSON with `schema=`.", None),
        ("Run `hf auth login`.", "Run `hf auth login`."),
        ("Check the spelling.", "Check the spelling."),
    ],
)
def test_next_steps_are_in_the_words_of_the_command(python: str, command: str | None) -> None:
    assert hints.translate(python, cli.get_command(None, "chat")) == command


def test_a_hint_names_the_flag(scripted: type[SaysOneThing]) -> None:
    scripted.steps = (om.NotConfigured("There is no address.", next_step="Pass `base_url=`."),)
    assert "hint: Pass -o base_url=…." in run("chat", "-m", "scripted:", "x").stderr
    assert json.loads(run("chat", "-m", "scripted:", "x", "--json").stdout)["error"]["next_step"].endswith(
        "-o base_url=…."
    )


def test_unknown_command_suggests() -> None:
    result = run("caht")
    assert result.exit_code == 2
    assert "Did you mean 'chat'?" in result.stderr


@pytest.mark.parametrize(
    ("name", "meant"),
    [("info", "show"), ("list", "models"), ("update", "catalog update"), ("run", "chat"), ("Is it open?", "chat")],
)
def test_a_command_of_another_program_is_answered(name: str, meant: str) -> None:
    result = run(name, "x")
    assert result.exit_code == 2
    assert f"Did you mean {meant!r}?" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        (["chat", "--json", "--max-tokens", "-4", "x"], "--max-tokens"),
        (["chat", "x", "--nope", "--json"], "--nope"),
        (["caht", "x", "--json"], "Did you mean 'chat'?"),
        (["map", "--json"], "INPUT"),
        (["catalog", "nope", "--json"], "nope"),
        (["chat", "--json"], "There is no prompt"),
    ],
)
def test_wrong_usage_is_json_where_that_is_asked_for(arguments: list[str], cause: str) -> None:
    result = run(*arguments, stdin="")
    error = json.loads(result.stdout)["error"]
    assert (result.exit_code, error["exit_code"], error["type"]) == (2, 2, "InvalidRequest")
    assert cause in error["cause"]
    assert "--help" in error["next_step"]
    assert result.stderr == ""


def test_json_after_two_dashes_is_part_of_the_prompt() -> None:
    assert run("chat", "-m", "echo:", "--", "say", "--json").stdout == "say --json\n"
    result = run("chat", "--nope", "--", "--json")
    assert (result.exit_code, result.stdout) == (2, "")


def test_unknown_option_is_a_usage_error() -> None:
    assert run("--nope").exit_code == 2
    assert run("chat", "--nope").exit_code == 2


def test_answer_goes_to_stdout_and_ends_with_one_newline() -> None:
    result = run("chat", "-m", "echo:", "hello there")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "hello there\n", "")


def test_answer_with_its_own_newline_gets_no_second_one(scripted: type[SaysOneThing]) -> None:
    scripted.steps = ("done\n",)
    assert run("chat", "-m", "scripted:", "x").stdout == "done\n"


@pytest.mark.parametrize(
    ("arguments", "stdin", "answer"),
    [
        (["from here"], "", "from here"),
        ([], "from a pipe\n", "from a pipe"),
        ([], b"\xef\xbb\xbfwith a mark", "with a mark"),
        (["Sum up:"], "two\nlines\n", "Sum up:\n\ntwo\nlines"),
        (["alone"], " \n", "alone"),
    ],
)
def test_prompt_and_standard_input(arguments: list[str], stdin: str | bytes, answer: str) -> None:
    result = run("chat", "-m", "echo:", *arguments, stdin=stdin)
    assert (result.exit_code, result.stdout) == (0, f"{answer}\n")


@pytest.mark.parametrize(
    ("arguments", "stdin", "told"),
    [
        ([], "", "There is no prompt"),
        ([], "  \n", "There is no prompt"),
        ([], b"\xff\xfe", "not UTF-8"),
        ([""], "", "content is empty"),
        (["x", "--temperature", "nan"], "", "temperature"),
        (["x", "--max-tokens", "-1"], "", "--max-tokens"),
        (["x", "--timeout", "-1"], "", "timeout"),
        (["x", "-o", "device"], "", "KEY=VALUE"),
        (["x", "-o", "timeout=1"], "", "no backend option"),
        (["x", "-o", "scrpt=[]"], "", "Did you mean 'script'?"),
        (["x", "-o", "script=[]"], "", "script"),
    ],
)
def test_wrong_use_exits_with_2(arguments: list[str], stdin: str | bytes, told: str) -> None:
    result = run("chat", "-m", "echo:", *arguments, stdin=stdin)
    assert result.exit_code == 2
    assert told in result.stderr
    assert result.stdout == ""


def test_silent_standard_input_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    monkeypatch.setattr(chat_module, "STDIN_TIMEOUT", 0.01)
    with os.fdopen(reader) as stdin, os.fdopen(writer, "w"):
        monkeypatch.setattr("sys.stdin", stdin)
        assert chat_module._question("PROMPT") == "PROMPT"


def test_images_are_shown_before_the_prompt(scripted: type[SaysOneThing], tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(scripted, "features", frozenset({"chat", "images"}))
    (tmp_path / "cat.png").write_bytes(b"\x89PNG\r\n\x1a\n more")
    result = run("chat", "-m", "scripted:", "--image", str(tmp_path / "cat.png"), "What is this?")
    assert result.exit_code == 0
    (message,) = scripted.made[0].requests[0].messages
    assert [part if isinstance(part, str) else part.media_type for part in message.content] == [
        "image/png",
        "What is this?",
    ]
    missing = run("chat", "-m", "scripted:", "--image", "missing.png", "What is this?")
    assert (missing.exit_code, "missing.png" in missing.stderr) == (2, True)


def test_options_reach_the_backend(scripted: type[SaysOneThing]) -> None:
    numbers = ["--temperature", "0.5", "--top-p", "0.9", "--max-tokens", "7", "--seed", "3", "--timeout", "60"]
    given = [*numbers, "--stop", "a", "--stop", "b", "--system", "Be brief."]
    result = run("chat", "-m", "scripted:", *given, "-o", 'mood={"calm": true}', "x")
    assert result.exit_code == 0
    backend = scripted.made[0]
    request = backend.requests[0]
    assert [(turn.role, turn.content) for turn in request.messages] == [("system", "Be brief."), ("user", "x")]
    assert (request.temperature, request.top_p, request.max_tokens, request.seed) == (0.5, 0.9, 7, 3)
    assert request.stop == ("a", "b")
    assert request.deadline is not None
    assert backend.mood == {"calm": True}


@pytest.mark.parametrize(
    ("arguments", "limit"),
    [([], chat_module.MAX_TOKENS), (["--max-tokens", "0"], None), (["--max-tokens", "9000"], 9000)],
)
@pytest.mark.parametrize("form", [[], ["--json"]])
def test_answers_have_a_length_limit_by_default(
    scripted: type[SaysOneThing], arguments: list[str], limit: int | None, form: list[str]
) -> None:
    assert run("chat", "-m", "scripted:", *arguments, *form, "x").exit_code == 0
    assert scripted.made[0].requests[0].max_tokens == limit


def test_the_length_limit_is_in_the_help() -> None:
    assert f"default {chat_module.MAX_TOKENS}" in " ".join(run("chat", "--help").stdout.split())


def test_a_backend_without_a_length_limit_answers(scripted: type[SaysOneThing], monkeypatch: Any) -> None:
    monkeypatch.setattr(scripted, "options", frozenset())
    assert run("chat", "-m", "scripted:", "x").exit_code == 0
    assert scripted.made[0].requests[0].max_tokens is None


@pytest.mark.parametrize(("text", "value"), [("cpu", "cpu"), ("2", 2), ("true", True), ("a=b", "a=b"), ("", "")])
def test_backend_options_are_json_where_they_can_be(scripted: type[SaysOneThing], text: str, value: object) -> None:
    run("chat", "-m", "scripted:", "-o", f"mood={text}", "x")
    assert scripted.made[0].mood == value


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ("length", "length limit; --max-tokens N raises it, 0 lifts it"),
        ("repetition", "repeated itself"),
        ("content_filter", "content filter"),
    ],
)
def test_cut_answers_are_noted(scripted: type[SaysOneThing], reason: str, told: str) -> None:
    scripted.steps = (om.Delta(text="so", finish_reason=reason),)
    result = run("chat", "-m", "scripted:", "x")
    assert (result.exit_code, result.stdout) == (0, "so\n")
    assert told in result.stderr


def test_empty_answer_is_noted(scripted: type[SaysOneThing]) -> None:
    scripted.steps = (om.Delta(finish_reason="stop"),)
    result = run("chat", "-m", "scripted:", "x")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "empty" in result.stderr


def test_partial_answer_is_kept_before_the_error(scripted: type[SaysOneThing]) -> None:
    scripted.steps = ("so far", om.ServerFailed("The server fell over.", next_step="Try later.", request_id="r1"))
    result = run("chat", "-m", "scripted:m", "x")
    assert (result.exit_code, result.stdout) == (1, "so far\n")
    assert result.stderr == "error: scripted:m: The server fell over. (request r1)\nhint: Try later.\n"


def test_json_is_one_reply() -> None:
    result = run("chat", "-m", "echo:mirror", "--json", "one two")
    reply = json.loads(result.stdout)
    assert result.exit_code == 0
    assert (reply["text"], reply["model"], reply["reference"]) == ("one two", "mirror", "echo:mirror")
    assert (reply["finish_reason"], reply["usage"]["output_tokens"]) == ("stop", 2)
    assert reply["seconds"] > 0


def test_json_error_holds_what_had_arrived(scripted: type[SaysOneThing]) -> None:
    scripted.steps = ("so far", om.RateLimited("Too many requests.", retry_after=3.0, status=429))
    result = run("chat", "-m", "scripted:m", "--json", "x")
    error = json.loads(result.stdout)["error"]
    assert result.exit_code == error["exit_code"] == 1
    assert (error["type"], error["status"], error["retry_after"]) == ("RateLimited", 429, 3.0)
    assert error["partial"]["text"] == "so far"
    assert result.stderr == ""


@pytest.mark.parametrize(("flags", "written"), [([], "so far\n"), (["--json"], "")])
def test_ctrl_c_exits_with_130(scripted: type[SaysOneThing], flags: list[str], written: str) -> None:
    scripted.steps = ("so far", KeyboardInterrupt())
    result = run("chat", "-m", "scripted:", *flags, "x")
    assert (result.exit_code, result.stdout, result.stderr) == (130, written, "\n")


EXPECTED_CODES = {
    "InvalidReference": 2,
    "InvalidRequest": 2,
    "UnsupportedFeature": 2,
    "AuthenticationFailed": 4,
    "AccessDenied": 4,
    "GatedModel": 4,
    "NotConfigured": 4,
    "ConnectionFailed": 5,
    "ModelNotFound": 3,
    "Offline": 5,
}


def _tree(kind: type[OpenModelsError]) -> list[type[OpenModelsError]]:
    return [kind, *(below for child in kind.__subclasses__() for below in _tree(child))]


@pytest.mark.parametrize("kind", [kind for kind in _tree(OpenModelsError) if kind.__module__ == "openmodels.errors"])
@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_every_error_has_its_exit_code(
    scripted: type[SaysOneThing], kind: type[OpenModelsError], flags: list[str]
) -> None:
    error = kind("It failed.", reply=om.Reply()) if kind is om.OutputInvalid else kind("It failed.")
    error.retryable = False
    scripted.steps = (error,)
    assert run("chat", "-m", "scripted:", *flags, "x").exit_code == EXPECTED_CODES.get(kind.__name__, 1)


@pytest.mark.parametrize("reference", ["", "HuggingFaceTB/SmolLM2-135M-Instruct", "nope:x"])
def test_unreadable_reference_exits_with_2(reference: str) -> None:
    assert run("chat", "-m", reference, "x").exit_code == 2


def test_terminal_shows_no_control_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    assert output._shown("a\x1b]0;title\x07\tb\r\n\x9bc", terminal=True) == "a]0;title\tb\nc"
    assert output._shown("a\x1b[0m", terminal=False) == "a\x1b[0m"


def test_version_names_every_part(monkeypatch: pytest.MonkeyPatch) -> None:
    result = run("version")
    assert result.exit_code == 0
    assert result.stdout.startswith(f"openmodels {om.__version__}\npython 3.")
    told = json.loads(run("version", "--json").stdout)
    assert told["openmodels"] == om.__version__
    assert told["parts"]["click"]
    assert "torch" in told["parts"]
    assert run("--version").stdout == f"openmodels {om.__version__}\n"


def test_missing_part_shows_as_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.requires", lambda _: ["no-such-part-anywhere>=1; extra == 'local'"])
    assert json.loads(run("version", "--json").stdout)["parts"] == {"no-such-part-anywhere": None}
    assert "no-such-part-anywhere (not installed)" in run("version").stdout


@pytest.fixture
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Empty caches below a temporary folder."""
    monkeypatch.setenv("OPENMODELS_CACHE", str(tmp_path / "own"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path


def _missing(monkeypatch: pytest.MonkeyPatch, *modules: str) -> None:
    """Make only these modules look as if they were not installed, and the rest of local's as if they were."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, package=None: None if name in modules else object())


def test_models_tells_what_is_missing(caches: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _missing(monkeypatch, "torch", "gguf")
    told = json.loads(run("models", "--json").stdout)
    rows = {row["name"]: row for row in told["backends"]}
    assert rows["echo"]["ready"]
    assert not rows["local"]["ready"]
    assert rows["local"]["reason"] == f"torch, gguf: {settings.install_hint('local')}"
    assert told["models"] == [
        {
            "reference": om.DEFAULT_MODEL,
            "ready": False,
            "bytes": None,
            "kept_in": None,
            "reason": "the backend local is not ready",
        }
    ]


def test_models_says_which_key_and_address_are_missing(caches: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "AZURE_AI_ENDPOINT", "AZURE_INFERENCE_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(caches / "token"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name, package=None: object())

    def rows() -> dict[str, Any]:
        return {row["name"]: row for row in json.loads(run("models", "--json").stdout)["backends"]}

    before = rows()
    assert not any(before[name]["ready"] for name in ("hf", "azure", "server"))
    assert "HF_TOKEN" in before["hf"]["reason"]
    assert "AZURE_AI_ENDPOINT" in before["azure"]["reason"]
    assert "base_url" in before["server"]["reason"]
    monkeypatch.setenv("HF_TOKEN", "hf_x")
    monkeypatch.setenv("AZURE_AI_ENDPOINT", "https://r.services.ai.azure.com")
    after = rows()
    assert after["hf"]["ready"]
    assert after["azure"]["ready"]
    monkeypatch.setenv("HF_TOKEN", "hf x")
    assert rows()["hf"]["reason"].startswith("HF_TOKEN: a character that a key cannot have")
    monkeypatch.setenv("HF_TOKEN", "hf_x")
    monkeypatch.setenv("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")
    assert not rows()["hf"]["ready"]


def test_models_lists_no_parts_of_engines(caches: Path) -> None:
    for kind in ("openvino", "tokenizer"):
        (caches / "own" / "weights" / f"{'0' * 64}-{kind}-1").mkdir(parents=True)
    assert not [row for row in json.loads(run("models", "--json").stdout)["models"] if "0000" in row["reference"]]


def test_models_as_text_keeps_the_install_command_whole(caches: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _missing(monkeypatch, "torch")
    lines = run("models").stdout.splitlines()
    assert any(line.rstrip().endswith(f"torch: {settings.install_hint('local')}") for line in lines)
    assert not any("\x1b" in line for line in lines)


def _snapshot(root: Path, repo: str, commit: str, ref: str | None, *files: str) -> None:
    """Lay a repository into a Hub cache as huggingface_hub does; every file holds 10 bytes."""
    home = root / "hub" / f"models--{repo.replace('/', '--')}"
    (home / "blobs").mkdir(parents=True, exist_ok=True)
    for name in files:
        blob = home / "blobs" / f"{commit}-{name}"
        blob.write_bytes(b'{"a": true'[:10])
        link = home / "snapshots" / commit / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(blob)
    if ref:
        (home / "refs").mkdir(exist_ok=True)
        (home / "refs" / ref).write_text(commit)


def test_models_reads_both_caches(caches: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _missing(monkeypatch)
    reason = "openmodels.cli.models._reason_unloadable"
    monkeypatch.setattr(reason, lambda folder: None if "a" * 40 in str(folder) else "Broken.")
    _snapshot(caches, "org/whole", "a" * 40, "main", "config.json", "model.safetensors")
    _snapshot(caches, "org/older", "b" * 40, None, "config.json")
    _snapshot(caches, "org/quantised", "c" * 40, "main", "model-Q4.gguf", "README.md")
    converted = caches / "own" / "weights" / f"{'d' * 64}-bf16-1"
    converted.mkdir(parents=True)
    (converted / "model.safetensors").write_bytes(b"1234")
    told = {row["reference"]: row for row in json.loads(run("models", "--json").stdout)["models"]}
    assert list(told) == [
        om.DEFAULT_MODEL,
        f"local:org/older@{'b' * 40}",
        "local:org/quantised/model-Q4.gguf",
        "local:org/whole",
        f"local:{converted}",
    ]
    assert told["local:org/whole"] == {
        "reference": "local:org/whole",
        "ready": True,
        "bytes": 20,
        "kept_in": "Hub cache",
        "reason": None,
    }
    assert told[f"local:org/older@{'b' * 40}"]["reason"] == "Broken."
    assert told["local:org/quantised/model-Q4.gguf"]["bytes"] == 10
    assert told[f"local:{converted}"]["bytes"] == 4
    assert "fetches it" in told[om.DEFAULT_MODEL]["reason"]


def test_models_says_why_a_folder_cannot_be_loaded(caches: Path) -> None:
    _snapshot(caches, "org/pickle", "a" * 40, "main", "config.json", "pytorch_model.bin")
    rows = {row["reference"]: row for row in json.loads(run("models", "--json").stdout)["models"]}
    assert rows["local:org/pickle"]["ready"] is False
    assert rows["local:org/pickle"]["reason"]
