"""Programs that are told to end: started from here, met at their pipes, and what they leave in the record."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import textwrap
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from anabranch.records.sqlite import SqliteRecords
from tests.faults.pipes import pipe
from tests.faults.workers import until

if TYPE_CHECKING:
    import signal
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from anabranch.core.runs import FlowRunRow

HEAD = """
import asyncio, os, signal, sys, threading, time
import anabranch
from anabranch import flow, task, ProcessRunner, ThreadRunner
from anabranch import session as sessions

FOLDER = os.environ["FOLDER"]

@task
def work(x):
    open(f"{FOLDER}/began-{x}", "w").close()
    with open(f"{FOLDER}/gate") as gate:
        gate.read()
    open(f"{FOLDER}/done-{x}", "w").close()
    return x

def when_halted():
    # Say so once nothing new begins any more.
    def look():
        pump = sessions.current().pump
        while not pump.dispatcher.tables.halted:
            time.sleep(0.005)
        pump.inspect(lambda: None)  # what the halt asks for has been carried out
        for runner in pump.runners:
            if hasattr(runner, "when_told"):  # its workers hear it over the wire
                told = threading.Event()
                runner.when_told(told.set)
                told.wait()
        open(f"{FOLDER}/halted", "w").close()
    threading.Thread(target=look, daemon=True).start()
"""

SYNC = """
@flow(runner={runner})
def main():
    when_halted()
    work.map(range(40), chunk=5).wait()

if __name__ == "__main__":
    main()
"""


class Left(NamedTuple):
    """What a program left."""

    code: int
    errors: str
    output: str


class Program:
    """One program and its folder."""

    def __init__(self, folder: Path, command: Sequence[str], environ: dict[str, str]) -> None:
        self.folder = folder
        self.environ = environ
        self.child = started(command, environ)

    def again(self, *command: str) -> None:
        """Start another program in the place of the one that has ended, in the same surroundings."""
        self.child = started(command, self.environ)

    def names(self, word: str) -> set[str]:
        return {path.name.partition("-")[2] for path in self.folder.glob(f"{word}-*")}

    def begun(self, count: int, seconds: float = 60.0) -> set[str]:
        """Wait until so many items run."""
        until(lambda: len(self.names("began")) >= count or self.child.poll() is not None, seconds)
        assert self.child.poll() is None, self.child.communicate()
        return self.names("began")

    def tell(self, number: signal.Signals, *, group: bool = False) -> None:
        """Send a signal to the program; with `group` to all that a terminal would send it to."""
        if group:
            os.killpg(self.child.pid, number)
        else:
            self.child.send_signal(number)

    def halted(self) -> None:
        """Wait until nothing new begins, and workers have been told."""
        until(lambda: (self.folder / "halted").exists() or self.child.poll() is not None)
        assert self.child.poll() is None, self.child.communicate()

    def let_go(self, items: set[str]) -> None:
        """Open the gate until these are through; who says that he has begun may not stand before it yet."""

        def through() -> bool:
            with contextlib.suppress(OSError):  # nobody stands there
                os.close(os.open(self.folder / "gate", os.O_WRONLY | os.O_NONBLOCK))
            return items <= self.names("done")

        until(through)

    def end(self, seconds: float = 40.0) -> Left:
        output, errors = self.child.communicate(timeout=seconds)
        return Left(self.child.returncode, errors, output)

    def runs(self) -> list[FlowRunRow]:
        """What the record says, the oldest first."""
        with closing(SqliteRecords(self.folder / "home" / "records.db")) as records:
            return records.flow_runs()[::-1]

    def items(self, run: FlowRunRow) -> dict[int, str]:
        with closing(SqliteRecords(self.folder / "home" / "records.db")) as records:
            return {item.index: item.state for map in records.maps(run.id) for item in records.items(map.id)}

    def completed(self, run: FlowRunRow, task: str) -> set[int]:
        """Return the items of this task that have completed, in one of the drivers so far."""
        with closing(SqliteRecords(self.folder / "home" / "records.db")) as records:
            maps = [map for map in records.maps(run.id) if map.task == task]
            return {item.index for map in maps for item in records.items(map.id) if item.state == "Completed"}


@contextmanager
def program(folder: Path, body: str, *command: str, **settings: Any) -> Iterator[Program]:
    """Run HEAD and `body` as a program; `command`: how, instead of `python FILE`.

    Args:
        settings: of anabranch, by name.
    """
    pipe(folder / "gate")
    file = folder / "program.py"
    file.write_text(HEAD + textwrap.dedent(body))
    environ = {
        **os.environ, "FOLDER": str(folder), "PYTHONPATH": os.pathsep.join(sys.path),
        "ANABRANCH_HOME": str(folder / "home"), "ANABRANCH_PROGRESS": "0",
        **{f"ANABRANCH_{name.upper()}": str(value) for name, value in settings.items()},
    }  # fmt: skip
    told = Program(folder, [*(command or (sys.executable,)), str(file)], environ)
    try:
        yield told
    finally:
        if told.child.poll() is None:
            told.child.kill()
        told.child.communicate()


def started(command: Sequence[str], environ: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(  # in a group of its own, as a shell starts it
        command, env=environ, text=True, process_group=0,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
    )  # fmt: skip
