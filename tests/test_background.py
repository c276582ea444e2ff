"""Work on threads that no interrupt tears: things made once for all who wait, and whole imports."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import openmodels as om
from openmodels import background
from openmodels.background import LazyValue
from openmodels.testing.driver import wait_until

posix = pytest.mark.skipif(os.name != "posix", reason="signals and forks are POSIX")


class TestLazyValue:
    def test_it_is_made_once_for_all(self) -> None:
        lazy: LazyValue[object] = LazyValue()
        makings: list[object] = []

        def make(_: float | None) -> object:
            makings.append(object())
            return makings[-1]

        with ThreadPoolExecutor(8) as pool:
            got = list(pool.map(lambda _: lazy.get(make, None), range(40)))
        assert got == [makings[0]] * 40
        assert asyncio.run(lazy.aget(make, None)) is makings[0]
        assert lazy.take() is makings[0]
        assert lazy.value is None
        assert lazy.get(make, None) is makings[1]

    @pytest.mark.parametrize("asynchronous", [False, True])
    def test_a_deadline_ends_the_wait_and_not_the_making(self, asynchronous: bool) -> None:
        lazy: LazyValue[int] = LazyValue()
        go = threading.Event()

        def make(_: float | None) -> int:
            go.wait(60)
            return 3

        def get() -> int:
            soon = time.monotonic() + 0.05
            return asyncio.run(lazy.aget(make, soon)) if asynchronous else lazy.get(make, soon)

        with pytest.raises(om.DeadlineExceeded):
            get()
        go.set()
        assert lazy.get(lambda _: 4, None) == 3

    def test_a_failure_reaches_all_and_the_next_caller_tries_again(self) -> None:
        lazy: LazyValue[int] = LazyValue()
        go = threading.Event()

        def fail(_: float | None) -> int:
            go.wait(60)
            raise om.LoadFailed("no")

        with ThreadPoolExecutor(3) as pool:
            waiting = [pool.submit(lazy.get, fail, None) for _ in range(3)]
            wait_until(lambda: lazy._future is not None, 30)
            go.set()
            errors = [future.exception(30) for future in waiting]
        assert {type(error) for error in errors} == {om.LoadFailed}
        assert lazy.get(lambda _: 5, None) == 5

    def test_a_caller_with_more_time_goes_on_where_another_had_too_little(self) -> None:
        lazy: LazyValue[int] = LazyValue()
        go = threading.Event()

        def make(deadline: float | None) -> int:
            go.wait(60)
            if deadline is not None:
                raise om.DeadlineExceeded("short")
            return 6

        with ThreadPoolExecutor(2) as pool:
            short = pool.submit(lazy.get, make, time.monotonic() + 0.01)
            wait_until(lambda: lazy._future is not None, 30)
            long = pool.submit(lazy.get, make, None)
            assert isinstance(short.exception(30), om.DeadlineExceeded)
            go.set()
            assert long.result(30) == 6

    @posix
    @pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
    def test_the_child_of_a_fork_makes_its_own(self) -> None:
        lazy: LazyValue[int] = LazyValue()
        go = threading.Event()
        background.start(lazy.get, lambda _: go.wait(60) and 1, None)
        wait_until(lambda: lazy._future is not None, 30)
        child = os.fork()
        if child == 0:
            os._exit(lazy.get(lambda _: 7, time.monotonic() + 30))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        go.set()


TEAR = """
import os, signal, sys, threading
sys.path.insert(0, {folder!r})
from openmodels.imports import import_uninterrupted
try:
    import_uninterrupted("slow_module")
except KeyboardInterrupt:
    print("interrupted", "slow_module" in sys.modules, flush=True)
open({go!r}, "w").close()
print(import_uninterrupted("slow_module").DONE, import_uninterrupted("slow_module").TIMES)
"""


@posix
def test_an_interrupt_tears_no_import(tmp_path: Path) -> None:
    go = tmp_path / "go"
    (tmp_path / "slow_module.py").write_text(
        textwrap.dedent(f"""
        import os, signal, sys, time
        sys.times = TIMES = getattr(sys, "times", 0) + 1
        os.kill(os.getpid(), signal.SIGINT)
        while not os.path.exists({str(go)!r}):
            time.sleep(0.01)
        DONE = True
        """)
    )
    code = TEAR.format(folder=str(tmp_path), go=str(go))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["interrupted", "True", "True", "1"]


def test_an_import_that_fails_raises_what_it_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from openmodels.imports import import_uninterrupted

    (tmp_path / "broken_module_here.py").write_text("raise LookupError('broken')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(LookupError, match="broken"):
        import_uninterrupted("broken_module_here")
    with pytest.raises(ModuleNotFoundError):
        import_uninterrupted("no_such_module_here")
