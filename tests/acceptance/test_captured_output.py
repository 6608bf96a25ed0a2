"""With `log_prints` what runs print is logged; what their code captures itself it gets, as without."""

from __future__ import annotations

import builtins
import contextlib
import io
import logging
import os
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import flow, prints, task
from tests.acceptance.gates import SOON

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def said() -> Iterator[list[str]]:
    """The lines of runs that begin with "said"."""
    lines: list[str] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            text = record.getMessage().partition(" - ")[2]
            if text.startswith("said"):
                lines.append(text)

    handler = Kept()
    logging.getLogger("anabranch").addHandler(handler)
    logging.getLogger("anabranch").setLevel(logging.INFO)
    yield lines
    logging.getLogger("anabranch").removeHandler(handler)


def redirected() -> str:
    buffer = io.StringIO()
    with contextlib.redirect_stdout(buffer):
        print("caught", 1)
        help(str.upper)
    return buffer.getvalue()[:9]


def redirected_errors() -> str:
    buffer = io.StringIO()
    with contextlib.redirect_stderr(buffer):
        print("caught", 1, file=sys.stderr)
    return buffer.getvalue()[:9]


def in_a_file() -> str:
    buffer = io.StringIO()
    print("caught", 1, file=buffer, flush=True)
    return buffer.getvalue()[:9]


def replaced() -> str:
    """As a library does that has its own standard output for a while."""
    buffer, before = io.StringIO(), sys.stdout
    sys.stdout = buffer
    try:
        print("caught", 1)
    finally:
        sys.stdout = before
    return buffer.getvalue()[:9]


CAPTURES = [redirected, redirected_errors, in_a_file, replaced]


@pytest.mark.parametrize("capture", CAPTURES)
@pytest.mark.parametrize("log_prints", [False, True])
def test_what_the_code_of_a_run_captures_it_gets(
    runner: str, capture: Callable[[], str], log_prints: bool, said: list[str]
) -> None:
    one = task(capture)

    @flow(log_prints=log_prints)
    def main() -> list[str]:
        print("said", "before")
        found = [capture(), one(), one.submit().result()]
        print("said", "after", file=sys.stderr)
        return found

    assert main() == ["caught 1\n"] * 3
    assert said == (["said before", "said after"] if log_prints else [])


def test_prints_of_all_kinds_of_runs_are_logged(runner: str, said: list[str]) -> None:
    @task
    def plain() -> None:
        print("said", "sync", sep=" ", end="")

    @task
    async def awaits() -> None:
        print("said async")

    @task
    def calls() -> None:
        plain()

    @flow(log_prints=True)
    def main() -> None:
        plain()
        plain.submit().wait()
        awaits.submit().wait()
        calls()
        calls.submit().wait()

    main()
    assert sorted(said) == ["said async", *["said sync"] * 4]


def test_print_is_the_programs_own_again_once_no_run_logs_it(threads: str) -> None:
    before = builtins.print
    during: list[Any] = []
    gate, ready = threading.Event(), threading.Event()

    @task(log_prints=True)
    def waits() -> None:
        ready.set()
        assert gate.wait(SOON)
        during.append(builtins.print)

    @flow(log_prints=True)
    def inner() -> None:
        during.append(builtins.print)

    @flow
    def main() -> None:
        waiting = waits.submit()
        assert ready.wait(SOON)
        inner()
        during.append(builtins.print)  # of the task, which runs on
        gate.set()
        waiting.wait()

    main()
    assert during == [prints._print] * 3
    assert builtins.print is before


def test_a_handler_that_prints_is_no_endless_loop(threads: str, capsys: pytest.CaptureFixture[str]) -> None:
    class Prints(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "said" in record.getMessage():
                print("handler:", record.getMessage().partition(" - ")[2])

    handler = Prints()
    logging.getLogger("anabranch").addHandler(handler)
    logging.getLogger("anabranch").setLevel(logging.INFO)
    try:

        @flow(log_prints=True)
        def main() -> None:
            print("said once")

        main()
    finally:
        logging.getLogger("anabranch").removeHandler(handler)
    assert capsys.readouterr().out == "handler: said once\n"


def test_a_fork_of_a_run_prints(threads: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Nobody would read its lines."""

    @flow(log_prints=True)
    def main() -> int:
        child = os.fork()
        if not child:
            try:
                print("from the fork", flush=True)
            finally:
                os._exit(0)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    with capfd.disabled():
        pass
    assert main() == 0
    assert "from the fork\n" in capfd.readouterr().out
