"""Write the tables that the code knows into the pages.

Backends go into README.md, the call options into docs/options.md, openness criteria into docs/openness.md.

A backend's own declarations say what it claims, docs/support.json what the conformance suite has proved:

    pytest --support docs/support.json
    python docs/support.py
"""

import json
from pathlib import Path
from typing import Any

from openmodels.backends import registry
from openmodels.openness.criteria import registered_rules
from openmodels.types.options import (
    OPTION_NAMES,
    CallOptions,
    EmbedOptions,
    OptionRow,
    RerankOptions,
    ScoreOptions,
    read_rows,
)

README = Path(__file__).parent.parent / "README.md"
PROVED = Path(__file__).parent / "support.json"
OPTIONS = Path(__file__).parent / "options.md"
OPENNESS = Path(__file__).parent / "openness.md"
FEATURES = {
    "chat": "`chat`, `stream`",
    "complete": "`complete`",
    "embed": "`embed`",
    "rerank": "`rerank`",
    "score": "`score`",
    "decide": "`decide`",
    "images": "images",
}
BEGIN, END = "<!-- support: made by docs/support.py -->\n", "<!-- end of support -->\n"
CRITERIA_BEGIN, CRITERIA_END = "<!-- criteria: made by docs/support.py -->\n", "<!-- end of criteria -->\n"
# A backend whose options hang on how it is set up is asked when set up like this.
NEEDED: dict[str, dict[str, Any]] = {name: {"base_url": "http://127.0.0.1:8000"} for name in ("azure", "server")}


def table() -> str:
    """Return the table in Markdown: backends across, features and options down."""
    backends = {name: registry.find(name) for name in registry.BUILT_IN}
    claimed, shown = claims(), proved()
    rows = [["", *(f"`{name}`" for name in backends)]]
    for feature, methods in FEATURES.items():
        rows.append([methods, *(_mark(feature, claimed[name], shown[name]) for name in backends)])
    rows += [
        [f"`{option}`", *(_mark(option, claimed[name], shown[name]) for name in backends)] for option in OPTION_NAMES
    ]
    own = [registry.list_parameters(backend) for backend in backends.values()]
    rows.append(["options of its own", *(", ".join(f"`{name}`" for name in names) or "none" for names in own)])
    rows.append(["needs", *(f"extra `{entry.extra}`" if entry.extra else "" for entry in registry.BUILT_IN.values())])
    head, *body = (f"| {' | '.join(row)} |\n" for row in rows)
    return head + "|---" * len(rows[0]) + "|\n" + "".join(body)


def updated(page: str) -> str:
    """Return the page with the table as it is now."""
    before, _, rest = page.partition(BEGIN)
    return before + BEGIN + table() + END + rest.partition(END)[2]


def claims() -> dict[str, set[str]]:
    """Return the features and options that each backend declares."""
    made = {}
    for name in registry.BUILT_IN:
        backend = registry.find(name)
        options = backend.options or backend("org/model", **NEEDED.get(name, {})).options
        made[name] = {*backend.features, *options}
    return made


def proved() -> dict[str, set[str]]:
    """Return the features and options that the conformance suite has proved for each backend."""
    read = json.loads(PROVED.read_text(encoding="utf-8"))
    return {name: set(read.get(name, ())) for name in registry.BUILT_IN}


def options_page() -> str:
    """Return the page of the call options: a table for each method."""
    parts = ["# Call options\n\nMade by `docs/support.py` from the table in `openmodels.types.options`.\n"]
    for methods, table in (
        ("`chat`, `stream`, `complete`, `map`, `run_tools`", CallOptions),
        ("`embed`", EmbedOptions),
        ("`rerank`", RerankOptions),
        ("`score`, `decide`", ScoreOptions),
    ):
        parts.append(f"\n## {methods}\n\n| option | type | range | default | what it does |\n|---|---|---|---|---|\n")
        parts += [_option_row(name, row) for name, row in read_rows(table).items()]
    return "".join(parts)


def with_criteria(page: str) -> str:
    """Return the page about openness with the table of criteria as it is now."""
    before, _, rest = page.partition(CRITERIA_BEGIN)
    rows = [f"| `{rule.name}` | {rule.open_needs} |\n" for rule in registered_rules()]
    table = "| criterion | open needs |\n|---|---|\n" + "".join(rows)
    return before + CRITERIA_BEGIN + table + CRITERIA_END + rest.partition(CRITERIA_END)[2]


def _option_row(name: str, row: OptionRow) -> str:
    kind = row.type.__name__ if isinstance(row.type, type) else str(row.type)
    kind = kind.replace("collections.abc.", "").replace("typing.", "").replace("|", "or")
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    limits = ", ".join(f"{signs[word]} {limit}" for word, limit in row.option.limits.items())
    return f"| `{name}` | {kind} | {limits} | {row.option.default} | {row.option.description} |\n"


def _mark(feature: str, claimed: set[str], shown: set[str]) -> str:
    if feature not in claimed:
        return "no"
    return "yes" if feature in shown else "not proved"


if __name__ == "__main__":
    README.write_text(updated(README.read_text(encoding="utf-8")), encoding="utf-8")
    OPTIONS.write_text(options_page(), encoding="utf-8")
    OPENNESS.write_text(with_criteria(OPENNESS.read_text(encoding="utf-8")), encoding="utf-8")
