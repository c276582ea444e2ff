"""All checks of the project: `nox` runs them, `nox -l` lists them.

Sessions install with plain pip, because it reads every setting that a machine offers to pip
(mirrors, find-links, constraints). A session whose declared dependencies have not changed since
its last run installs nothing.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import nox

nox.needs_version = ">=2025.5.1"
nox.options.default_venv_backend = "virtualenv"
nox.options.reuse_venv = "yes"
# With CI=true a Python that is not there would be a failure, or a download.
nox.options.error_on_missing_interpreters = False
nox.options.download_python = "never"
nox.options.sessions = ["lint", "types", "unit", "lowest", "wheel", "licenses", "tests"]

PYPROJECT = nox.project.load_toml("pyproject.toml")
TEST = nox.project.dependency_groups(PYPROJECT, "test")
PEERS = nox.project.dependency_groups(PYPROJECT, "peers")
# In the same call as the package: pip must not see torch's range before its exact pin.
TORCH = nox.project.dependency_groups(PYPROJECT, "torch")


QUESTION, ANSWER = "What is the capital of France?", "Paris"


def install(session: nox.Session, *packages: str) -> None:
    """Install packages unless this environment already has them, editable ones being always current."""
    here = Path(session.virtualenv.location)
    facts = json.dumps([str(Path.cwd()), PYPROJECT["project"], PYPROJECT["build-system"], packages])
    wanted, stamp = hashlib.sha256(facts.encode()).hexdigest(), here / "installed.sha256"
    if stamp.exists() and stamp.read_text() == wanted:
        return
    session.install(*packages)
    stamp.write_text(wanted)


@nox.session
def demo(session: nox.Session) -> None:
    """Ask the default model a question, on this machine, without account or key; a wrong answer is a failure."""
    # Python compiles by itself what it imports, a small part of what is installed.
    install(session, "--no-compile", "-e", ".[local]", *TORCH)
    if session.posargs:
        session.run("openmodels", "chat", *session.posargs)
        return
    # With stderr left alone, notes and progress show at once, and stdout is the reply alone.
    output = session.run("openmodels", "chat", "--json", QUESTION, silent=True, stderr=None)
    reply = json.loads(str(output))
    session.log(f"{QUESTION} {reply['text']}")
    if reply["finish_reason"] != "stop":
        session.error(f"The answer did not end by itself: its finish reason is {reply['finish_reason']!r}.")
    if ANSWER not in reply["text"]:
        session.error(f"The answer is wrong: it does not name {ANSWER}.")


@nox.session
def tests(session: nox.Session) -> None:
    """Run every test, those with torch and real weights included."""
    install(session, "-e", ".[all]", *TORCH, *TEST, *PEERS)
    if session.posargs:
        session.run("pytest", *session.posargs)
        return
    # In the order of the files, which begins with the slowest: the workers then end at about the same time.
    session.run("pytest", "--numprocesses=auto", "--dist=loadscope", "--no-loadscope-reorder")


@nox.session(python=nox.project.python_versions(PYPROJECT))
def unit(session: nox.Session) -> None:
    """Run the tests that need neither torch nor weights, on every Python there is."""
    install(session, "-e", ".[azure,compare]", *TEST)
    session.run("pytest", "-m", "not weights", *session.posargs)


@nox.session
def lowest(session: nox.Session) -> None:
    """Run the tests on the oldest dependencies that pyproject.toml allows, torch apart: it is pinned."""
    constraints = Path(session.create_tmp(), "lowest.txt").resolve()
    extras = PYPROJECT["project"]["optional-dependencies"].values()
    declared = [*PYPROJECT["project"]["dependencies"], *(line for extra in extras for line in extra)]
    # "==1.0.*", but "==1.0b9": a pre-release takes no star.
    floors = [re.sub(r">=([\d.]+)$", r"==\1.*", line).replace(">=", "==") for line in declared if ">=" in line]
    constraints.write_text("\n".join(line for line in floors if not line.startswith("torch=")) + "\n")
    install(session, "-e", ".[all]", *TORCH, *TEST, "-c", str(constraints))
    session.run("python", "-m", "pip", "list")
    # The pytest plugin of an anyio as old as this warns under a new pytest before it does anything.
    pytest = ("pytest", "-p", "no:anyio")
    session.run(*pytest, "-m", "not weights", *session.posargs)
    session.run(*pytest, "-m", "weights", "tests/backends/local", "tests/test_conformance.py", *session.posargs)


@nox.session
def wheel(session: nox.Session) -> None:
    """Build the wheel by way of the sdist, and prove a backend with nothing but what it holds."""
    install(session, "build", *TEST)
    place = Path(session.create_tmp()).resolve()
    session.run("python", "-m", "build", "--outdir", str(place / "dist"), silent=True)
    (built,) = (place / "dist").glob("*.whl")
    session.install("--force-reinstall", "--no-deps", str(built))
    session.install(str(built))
    session.run("openmodels", "chat", "-m", "echo:", "The wheel answers.")
    # The sources are below src/, so what these tests import is the wheel.
    session.run("pytest", "tests/test_conformance.py", "-m", "not weights", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and formatting."""
    install(session, *nox.project.dependency_groups(PYPROJECT, "lint"))
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")


@nox.session
def types(session: nox.Session) -> None:
    """Check the types of the package, and those that a user of it sees, with two checkers."""
    # The checkers read what is installed and run none of it.
    install(session, "--no-compile", "-e", ".[all]", *TORCH, *TEST, *nox.project.dependency_groups(PYPROJECT, "types"))
    session.run("mypy")
    session.run("mypy", "tests/typing")
    session.run("pyright")


@nox.session
def bench(session: nox.Session) -> None:
    """Run one benchmark with its options, e.g. `nox -s bench -- local --rounds 3`; by default all."""
    install(session, "-e", ".[all]", *TORCH, *TEST, *PEERS)
    # Three files are what others are made of.
    names = sorted({path.stem for path in Path("benchmarks").glob("*.py")} - {"fit_child", "synthetic", "ways"})
    chosen, *options = session.posargs or [None]
    if chosen is not None and chosen not in names:
        session.error(f"There is no benchmark {chosen!r}; there are: {', '.join(names)}.")
    for name in names if chosen is None else [chosen]:
        session.run("python", f"benchmarks/{name}.py", *options)
