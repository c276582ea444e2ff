"""Next steps of errors with flags of the command in place of Python's options."""

import re

import click

_OPTION = re.compile(
    r"""(?:om\.)?Model\((?P<quote>['"])(?P<model>.+?)(?P=quote)(?P<options>(?:, *\w+=(['"]).*?\4)*)\)"""
    r"""|\b(?P<set>[a-z_]+)=(?:'(?P<single>[^']*)'|"(?P<double>[^"]*)"|(?P<flag>True|False)\b)"""
    r"""|`(?P<quoted>[a-z_]+)=?`"""
    r"""|\b(?P<bare>[a-z_]+)=(?:…|(?=[\s.,;)]|$))"""
)
_PAIR = re.compile(r"""(\w+)=(['"])(.*?)\2""")
_CALLS = frozenset(("chat", "stream", "complete", "embed", "rerank", "map", "run_tools"))
_PYTHON = re.compile(r"`(?:load|run_tools)\(|`stream\.|`model\.|\bom\.|\breport\.|\0")
"""What only a program can do: look into an error, call a function, set an option that has no flag."""


def translate(text: str, command: click.Command | None) -> str | None:
    """Return a next step with flags of a command in place of Python's options.

    Clauses that only a program can follow are left out; None is returned where no other is left.
    """
    from openmodels.types.options import CallOptions

    parameters = [parameter for parameter in command.params if isinstance(parameter, click.Option)] if command else []
    flags = {parameter.name: parameter.opts[-1] for parameter in parameters if parameter.name != "backend_options"}
    option = next((parameter.opts[0] for parameter in parameters if parameter.name == "backend_options"), None)

    def flag(name: str, value: str | None, text: str) -> str:
        if name in flags:
            return f"{flags[name]} {value}" if value else flags[name]
        if name in CallOptions.__annotations__:
            return "\0"
        return f"{option} {name}={value or '…'}" if option else text

    def word(match: re.Match[str]) -> str:
        if match["model"]:
            pairs = (f"{option or '-o'} {name}={value}" for name, _, value in _PAIR.findall(match["options"]))
            return " ".join(["-m", match["model"], *pairs])
        if match["set"]:
            return flag(match["set"], match["single"] or match["double"] or match["flag"].lower(), match[0])
        name = match["quoted"] or match["bare"]
        return match[0] if name in _CALLS else flag(name, None, match[0])

    # Split before the options are read: "the error's `partial`" names none.
    clauses = [clause for clause in re.split(r"(?<=[.;]) ", text) if "error's `" not in clause]
    translated = [_OPTION.sub(word, clause) for clause in clauses]
    joined = " ".join(clause for clause in translated if not _PYTHON.search(clause)).rstrip("; ")
    if not joined:
        return None
    end = "" if joined.endswith((".", "?", "…")) else "."
    return f"{joined[0].upper() if joined[0].islower() else joined[0]}{joined[1:]}{end}"
