"""`run_step`: a task starts a program of several ranks, as a step of its Slurm job or by MPI, and waits for it.

    task: run_step --> step_watch --> srun --> ranks on the nodes of the job
          lines to the log of the run <-- what they write
"""

from __future__ import annotations

import json
import os
import selectors
import shutil
import subprocess
import sys
from collections import deque
from contextlib import ExitStack, suppress
from dataclasses import replace
from logging import getLogger
from typing import TYPE_CHECKING, Any, Self

from anabranch.core import job_steps, strays
from anabranch.core.context import current_task
from anabranch.core.errors import CancelledRun, MissingContextError, StepError
from anabranch.core.interpreter import program
from anabranch.logs import Buffer, get_run_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from anabranch.core.context import TaskContext

KEPT_BYTES = 64 << 10  # of what the program writes, its last
_INSIDE = bytes(range(0x80, 0xC0))  # bytes of a character after its first, in UTF-8
SHOWN_LINES = 10  # in the message of an error
LOOK_SECONDS = 0.2  # between looks whether the run was cancelled
PATIENCE = 10.0  # seconds from SIGTERM to SIGKILL, for a program of this machine
SRUNS_PATIENCE = 60.0  # for srun, which ends the ranks on all nodes before itself: killed, it would leave them there


def run_step(
    command: Sequence[str | os.PathLike[str]],
    *,
    ntasks: int = 1,
    cpus_per_task: int = 1,
    gpus_per_task: int = 0,
    launcher: str | None = None,
    options: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    cwd: str | os.PathLike[str] | None = None,
) -> str:
    """Run a program of several ranks to its end, as a step of the Slurm job around this code, and return its output.

        @task(cpus=16)
        def solve(case: str) -> None:
            run_step(["./solver", case], ntasks=16)

    Inside of a Slurm job `srun` starts it, on processors that no other step has; where they are taken, Slurm lets it
    wait. Elsewhere ``ntasks=1`` runs the program itself, and more ranks are started by `mpirun`. Its lines go to the
    log of the run, and it ends with the run: after a cancel, at a time limit, with a worker that dies.

    Args:
        command: the program and its arguments; no shell reads them.
        ntasks: ranks.
        cpus_per_task: processors of a rank, and OMP_NUM_THREADS.
        gpus_per_task: accelerators of a rank; Slurm alone gives them out.
        launcher: "srun", "mpirun", "mpiexec" or "itself", where it is not to be chosen.
        options: more options of `srun` or `mpirun`, such as "--mpi=pmix".
        env: variables that are added to this program's.
        cwd: the working folder; None: this program's.

    Returns:
        What it has written to its standard output, as it has written it; of more than 64 KiB the last lines.

    Raises:
        StepError: it ended with a code other than 0, or could not be started; has the code and the last lines.
        LaunchError: nothing here starts so many ranks; says what does.
        CancelledRun: the run was cancelled meanwhile, or has ended by its time limit.
        ValueError: an argument is out of range.

    Not promised: that other tasks of the flow leave its processors alone. `cpus=` of the task sees to that on one node.
    """
    words = tuple(os.fspath(word) for word in command) if not isinstance(command, str) else ()
    _check(words, ntasks, cpus_per_task, gpus_per_task, launcher)
    starter = job_steps.starter_of(os.environ, ntasks, launcher, shutil.which)
    step = job_steps.Step(
        words, starter, ntasks, cpus_per_task, gpus_per_task, job_steps.shares(os.environ), tuple(options)
    )
    told = {
        "command": step.line(),
        "env": job_steps.rank_environment(os.environ, step, env or {}),
        "folder": None if cwd is None else os.fspath(cwd),
        "patience": SRUNS_PATIENCE if starter == job_steps.SRUN else PATIENCE,
    }
    log = Log.here()
    written = Lines(log.line)
    code = _run(json.dumps(told), written, Lines(written.beside), log, step)
    if code:
        raise StepError(job_steps.told_end(step, code, written.last), code, written.text)
    return written.text


def _check(words: tuple[str, ...], ntasks: int, cpus: int, gpus: int, launcher: str | None) -> None:
    if not words:
        raise ValueError('a step wants its program and arguments as a list: ["./solver", "case.nc"]')
    for name, value, least in (("ntasks", ntasks, 1), ("cpus_per_task", cpus, 1), ("gpus_per_task", gpus, 0)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"{name} counts from {least}, got {value!r}")
    if launcher is not None and launcher not in job_steps.STARTERS:
        raise ValueError(f"launcher is one of {', '.join(job_steps.STARTERS)}, got {launcher!r}")
    if launcher == job_steps.ITSELF and ntasks > 1:
        raise ValueError(f'launcher="itself" is for one rank, got ntasks={ntasks}')


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
            self._logger = getLogger("anabranch.steps")
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
    """What a program writes: each line goes to a log, and the last bytes are kept as they were written."""

    def __init__(self, log: Callable[[str], object]) -> None:
        self._log = log
        self._kept = bytearray()
        self._rest = b""
        self._last: deque[str] = deque(maxlen=SHOWN_LINES)

    def add(self, data: bytes) -> None:
        """Take more; a line that is too long is cut in pieces. No data: the end of the last line."""
        self._kept += data
        if len(self._kept) > 2 * KEPT_BYTES:  # one byte is enough to tell that there was more
            del self._kept[: -KEPT_BYTES - 1]
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
        """What was written; of more than KEPT_BYTES the last, from the begin of a line where there is one."""
        kept = bytes(self._kept)
        if len(kept) > KEPT_BYTES:
            last = kept[-KEPT_BYTES:]
            kept = last.partition(b"\n")[2] or last.lstrip(_INSIDE)
        return kept.decode("utf-8", "replace")

    @property
    def last(self) -> list[str]:
        """The last lines, also those beside the output."""
        return list(self._last)


def _run(told: str, out: Lines, errors: Lines, log: Log, step: job_steps.Step) -> int:
    """Run the program to its end, and return its code; raises CancelledRun where the run is over before."""
    watch = subprocess.Popen(
        program("anabranch.runs.step_watch", json.dumps({"path": sys.path})), stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    with ExitStack() as to_the_end:
        to_the_end.callback(log.send)
        to_the_end.callback(watch.wait)
        for pipe in (watch.stdout, watch.stderr, watch.stdin):  # stdin first: that ends the program, if it runs
            to_the_end.callback(_close, pipe)
        _give(watch.stdin, told)
        pipes = {watch.stdout: out, watch.stderr: errors}
        while pipes:
            ready = _ready(pipes)
            for pipe in ready:
                data = os.read(pipe.fileno(), 1 << 16)
                pipes[pipe].add(data)
                if not data:
                    del pipes[pipe]
            log.send()
            if not ready and watch.poll() is not None:  # what the program has left behind may hold its output open
                break
            if log.over:
                raise CancelledRun(f"{step} was ended: its run was cancelled, or was over its time")
        for lines in pipes.values():
            lines.add(b"")
        return watch.wait()


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
