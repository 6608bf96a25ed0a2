"""Runs CPython's own executor tests over ours: `python -m tests.integration.executors.cpython FOLDER`.

FOLDER has `test_concurrent_futures.py`. Its classes are taken as they are, with our executors in place of CPython's.
Three of its tests run programs that name CPython's classes: their programs stand here, with ours.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import sys
import tempfile
import unittest
from typing import Any

from test.support.script_helper import assert_python_ok  # type: ignore[import-untyped]

from anabranch import ProcessRunner, ThreadRunner
from tests.integration.executors.left_out import LEFT_OUT

PROGRAM = """if True:
    import atexit, sys, time
    from anabranch import {runner}

    def sleep_and_print(seconds, text):
        time.sleep(seconds)
        print(text)
        sys.stdout.flush()

    @atexit.register
    def run_last():
        if {last}:
            try:
                t.submit(id, None)
            except RuntimeError:
                print("runtime-error")
                raise

    t = {runner}(5).executor()
"""


def threads(max_workers: int | None = None, **given: Any) -> Any:
    return ThreadRunner(max_workers).executor(**given)


def processes(max_workers: int | None = None, **given: Any) -> Any:
    return ProcessRunner(max_workers).executor(**given)


class Programs:
    """Programs that end while an executor has work."""

    runner = "ThreadRunner"
    executor_type: Any

    def said(self, body: str, *, last: bool = False) -> tuple[str, str]:
        text = PROGRAM.format(runner=self.runner, last=last) + "".join(f"    {line}\n" for line in body.splitlines())
        _, out, err = assert_python_ok("-c", text, PYTHONPATH=os.environ["PYTHONPATH"], __isolated=False)
        return out.decode().strip(), err.decode()

    def test_interpreter_shutdown(self) -> None:
        assert self.said("t.submit(sleep_and_print, 1.0, 'apple')") == ("apple", "")

    def test_hang_gh83386(self) -> None:
        body = "t.submit(sleep_and_print, 1.0, 'apple')\nt.shutdown(wait=False)"
        assert self.said(body) == ("apple", "")

    def test_cancel_futures_wait_false(self) -> None:
        body = "t.submit(sleep_and_print, .1, 'apple')\ntime.sleep(0.5)\nt.shutdown(wait=False, cancel_futures=True)"
        assert self.said(body) == ("apple", "")

    def test_submit_after_interpreter_shutdown(self) -> None:
        out, err = self.said("t.submit(id, 42).result()", last=True)
        assert "RuntimeError: cannot schedule new futures" in err
        assert out == "runtime-error"


def classes(suite: Any) -> list[type[unittest.TestCase]]:
    """Return the suite's classes over our executors."""

    class Threads(suite.ExecutorMixin):  # type: ignore[misc,name-defined]
        executor_type = staticmethod(threads)

    class Processes(suite.ExecutorMixin):  # type: ignore[misc,name-defined]
        executor_type = staticmethod(processes)
        runner = "ProcessRunner"

        def get_context(self) -> Any:
            return multiprocessing.get_context("spawn")

    kinds = {
        "Executor": (suite.ThreadPoolExecutorTest, suite.ProcessPoolExecutorTest),
        "Wait": (suite.ThreadPoolWaitTests, suite.WaitTests),
        "AsCompleted": (suite.AsCompletedTests, suite.AsCompletedTests),
        "Shutdown": (suite.ThreadPoolShutdownTest, suite.ProcessPoolShutdownTest),
        "Initializer": (suite.InitializerMixin, suite.InitializerMixin),
        "FailingInitializer": (suite.FailingInitializerMixin, suite.FailingInitializerMixin),
    }
    found = []
    for kind, both in kinds.items():
        for ours, theirs in zip((Threads, Processes), both, strict=True):
            bases = (Programs,) if kind == "Shutdown" else ()
            tail = () if issubclass(theirs, suite.BaseTestCase) else (suite.BaseTestCase,)
            found.append(type(f"{ours.__name__}{kind}", (*bases, ours, theirs, *tail), {}))
    return found


def main() -> None:
    sys.path.insert(0, sys.argv[1])
    os.environ["PYTHONPATH"] = os.pathsep.join((sys.argv[1], os.getcwd()))
    os.environ["ANABRANCH_HOME"] = tempfile.mkdtemp(dir=sys.argv[2])
    suite = importlib.import_module("test_concurrent_futures")
    chosen = unittest.TestSuite()
    for kind in classes(suite):
        for test in unittest.defaultTestLoader.loadTestsFromTestCase(kind):
            name = test.id().rpartition(".")[2]
            if f"{kind.__name__}.{name}" not in LEFT_OUT and name not in LEFT_OUT:
                chosen.addTest(test)
    done = unittest.TextTestRunner(verbosity=2).run(chosen)
    print(f"{done.testsRun} tests of CPython's ran", flush=True)
    sys.exit(not done.wasSuccessful())


if __name__ == "__main__":
    main()
