"""The pilots of a run: the jobs beside its first one, which has the driver. They join the driver, work, and leave.

    submit: first job (driver) + one array of jobs alike (pilots)
    first job: hears of the pilots from its cluster; asks the queue for those that do not come; asks for others in the
               place of those that have left; when the run is over, no pilot begins any more
    pilot:     finds the driver by a file in the job's folder, also the next driver

The first job is a job as any other: it is requeued or followed, and `run cancel` ends it.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import sys
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from anabranch.batch.slurm import Slurm
from anabranch.cli.going_on import SUSPENDED
from anabranch.core.errors import AnabranchError, LaunchError
from anabranch.core.launching import Phase
from anabranch.core.runs import LogRow
from anabranch.launch import script
from anabranch.launch.pilots import Crew
from anabranch.launch.slurm import SlurmLauncher
from anabranch.launch.slurm_copies import SlurmCopies

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from anabranch.core.allocation import Allocation
    from anabranch.core.job_file import JobFile
    from anabranch.core.launching import Job, Reference

FOLDER = "pilots"  # in the folder of the first job
SUFFIX = "-pilots"  # of the name of their jobs
MEETING = "driver.json"
ASKED = "asked"  # touched when the queue is asked for the first job
ASK_SECONDS = 60.0
THERE = "there"  # how many there are, while the driver lives
QUEUE_SECONDS = 5.0  # for a question to the queue that is under way when the driver ends
ENDING_SECONDS = 40.0  # for the process of a pilot to end, once it has nothing to do any more


# -- how they are asked for ------------------------------------------------------------------------


def check(kind: str, count: int, nodes: int, runner: str | None, own: Any) -> None:
    """Refuse what pilots are not made for.

    Args:
        own: the runner of the flow itself.

    Raises:
        click.UsageError: says what to do.
    """
    if kind != "slurm":
        way = "one job has the whole machine" if kind == "process" else "submit one job"
        raise click.UsageError(f"--pilots is for slurm alone: leave it out for {kind}, {way}")
    if nodes > 1:
        raise click.UsageError("--pilots are jobs of one node each: leave --nodes out, or --pilots for one larger job")
    if runner not in (None, "dask"):
        raise click.UsageError(f"--pilots needs Dask, whose workers may come and go: leave --runner {runner} out")
    if runner is None and own not in (None, "process", "thread", "dask"):
        raise click.UsageError(
            f"--pilots needs Dask, whose workers may come and go, and the flow says runner={own!r}: --runner dask "
            "takes the place of that"
        )
    if importlib.util.find_spec("distributed") is None:
        raise click.UsageError("--pilots needs Dask: pip install 'anabranch[hpc]'")


def beside(first: Job, pilots: int) -> Job:
    """Return the jobs that join a first one, so that there are so many together."""
    command = (*first.command, "--join")
    return replace(
        first, name=f"{first.name}{SUFFIX}", folder=first.folder / FOLDER, command=command, copies=pilots - 1
    )


def meeting(place: Path) -> Path:
    """Return the file by which pilots find the driver of a first job, whichever start of it."""
    return place / FOLDER / MEETING


def cancel(place: Path) -> None:
    """Cancel the pilots of a first job. Raises LaunchError."""
    reference = script.started(place / FOLDER)
    if reference is not None:
        SlurmCopies(place / FOLDER, reference.name, cluster=_cluster(reference)).cancel()


def withdraw(others: Job) -> None:
    """Cancel pilots that could not be started: Slurm may have taken them, and its answer was lost."""
    for cluster in SlurmLauncher().goes_to(others) or [""]:
        try:
            SlurmCopies(others.folder, others.name, cluster=cluster).cancel()
        except LaunchError as error:
            click.echo(f"anabranch: {error}", err=True)


def _cluster(reference: Reference | None) -> str:
    """Return the cluster that pilots are in, where Slurm chose it of several; "" otherwise."""
    return reference.id.partition(";")[2] if reference is not None else ""


# -- in the first job --------------------------------------------------------------------------------


class Pilots:
    """The pilots as the driver sees them; also the context in which the driver runs.

    Args:
        place: the folder of the first job.
        again: whether this is a later start of the first job: what is missing is asked for.
    """

    def __init__(self, place: Path, file: JobFile, *, again: bool) -> None:
        self.count = file.pilots - 1
        self._folder = place / FOLDER
        self._file = file
        self._crew = Crew(range(1, file.pilots), time.monotonic(), there=again)
        self._waits: dict[int, str] = {}
        self._changed = threading.Condition()
        self._over = False
        self._watching = threading.Thread(target=self._watch, name="anabranch-queue", daemon=True)

    def __enter__(self) -> Pilots:
        self._note()
        self._watching.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with self._changed:
            self._over = True
            self._changed.notify()
        self._watching.join(QUEUE_SECONDS)
        with contextlib.suppress(OSError):
            (self._folder / THERE).unlink()
        if not (isinstance(error, SystemExit) and error.code == SUSPENDED):
            self.end()

    def end(self) -> None:
        """Let no pilot begin any more: the run is over. Those that work notice it by themselves."""
        from anabranch.clusters.rendezvous import Rendezvous

        try:
            Rendezvous((), "", "").write(self._folder / MEETING)
            self._jobs.cancel(waiting=True)
        except AnabranchError as error:
            click.echo(f"anabranch: {error}", err=True)

    def hear(self, news: dict[str, Any]) -> None:
        """Take what the cluster tells of a pilot."""
        number, kind, why = int(news["pilot"]), news["news"], str(news["why"])
        with self._changed:
            if kind == "joined":
                self._crew.joined(number)
                self._waits.pop(number, None)
            elif kind in ("left", "lost"):
                again, let_go = bool(news["again"]), why if kind == "left" else ""
                self._crew.left(number, time.monotonic(), again=again, why=let_go)
            self._changed.notify()
        what = {
            "joined": f"has joined, with {news['cpus']} processors", "leaves": f"leaves: {why}", "left": "has left",
            "lost": f"is lost{f': {why}' if why else ''}", "failed": f"could not join: {why}",
        }[kind]  # fmt: skip
        there = f"; {self._crew.here + 1} of {self.count + 1} are there" if kind in ("joined", "left", "lost") else ""
        self.tell(f"pilot {number} (job {news['job']}) {what}{there}", kind in ("lost", "failed"))
        self._note()

    def tell(self, text: str, trouble: bool = False) -> None:
        """Write a line into the run's log, and into that of the job."""
        from anabranch import session as sessions  # the whole engine: `run show` has no need of it

        with contextlib.suppress(OSError):  # the log's quota may be full: the thread that tells goes on
            click.echo(f"anabranch: {text}", err=True)
        level = 30 if trouble else 20
        with contextlib.suppress(AnabranchError):
            sessions.current().records.append([LogRow(time.time(), level, "anabranch.pilots", text, self._file.run)])

    def _note(self) -> None:
        """Write how many there are, for `run show`; one thread at a time, and none once the driver ends."""
        new = self._folder / f".{THERE}"
        with self._changed, contextlib.suppress(OSError):
            if self._over:
                return
            told = {"there": self._crew.here + 1, "of": self.count + 1, "waits": self._waits}
            new.write_text(json.dumps(told), encoding="utf-8")
            new.replace(self._folder / THERE)

    # -- the queue ---------------------------------------------------------------------------------

    @property
    def _jobs(self) -> SlurmCopies:
        """The pilots' jobs; their cluster is noted after the first job may have begun. Raises LaunchError."""
        name, cluster = f"{self._file.name}{SUFFIX}", _cluster(script.started(self._folder))
        return SlurmCopies(self._folder, name, cluster=cluster, options=self._file.options)

    def _watch(self) -> None:
        """Ask the queue when that is due, until the end."""
        while True:
            with self._changed:
                due = self._crew.due()
                if not self._over:
                    self._changed.wait(None if due is None else max(0.0, due - time.monotonic()))
                if self._over:
                    return
                looks, asks = self._crew.looks(time.monotonic()), self._crew.asks(time.monotonic())
            if looks:
                self._look()
            if asks:
                self._ask_for(asks)

    def _look(self) -> None:
        try:
            seen = self._jobs.look()
        except LaunchError as error:
            with self._changed:
                self._crew.unanswered(time.monotonic())
            self.tell(str(error), True)
            return
        with self._changed:
            told = self._crew.looked(seen, time.monotonic())
            waiting = {number: sight.reason for number, sight in seen.items() if sight.phase is Phase.PENDING}
            self._waits = waiting
        for text in told:
            self.tell(text, True)
        self._note()

    def _ask_for(self, numbers: list[int]) -> None:
        try:
            job = self._jobs.start(numbers)
        except LaunchError as error:
            with self._changed:
                told = self._crew.refused(numbers, str(error), time.monotonic())
            if told:
                self.tell(told, True)
            return
        with self._changed:
            self._crew.taken()
        self.tell(f"pilot{'s' * (len(numbers) > 1)} {_listed(numbers)}: asked for anew, as job {job}")


def _listed(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers))


class There(NamedTuple):
    """How many pilots there are.

    Attributes:
        there: that work, the first job among them.
        of: that were asked for.
        waits: reasons of those that wait, by their numbers.
    """

    there: int
    of: int
    waits: dict[str, str]


def there(place: Path) -> There | None:
    """Return what the driver of a first job has noted of its pilots; None where none lives."""
    try:
        return There(**json.loads((place / FOLDER / THERE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


# -- in a pilot ----------------------------------------------------------------------------------------


def end_with_the_first(place: Path) -> None:
    """Say that the run is over where its first job has ended without a word, as one that was killed does.

    One pilot asks the queue, for all of them; the file that it touches keeps the others from it for a while.
    """
    from anabranch.clusters.rendezvous import Rendezvous

    mark = place / FOLDER / ASKED
    try:
        if mark.exists() and time.time() - mark.stat().st_mtime < ASK_SECONDS:
            return
        mark.touch(0o600)
        first = script.started(place)
        seen = Slurm().look([first]).get(first) if first is not None else None
        over = seen is not None and seen.phase in (Phase.ENDED, Phase.GONE)
        if over and script.started(place) == first:  # another job may have followed it meanwhile
            Rendezvous((), "", "").write(meeting(place))
    except (AnabranchError, OSError) as error:
        click.echo(f"anabranch: {error}", err=True)


def join(allocation: Allocation, place: Path) -> int:
    """Work for the run of a first job until that is over, or this job nearly is; returns an exit code."""
    from anabranch.clusters import joining
    from anabranch.clusters.joining import End, Guest
    from anabranch.clusters.node import Orders

    number = int(os.environ.get("SLURM_ARRAY_TASK_ID") or 0)
    node, start = allocation.node, f"{allocation.job}.{allocation.restarts}"
    orders = Orders(str(meeting(place)), start, node.cpus, node.memory, node.gpus)
    job = f"{os.environ.get('SLURM_ARRAY_JOB_ID') or allocation.job}_{number}"  # as `squeue` has it
    guest = Guest(f"pilot-{number}.{start}", number, job, allocation.end or 0.0)
    departure = joining.run(orders, guest, doubt=lambda: end_with_the_first(place))
    if departure.end is End.AGAIN:  # Dask is begun anew with a process of its own; the job stays the same
        os.execv(sys.executable, sys.orig_argv)
    late = threading.Timer(ENDING_SECONDS, os._exit, (1,))
    late.daemon = True
    late.start()
    if departure.why:
        click.echo(f"anabranch: pilot {number} (job {job}): {departure.why}", err=True)
    if departure.end in (End.OVER, End.LEFT):
        with contextlib.suppress(OSError):  # the driver's log has what there is to tell
            (place / FOLDER / script.log_of(number)).unlink()
    return int(departure.end is End.FAILED)
