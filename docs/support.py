"""Write the table of what each backend supports, read from the backends themselves, into README.md.

python docs/support.py
"""

import inspect
from pathlib import Path
from typing import Any

from openmodels.backends import registry
from openmodels.types import OPTION_NAMES

README = Path(__file__).parent.parent / "README.md"
BEGIN, END = "<!-- support: made by docs/support.py -->\n", "<!-- end of support -->\n"
# A backend whose options hang on how it is set up is asked when set up like this.
NEEDED: dict[str, dict[str, Any]] = {name: {"base_url": "http://127.0.0.1:8000"} for name in ("azure", "server")}


def table() -> str:
    """Return the table in Markdown: backends across, features and options down."""
    backends = {name: registry.find(name) for name in registry.BUILT_IN}
    rows = [["", *(f"`{name}`" for name in backends)]]
    for feature, methods in {"chat": "`chat`, `stream`", "complete": "`complete`", "embed": "`embed`"}.items():
        rows.append([methods, *(_mark(feature in backend.features) for backend in backends.values())])
    options = {
        name: backend.options or backend("org/model", **NEEDED.get(name, {})).options
        for name, backend in backends.items()
    }
    rows += [[f"`{option}`", *(_mark(option in options[name]) for name in backends)] for option in OPTION_NAMES]
    own = [_own_options(backend) for backend in backends.values()]
    rows.append(["options of its own", *(", ".join(f"`{name}`" for name in names) or "none" for names in own)])
    rows.append(["needs", *(f"extra `{entry.extra}`" if entry.extra else "" for entry in registry.BUILT_IN.values())])
    head, *body = (f"| {' | '.join(row)} |\n" for row in rows)
    return head + "|---" * len(rows[0]) + "|\n" + "".join(body)


def updated(page: str) -> str:
    """Return the page with the table as it is now."""
    before, _, rest = page.partition(BEGIN)
    return before + BEGIN + table() + END + rest.partition(END)[2]


def _mark(supported: bool) -> str:  # noqa: FBT001 - one private call each
    return "yes" if supported else "no"


def _own_options(backend: type) -> list[str]:
    return [p.name for p in inspect.signature(backend).parameters.values() if p.kind is p.KEYWORD_ONLY]


if __name__ == "__main__":
    README.write_text(updated(README.read_text(encoding="utf-8")), encoding="utf-8")
