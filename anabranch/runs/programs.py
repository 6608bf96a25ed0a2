"""A program that a task starts: its lines go to the log of the run, and it ends with the run.

    task: Program --> step_watch --> the program, and what it starts
          lines to the log of the run <-- what they write
"""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import time
from collections import deque
from contextlib import ExitStack, suppress
from dataclasses import replace
from logging import getLogger
from typing import TYPE_CHECKING, Any, Self

from anabranch.core import strays
from anabranch.core.context import current_task
from anabranch.core.errors import CancelledRun, MissingContextError, TaskTimeoutError
from anabranch.core.interpreter import program
from anabranch.logs import Buffer, get_run_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from anabranch.core.context import TaskContext

KEPT_BYTES = 64 << 10  # of what the program writes, its last
_INSIDE = bytes(range(0x80, 0xC0))  # bytes of a character after its first, in UTF-8
SHOWN_LINES = 10  # in the message of an error
LOOK_SECONDS = 0.2  # between looks whether the run was cancelled
PATIENCE = 10.0  # seconds from SIGTERM to SIGKILL, for a program of this machine


class Log:
    """Takes lines for the log of the run around this code; outside of runs, for the program's.

    Lines of a task wait for its end, which may be hours away: these are sent while it runs.
    """

    def __init__(self, task: TaskContext | None) -> None:
        self._task = task
        self._buffer = Buffer()
        port = None if task is None else task.port
        self._send = None if port is None else port.log
        token = None if task is None or port is None else current_task.set(replace(task, log=self._buffer.append))
        try:
            self._logger = get_run_logger()
        except MissingContextError:
            self._logger = getLogger("anabranch.programs")
        finally:
            if token is not None:
                current_task.reset(token)

    @classmethod
    def here(cls) -> Self:
        task = current_task.get()
        if task is None and (origin := strays.here()) is not None:
            task = origin.task
        return cls(task)

    def line(self, text: str) -> None:
        self._logger.info("%s", text)

    def warning(self, text: str) -> None:
        self._logger.warning("%s", text)

    def send(self) -> None:
        lines, dropped = self._buffer.take()
        if self._send is not None and (lines or dropped):
            self._send(lines, dropped)

    @property
    def over(self) -> bool:
        """Whether the task run around this code is to end, or has ended."""
        task = self._task
        return task is not None and (
            task.over or (task.port is not None and task.port.cancelled(task.chunk, task.position))
        )


class Lines:
    """What a program writes: each line goes to a log, and the last bytes are kept as they were written.

    Args:
        kept_bytes: how many of them.
    """

    def __init__(self, log: Callable[[str], object], kept_bytes: int = KEPT_BYTES) -> None:
        self._log = log
        self._most = kept_bytes
        self.seen = 0  # bytes
        self._kept = bytearray()
        self._rest = b""
        self._last: deque[str] = deque(maxlen=SHOWN_LINES)

    def add(self, data: bytes) -> None:
        """Take more; a line that is too long is cut in pieces. No data: the end of the last line."""
        self.seen += len(data)
        self._kept += data
        if len(self._kept) > 2 * self._most:  # one byte is enough to tell that there was more
            del self._kept[: -self._most - 1]
        *whole, self._rest = (self._rest + data).split(b"\n")
        if self._rest and (not data or len(self._rest) > KEPT_BYTES):
            whole, self._rest = [*whole, self._rest], b""
        for line in whole:
            text = line.decode("utf-8", "replace")
            self.beside(text.rstrip("\r").rpartition("\r")[2])  # of a progress bar its last state

    def beside(self, text: str) -> None:
        """Take a line that is no part of the output, but may say how it ended."""
        self._log(text)
        self._last.append(text)

    @property
    def text(self) -> str:
        """What was written; of more than is kept the last, from the begin of a line where there is one."""
        kept = bytes(self._kept)
        if len(kept) > self._most:
            last = kept[-self._most:]
            kept = last.partition(b"\n")[2] or last.lstrip(_INSIDE)
        return kept.decode("utf-8", "replace")

    @property
    def last(self) -> list[str]:
        """The last lines, also those beside the output."""
        return list(self._last)

    @property
    def is_cut(self) -> bool:
        return self.seen > self._most


class Program:
    """A program beside this process, started at once; a `with` block ends it, if it still runs then.

    Args:
        name: in messages.
        command: the program and its arguments.
        env: its whole environment.
        folder: its working folder; None: this program's.
        out: takes what it writes to its standard output.
        errors: the same of its standard error; None: that goes where its output goes, in its order.
        patience: seconds from SIGTERM to SIGKILL, where it is to end.
    """

    def __init__(
        self, name: str, command: list[str], env: dict[str, str], folder: str | None, log: Log, out: Lines,
        errors: Lines | None, patience: float = PATIENCE,
    ) -> None:  # fmt: skip
        self._name, self._log = name, log
        told = {"command": command, "env": env, "folder": folder, "patience": patience}
        self._watch = subprocess.Popen(
            program("anabranch.runs.step_watch", json.dumps({"path": sys.path})), stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT if errors is None else subprocess.PIPE,
            start_new_session=True,
        )  # fmt: skip
        self._pipes: dict[Any, Lines] = {self._watch.stdout: out}
        if errors is not None:
            self._pipes[self._watch.stderr] = errors
        self._end = ExitStack()
        self._end.callback(log.send)
        self._end.callback(self._watch.wait)
        for pipe in (*self._pipes, self._watch.stdin):  # stdin first: that ends the program, if it runs
            self._end.callback(_close, pipe)
        _give(self._watch.stdin, json.dumps(told))

    @property
    def pid(self) -> int:
        """The process that watches over the program; SIGTERM to it ends the program and all that it has started."""
        return self._watch.pid

    @property
    def code(self) -> int | None:
        """How it ended: its code, or 128 and the number of a signal; None while it runs."""
        return self._watch.poll()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._end.close()

    def run(self, seconds: float | None = None, told_to_end: Callable[[], bool] = bool) -> int:
        """Read what it writes until it has ended, and return its code.

        Args:
            seconds: it may take; None: for ever.
            told_to_end: asked a few times a second.

        Raises:
            CancelledRun: the run around this code is over before.
            TaskTimeoutError: the seconds were over before.
        """
        until = None if seconds is None else time.monotonic() + seconds
        pipes = dict(self._pipes)
        while pipes:
            ready = _ready(pipes)
            for pipe in ready:
                data = os.read(pipe.fileno(), 1 << 16)
                pipes[pipe].add(data)
                if not data:
                    del pipes[pipe]
            self._log.send()
            if not ready and self._watch.poll() is not None:  # what it has left behind may hold its output open
                break
            if self._log.over or told_to_end():
                raise CancelledRun(f"{self._name} was ended: its run was cancelled, or was over its time")
            if until is not None and time.monotonic() > until:
                raise TaskTimeoutError(f"{self._name} was ended: it took more than {seconds:g} s")
        for lines in pipes.values():
            lines.add(b"")
        return self._watch.wait()


def _ready(pipes: Iterable[Any]) -> list[Any]:
    with selectors.DefaultSelector() as selector:  # a driver may have more files than `select` knows of
        for pipe in pipes:
            selector.register(pipe, selectors.EVENT_READ)
        return [key.fileobj for key, _ in selector.select(LOOK_SECONDS)]


def _give(stdin: Any, told: str) -> None:
    with suppress(BrokenPipeError):  # it has ended, and says why
        stdin.write(told.encode() + b"\n")
        stdin.flush()


def _close(pipe: Any) -> None:
    with suppress(OSError):
        pipe.close()
