"""`openmodels serve`: the command, its config file, and its signals."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager

import httpx2
import pytest
from click.testing import CliRunner

import openmodels as om
from openmodels.cli import cli
from openmodels.serve import config

BODY = {"messages": [{"role": "user", "content": "hi"}]}


@contextmanager
def served(*arguments, environment=()):
    """Run the command; yield the process and the address that it prints."""
    command = [sys.executable, "-m", "openmodels", "serve", "--port", "0", *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **dict(environment)}
    ) as process:
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


class TestCommand:
    def test_a_new_key_at_each_launch(self):
        with served("-m", "echo:", "-m", "other=echo:x") as (process, address):
            assert re.fullmatch(r"http://127\.0\.0\.1:\d+", address)
            key = re.search(r"om-[\w-]{20,}", process.stderr.readline())[0]
            assert process.stderr.readline() == f"Open {address}/#key={key}\n"
            assert httpx2.get(f"{address}/health").json() == {"status": "ok"}
            assert httpx2.post(f"{address}/v1/chat/completions", json=BODY).status_code == 401
            headers = {"Authorization": f"Bearer {key}"}
            answer = httpx2.post(f"{address}/v1/chat/completions", json={**BODY, "model": "other"}, headers=headers)
            assert answer.json()["choices"][0]["message"]["content"] == "hi"
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 143
            assert process.stdout.read() == process.stderr.read() == ""

    def test_a_key_of_the_environment(self):
        with served("-m", "echo:", "--json", environment={"OPENMODELS_API_KEY": "k"}) as (process, line):
            address = re.search(r'"address": ?"([^"]+)', line)[1]
            assert "k" not in line.replace('"key"', "")
            assert httpx2.post(f"{address}/v1/chat/completions", json=BODY, headers={"x-api-key": "k"}).is_success
            process.send_signal(signal.SIGINT)
            assert process.wait(10) == 130

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--no-auth", "--host", "0.0.0.0"], "not a loopback address"),
            (["--no-auth", "--api-key", "k"], "there is a key, too"),
            (["-m", "nothing"], "nothing"),
            (["-m", "a=echo:", "-m", "a=echo:"], "two models have the name 'a'"),
        ],
    )
    def test_what_it_refuses(self, arguments, message):
        result = CliRunner().invoke(cli, ["serve", "-m", "echo:", *arguments])
        assert result.exit_code == 2
        assert message in result.stderr
        assert result.stdout == ""


CONFIG = """
port = 0
max_body = "1MB"
memory = "16 GB"
max_output_tokens = 100

[models]
small = "echo:small"

[models.scripted]
ref = "echo:x"
options = {script = ["one", "two"]}

[keys.alice]
key = "a"
max_tokens = 100

[keys.bob]
env = "KEY_OF_BOB"
max_usd = 0.5
"""


class TestConfig:
    def write(self, folder, text):
        path = folder / "serve.toml"
        path.write_text(text)
        return path

    def test_what_it_holds(self, tmp_path, monkeypatch):
        monkeypatch.setenv("KEY_OF_BOB", "b")
        read = config.read_config(self.write(tmp_path, CONFIG))
        models = read.open_models()
        assert models["scripted"].chat("x").text == "one"
        keys = list(read.make_keys())
        assert [(key.name, key.max_tokens, key.max_usd) for key in keys] == [("alice", 100, None), ("bob", None, 0.5)]
        state = read.build_app(models, keys, ()).state
        assert (state.limits.body_bytes, state.models.memory_bytes) == (10**6, 16 * 10**9)
        assert state.max_output_tokens == 100

    def test_combined_models(self, tmp_path):
        text = '[models]\na = "echo:a"\nb = "echo:b"\n[models.both]\ncombine = "fallback"\nmodels = ["a", "b"]\n'
        models = config.read_config(self.write(tmp_path, text)).open_models()
        assert list(models) == ["a", "b", "both"]
        assert models["both"].chat("hi").text == "hi"

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("port = ", "cannot be read as TOML"),
            ("prot = 1", "prot"),
            ("port = 99999", "port"),
            ('memory = "much"', "no size"),
            ("[models.a]\n", "either `ref` or `combine`"),
            ('[models.a]\ncombine = "fallback"\nmodels = ["b"]', "there is no model 'b'"),
            ('[models.a]\ncombine = "fallback"\nmodels = ["a"]', "combined of itself"),
            ('[models.a]\ncombine = "mix"', "combine"),
            ("[keys.a]", "`key` or `env` is missing"),
            ('[keys.a]\nenv = "NOT_SET_ANYWHERE"', "NOT_SET_ANYWHERE is empty"),
        ],
    )
    def test_what_is_wrong_is_named(self, tmp_path, text, message):
        path = self.write(tmp_path, text)
        with pytest.raises(om.InvalidRequest, match=re.escape(message)):
            self.build(path)

    def build(self, path):
        read = config.read_config(path)
        return read.build_app(read.open_models() or {"echo": om.Model("echo:")}, list(read.make_keys()), ())

    def test_the_command_reads_it(self, tmp_path):
        text = '[models]\nsmall = "echo:"\n[keys.alice]\nkey = "a"\n'
        with served("--config", str(self.write(tmp_path, text))) as (_, address):
            listed = httpx2.get(f"{address}/v1/models", headers={"x-api-key": "a"}).json()["data"]
        assert [model["id"] for model in listed] == ["small"]


def test_references():
    assert list(config.open_references(["echo:", "a=echo:b", "echo:c=d"])) == ["echo:", "a", "echo:c=d"]
