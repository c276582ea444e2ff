"""What child processes get of ours: nothing that makes them run programs or modules of the current folder."""

from __future__ import annotations

import os
import shutil

_PATHS = ("PATH", "PYTHONPATH")


def for_children() -> dict[str, str]:
    """Return this process's variables without what stands for the current folder, which may be a stranger's.

    An empty or relative entry of PATH or PYTHONPATH does, and so does the first place where Python looks
    for modules.
    """
    variables = dict(os.environ)
    for name in _PATHS:
        if name in variables:
            variables[name] = _absolute(variables[name])
            if not variables[name]:
                del variables[name]
    return variables | {"PYTHONSAFEPATH": "1"}


def find_program(name: str) -> str | None:
    """Return the absolute path of a program on PATH, or None; the current folder is not looked at.

    A name with a folder in it is taken as the caller's own path.
    """
    if os.path.dirname(name):  # noqa: PTH120 - a path of any system
        found = shutil.which(name)
        return os.path.abspath(found) if found else None  # noqa: PTH100 - links stay: an environment is told by them
    # Each folder by itself: with a list of them, Windows would look into the current folder first.
    folders = _absolute(os.environ.get("PATH", os.defpath)).split(os.pathsep)
    return next(filter(None, (shutil.which(os.path.join(folder, name)) for folder in folders if folder)), None)  # noqa: PTH118


def _absolute(paths: str) -> str:
    return os.pathsep.join(path for path in paths.split(os.pathsep) if os.path.isabs(path))  # noqa: PTH117
