"""Names are the field's words: one word for one thing, and a name that says what the thing is."""

from __future__ import annotations

import ast
import inspect
import re
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "openmodels"
FILES = sorted(SOURCE.rglob("*.py"))
TREES = {path: ast.parse(path.read_text(encoding="utf-8"), str(path)) for path in FILES}

EMPTY_NAMES = frozenset(
    {
        *("found", "one", "said", "told", "given", "own", "heard", "saw", "asked", "whole", "thing", "stuff"),
        *("ours", "theirs"),
    }
)
"""Names that say nothing of what they hold."""

PUBLIC = frozenset({("core/tool_loop.py", "asked")})
"""Names of attributes that downstream code reads, by file."""

MISLEADING = frozenset(
    [
        "Voice",
        "Asked",
        "Said",
        "Writing",
        "Caller",
        "Declared",
        "Pace",
        "Gathered",
        "Served",
        "Spoken",
        "watched",
        "Wish",
        "Case",
        "verbs",
        "Stepping",
        "Unjoinable",
        "_Shared",
        "Attempts",
        "faults",
        "room",
        "ends",
        "ways",
        "share",
        "guess",
        "dearer",
        "take_in",
        "let_go",
        "late",
        "silent",
        "unconnected",
        "Failure",
        "Look",
        "LoopSequence",
        "ModelInfo",
        "ModelKind",
        "OriginState",
        "ParsedText",
        "ReadText",
        "SequenceState",
        "classify_status",
        "error_from_status",
        "is_confidential",
        "record_of",
        "write_exact",
    ]
)
"""Names that readers took for something else."""

MISLEADING_FILES = frozenset(
    {"additions", "fields", "model_info", "model_kind", "mof", "pages", "query_text", "unbatched"}
)
"""Names of files from which readers did not guess what is in them."""

BANNED_PROSE = re.compile(r"\b(nobody|somebody|whatever|told|goes on|is no|are no)\b", re.IGNORECASE)
"""What docstrings of a reference do not say."""


def identifiers(tree):
    """Yield every name that a file gives to something, as (line, name)."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.lineno, node.name
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.attr


def docstrings(tree):
    """Yield the docstrings of a file, as (name, text)."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text:
                yield getattr(node, "name", ""), inspect.cleandoc(text)


def problems(path):
    """Return what is wrong with a file's names and docstrings, a line each."""
    tree = TREES[path]
    lines = [
        f"{line}: the name {name!r}"
        for line, name in identifiers(tree)
        if (name.lstrip("_") in EMPTY_NAMES or name in MISLEADING)
        and (path.relative_to(SOURCE).as_posix(), name) not in PUBLIC
    ]
    for name, text in docstrings(tree):
        first = text.splitlines()[0]
        if len(first) >= 80 or not first.endswith((".", "?")):
            lines.append(f"{name}: the first line of its docstring is no sentence under 80 characters: {first!r}")
        lines += [f"{name}: {match[0]!r} in its docstring" for match in BANNED_PROSE.finditer(text)]
    return lines


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_names_and_docstrings(path):
    assert problems(path) == []


def test_a_file_is_named_for_what_it_holds():
    assert not {path.stem for path in FILES} & (EMPTY_NAMES | MISLEADING | MISLEADING_FILES)


def test_a_class_name_stands_for_one_thing():
    homes = defaultdict(list)
    for path in FILES:
        for node in ast.walk(TREES[path]):
            if isinstance(node, ast.ClassDef):
                homes[node.name.lstrip("_")].append(path)
    assert {name: paths for name, paths in homes.items() if len(paths) > 1} == {}
