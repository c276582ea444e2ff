"""The table of options: what derives from it is equal to it."""

from __future__ import annotations

import ast
import inspect
from typing import Any, get_type_hints

import pytest

import openmodels as om
from openmodels.types import embeddings, rankings, request
from openmodels.types.options import CALL_OPTIONS, OPTION_NAMES, Option, read_rows

TABLES = {request: om.CallOptions, embeddings: om.EmbedOptions, rankings: om.RerankOptions}


def static_fields(module):
    """Return the fields that a module declares for type checkers alone, as {name: type}."""
    (block,) = (
        node
        for node in ast.parse(inspect.getsource(module)).body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING" and node.orelse
    )
    return {node.target.id: ast.unparse(node.annotation) for node in block.body[0].body}


@pytest.mark.parametrize("module", TABLES, ids=lambda module: module.__name__)
def test_static_fields_are_those_of_the_table(module):
    rows = read_rows(TABLES[module]).items()
    fields = {
        name: f"{row.type.__name__} | None" for name, row in rows if row.option.is_field and not row.option.is_core
    }
    assert static_fields(module) == fields


@pytest.mark.parametrize("table", [om.CallOptions, om.ToolRunOptions, om.EmbedOptions, om.RerankOptions])
def test_every_row_is_described(table):
    for name, (kind, option) in read_rows(table).items():
        assert isinstance(option, Option), name
        assert option.description.endswith(".")
        assert kind == get_type_hints(table)[name]


def test_type_checkers_see_plain_types():
    assert get_type_hints(om.CallOptions)["temperature"] is float
    assert get_type_hints(om.CallOptions)["schema"] is Any


@pytest.mark.parametrize("name", [name for name in OPTION_NAMES if CALL_OPTIONS[name].option.limits])
def test_range_is_checked(name):
    limits = CALL_OPTIONS[name].option.limits
    low, high = limits.get("ge", limits.get("gt")), limits.get("le", limits.get("lt"))
    for value, is_valid in (
        (low, "ge" in limits),
        (high, "le" in limits),
        (low - 1, False),
        (high + 1, False),
    ):
        model = om.Model("echo:")
        if is_valid:
            model.chat("x", **{name: value})
            assert getattr(model.backend.requests[0], name) == value
        else:
            with pytest.raises(om.InvalidRequest, match=name):
                model.chat("x", **{name: value})
