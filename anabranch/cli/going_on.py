"""A run in a job that ends before the run does: the job is started again, or another one follows it."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from anabranch.core.errors import LaunchError
from anabranch.launch import requeue
from anabranch.launch.requeue import Step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from anabranch.core.allocation import Allocation
    from anabranch.launch.requeue import Seen

TAKEN = "Slurm takes the job away (SIGTERM)."
AGAIN_SECONDS = 5.0  # between two questions, however many sets tell of a signal
SUSPENDED = 75  # the exit code of a program that leaves a run to be gone on with


@contextlib.contextmanager
def going_on(
    allocation: Allocation, place: Path, stopped: Callable[[], object] = lambda: None
) -> Iterator[Callable[[], None]]:
    """Let a run that is suspended in this block go on in the job's next start, or in a job that follows.

    All that the program has open is to be closed in the block: the batch system ends the job after it.

    Args:
        place: the job's folder.
        stopped: called where the run was suspended and does not go on.

    Yields:
        what is to be called when SIGTERM has reached workers.
    """
    if not allocation.job:
        yield lambda: None
        return
    environ = dict(os.environ)
    from anabranch import session as sessions  # the whole engine: `run show` reads this file, and has no need of it

    session = sessions.current()
    session.ended_by_person = lambda: requeue.cancelled(allocation, requeue.look(allocation, environ), time.time())
    margin, shutdown_grace = session.settings.walltime_margin, session.settings.shutdown_grace
    question = Question(
        lambda: requeue.look(allocation, environ),
        lambda told: requeue.gives_way(allocation, told, time.time()),
        lambda told: session.end_near(TAKEN, requeue.seconds_to_work(told, time.time(), margin, shutdown_grace)),
    )
    try:
        yield question.ask
    except SystemExit as end:
        if end.code == SUSPENDED and _go_on(allocation, place, environ, progress=session.progressed) is Step.STOP:
            stopped()
        raise


class Question:
    """What SIGTERM means that has reached workers in a step, and not this program, is asked beside its work.

    Args:
        look: asks Slurm; None: no answer, and it is asked again.
        ends: judges an answer.
        begin: begins the end of the run.
        pause: passes so many seconds.
    """

    def __init__(
        self, look: Callable[[], Seen | None], ends: Callable[[Seen], bool], begin: Callable[[Seen], object],
        pause: Callable[[float], object] = time.sleep,
    ) -> None:  # fmt: skip
        self._look, self._ends, self._begin, self._pause = look, ends, begin, pause
        self._lock = threading.Lock()
        self._asked = self._asking = False

    def ask(self) -> None:
        """Let it be asked; does not block. What is asked meanwhile has one more answer, a few seconds later."""
        with self._lock:
            self._asked = True
            if not self._asking:
                self._asking = True
                threading.Thread(target=self._answer, name="anabranch-question", daemon=True).start()

    def _answer(self) -> None:
        while self._due():
            told = self._look()
            if told is not None and self._ends(told):
                self._begin(told)
                return  # for good
            if told is None:
                self._asked = True
            self._pause(AGAIN_SECONDS)

    def _due(self) -> bool:
        with self._lock:
            self._asking, self._asked = self._asked, False
            return self._asking


def before(own: Path) -> Path | None:
    """Return the folder of the job that this one follows, if it was for the same command line as `own`."""
    found = os.environ.get(requeue.FOLDER, "")
    return Path(found) if found and found.rpartition("-")[2] == own.name.rpartition("-")[2] else None


def _go_on(allocation: Allocation, place: Path, environ: dict[str, str], *, progress: bool) -> Step:
    """Do what lets the run go on, and say what is done; returns it, STOP where nothing could be done."""
    told = requeue.look(allocation, environ)
    try:
        step, why = requeue.next_step(allocation, told, requeue.idle_starts(place, progress=progress), time.time())
        if why:
            click.echo(f"anabranch: job {allocation.job}: {why}", err=True)
        if step is Step.REQUEUE:
            refused = requeue.start_again(allocation, environ)
            if not refused:
                return step
            click.echo(f"anabranch: job {allocation.job} was not started again ({refused}): another follows", err=True)
            step = Step.FOLLOW
        if step is Step.FOLLOW:
            id = requeue.follow(allocation, place, environ)
            click.echo(f"anabranch: job {id} goes on once job {allocation.job} has ended", err=True)
    except LaunchError as error:
        click.echo(f"anabranch: {error}", err=True)
        return Step.STOP
    return step
