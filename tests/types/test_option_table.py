"""The table of options: what derives from it is equal to it."""

from __future__ import annotations

import ast
import inspect
from typing import Any, get_type_hints

import pytest

import openmodels as om
from openmodels.types import request
from openmodels.types.embeddings import EmbedRequest
from openmodels.types.options import CALL_OPTIONS, OPTION_NAMES, Option, read_rows
from openmodels.types.rankings import RerankRequest


def static_fields(module):
    """Return the fields that a module declares for type checkers alone, as {name: type}."""
    (block,) = (
        node
        for node in ast.parse(inspect.getsource(module)).body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING" and node.orelse
    )
    return {node.target.id: ast.unparse(node.annotation) for node in block.body[0].body}


def table_fields(table):
    """Return the fields that a table gives to a request, as {name: type}."""
    rows = read_rows(table).items()
    return {name: row.type.__name__ + " | None" for name, row in rows if row.option.is_field and not row.option.is_core}


def test_static_fields_are_those_of_the_table():
    assert static_fields(request) == table_fields(om.CallOptions)


@pytest.mark.parametrize(
    ("kind", "table", "inputs"),
    [(EmbedRequest, om.EmbedOptions, {"texts"}), (RerankRequest, om.RerankOptions, {"query", "documents"})],
)
def test_request_fields_are_those_of_the_table(kind, table, inputs):
    fields = {name: str(field.annotation) for name, field in kind.model_fields.items()}
    assert {name: fields.pop(name) for name in table_fields(table)} == table_fields(table)
    assert set(fields) == inputs | {"extra", "deadline"}


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
