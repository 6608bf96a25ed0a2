"""The jobs that were submitted for runs: found by their runs, looked at, and what their end means for the record."""

from __future__ import annotations

import os
import re
import shutil
from contextlib import suppress
from itertools import chain
from typing import TYPE_CHECKING

from anabranch.batch.shared_look import EVERY, SharedLook, file_of
from anabranch.cli import pilots, pod_jobs, pods_again
from anabranch.cli.submitted import Submitted as Submitted
from anabranch.core import states
from anabranch.core.errors import LaunchError
from anabranch.core.job_file import FILE, OWN, JobFile
from anabranch.core.launching import Phase
from anabranch.core.runs import LogRow
from anabranch.launch import script
from anabranch.records.drivers import Driver

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from anabranch.core.launching import Launcher, Reference, Sight
    from anabranch.core.runs import FlowRunRow, Records
    from anabranch.launch.kubernetes import KubernetesLauncher

RUN = "run"  # the file with the id of its run, in the folder of a job that was not submitted by anabranch
_PILOTS = re.compile(r"(slurm|pbs|none)-.+-[0-9a-f]{1,10}")  # the names of such folders
KINDS = ("process", "slurm", "pbs", "kubernetes")
SILENT = 20.0  # seconds; a driver without a sign of life for so long may have gone with its job
OVER = (Phase.ENDED, Phase.GONE)
# In these a job that starts again goes on with its run: after a requeue, its walltime, the loss of a node.
RESUMED = (states.CRASHED, states.CANCELLED, states.SUSPENDED)
_TELLING = 5  # last lines of a log that go into a run's message
_MANY = 1000  # open runs that are looked at
_CRASHED = 100  # of those that crashed, the newest, which another pod may go on with
_kubernetes: dict[tuple[str, tuple[str, ...]], KubernetesLauncher] = {}  # by kubeconfig and what is left out
every = EVERY  # seconds between two questions to a queue


def launcher(kind: str, without: Iterable[str] = ()) -> Launcher:
    """Return the launcher of a kind."""
    if kind == "slurm":
        from anabranch.launch.slurm import SlurmLauncher

        return SlurmLauncher(without=tuple(without))
    if kind == "pbs":
        from anabranch.launch.pbs import PbsLauncher

        return PbsLauncher(without=tuple(without))
    if kind == "kubernetes":
        return kubernetes(tuple(without))
    from anabranch.launch.process import ProcessLauncher

    return ProcessLauncher()


def kubernetes(without: tuple[str, ...] = ()) -> KubernetesLauncher:
    """Return the launcher of this program for Kubernetes: its watches go on from one look to the next."""
    from anabranch.launch.kubernetes import KubernetesLauncher

    key = (os.environ.get("KUBECONFIG", ""), without)
    if key not in _kubernetes:
        _kubernetes[key] = KubernetesLauncher(without=without)
    return _kubernetes[key]


def of_run(home: Path, row: FlowRunRow) -> Submitted | None:
    """Return the job that was submitted for a run; None for a run that was begun where it was typed."""
    jobs = home / "jobs"
    likely = (jobs / name for name in (row.job, row.name) if name)
    for folder in chain(likely, jobs.glob(f"*-{row.id[-6:]}")):
        if (folder / FILE).exists():
            file = JobFile.read(folder)
            if file.run == row.id:
                return Submitted(folder, file, script.started(folder))
    return None


def look(home: Path, found: Iterable[Submitted]) -> dict[str, Sight]:
    """Return what is seen of jobs, by the ids of their runs; a queue is asked at most once in `every` seconds.

    In a batch job no queue is asked: there may be thousands of such jobs.

    Raises:
        LaunchError: a queue did not answer.
    """
    by_kind: dict[str, dict[Reference, str]] = {}
    for one in found:
        if one.reference is not None:
            by_kind.setdefault(one.reference.kind, {})[one.reference] = one.file.run
    seen: dict[str, Sight] = {}
    for kind, runs in by_kind.items():
        if kind in ("process", "kubernetes"):
            answer = launcher(kind).look(runs)
        else:
            shared = SharedLook(launcher(kind), file_of(home, kind), every=every)
            answer = script.with_last_lines(shared.look(runs, ask=not in_batch()))  # perhaps asked by another program
        seen |= {runs[reference]: sight for reference, sight in answer.items()}
    return seen


def in_batch() -> bool:
    """Return whether this program runs in a batch job; a shell in an allocation, of salloc, is none."""
    return os.environ.get("ENVIRONMENT") == "BATCH" or os.environ.get("PBS_ENVIRONMENT") == "PBS_BATCH"


def cancel(found: Submitted, by: Launcher | None = None) -> None:
    """Cancel a job, if it was started, and those that join it. Raises LaunchError."""
    if found.reference is not None:
        (by or launcher(found.reference.kind)).cancel(found.reference)
    if found.file.pilots > 1:
        pilots.cancel(found.folder)


def settle(records: Records, home: Path, now: float) -> None:
    """End each run that did not end before its job: the flow had not begun, or its driver went with the job.

    Raises:
        LaunchError: a queue did not answer, or one job could not be ended; such runs are left as they are.
    """
    if not (home / "jobs").is_dir():
        return
    kinds = ("SCHEDULED", "PENDING", "RUNNING", "Suspended")
    rows = [row for kind in kinds for row in records.flow_runs(limit=_MANY, state=kind)]
    rows += records.flow_runs(limit=_CRASHED, state="Crashed")
    jobs: dict[str, tuple[FlowRunRow, Submitted]] = {}
    seen: dict[str, Sight] = {}
    trouble: LaunchError | None = None
    for row in rows:
        driver = Driver.of(row)
        left = pods_again.left(row)
        if left or (not driver.ended and (driver.waits or driver.gone(now) or now - driver.seen > SILENT)):
            try:
                found = of_run(home, row)
            except LaunchError as error:  # a damaged folder
                trouble = error
                continue
            if found is not None and (not left or pods_again.may(found)):
                jobs[row.id] = (row, found)
    by_queue: dict[tuple[str, ...], list[Submitted]] = {}
    for _, found in jobs.values():
        by_queue.setdefault(_queue(found), []).append(found)
    for some in by_queue.values():
        try:
            seen |= look(home, some)
        except LaunchError as error:  # that of one queue hides nothing of another
            trouble = error
    for id, sight in seen.items():
        try:
            _settle_one(records, *jobs[id], sight, now)
        except LaunchError as error:  # that of one run leaves no other open
            trouble = error
    if trouble is not None:
        raise trouble


def _queue(found: Submitted) -> tuple[str, ...]:
    """Return what tells the places apart that are asked for jobs, each in a question of its own."""
    one = found.reference
    if one is None or one.kind != "kubernetes":
        return (found.file.kind,)
    return (one.kind, one.cluster, one.id.partition("/")[0])


def _settle_one(records: Records, row: FlowRunRow, found: Submitted, sight: Sight, now: float) -> None:
    if pods_again.wanted(found, sight):
        pods_again.go_on(records, row, found, sight, kubernetes(), now)
    elif states.is_final(row.state):  # and no other pod goes on, by a person's word or for the way it ended
        if sight.phase in OVER:
            pods_again.leave(found)
    elif sight.phase in OVER and found.file.kind == "kubernetes":
        _end_pod(records, row, found, sight, now)
    elif sight.phase in OVER:
        end(records, row, sight, now)
        if found.file.pilots > 1:
            pilots.cancel(found.folder)
    elif found.file.record == OWN:
        pod_jobs.began(records, row, sight, now)


def _end_pod(records: Records, row: FlowRunRow, found: Submitted, sight: Sight, now: float) -> None:
    if found.file.record == OWN and found.reference is not None:
        pod_jobs.ended(records, row, found.reference, sight, kubernetes(), now)
    else:
        end(records, row, sight, now)
    if sight.code is None:  # it has not ended by itself: a pod that is to begin later must not
        cancel(found)
    elif found.reference is not None and kubernetes().lingers(found.reference):
        if found.file.record != OWN:
            with suppress(LaunchError):  # the record has its lines
                kubernetes().keep_log(found.reference)
        cancel(found)


def end(records: Records, row: FlowRunRow, sight: Sight, now: float) -> None:
    """Record that a run has ended with its job, with the reason and the job's last lines."""
    when = "the job ended before the flow began" if row.job else "its driver ended with the job"
    reason = sight.reason or f"exit {sight.code}"
    last = f", last lines: {' | '.join(sight.last[-_TELLING:])}" if sight.last else ""
    if records.end(row, states.CRASHED, f"{when}: {reason}{last}"):
        level = 40
        records.append([LogRow(now, level, "anabranch.job", line, row.id) for line in sight.last])
        records.flush(30.0)


def tidy(records: Records, home: Path, before: float) -> None:
    """Delete the folders of jobs in which nothing has changed since a time, of runs that are not in the record.

    A run may be in another record, of another ANABRANCH_RECORDS: so the age of a folder is that of its youngest file.
    """
    for folder in (home / "jobs").glob("*/"):
        try:
            run = _run_in(folder)
            old = run is not None and _changed(folder) < before
        except (LaunchError, OSError):  # of another program, or damaged: a person looks at it
            continue
        if old and not (run and records.flow_run(run)):
            shutil.rmtree(folder, ignore_errors=True)


def _run_in(folder: Path) -> str | None:
    """Return the run of a job by its folder; "" for a pilot that began none, None for a folder of no job."""
    if (folder / FILE).exists():
        return JobFile.read(folder).run
    if not _PILOTS.fullmatch(folder.name):
        return None
    noted = folder / RUN
    return noted.read_text(encoding="utf-8").strip() if noted.exists() else ""


def _changed(folder: Path) -> float:
    """Return when something in a folder changed last, in Unix seconds."""
    return max(path.lstat().st_mtime for path in (folder, *folder.rglob("*")))


def number(reference: Reference) -> str:
    """Return a job's id as people know it."""
    if reference.kind == "kubernetes":
        return reference.id.rpartition("/")[0]
    return reference.id.split(":")[1] if reference.kind == "process" else reference.id.partition(";")[0]


def told(sight: Sight | None) -> str:
    """Return what is seen of a job, in words."""
    if sight is None:
        return "nothing is known of it here, as yet"
    again = f", started again (restart {sight.restarts})" if sight.restarts else ""
    return f"{sight.phase.value}{again}{f': {sight.reason}' if sight.reason else ''}"


def goes_on(home: Path, row: FlowRunRow, found: Submitted) -> bool:
    """Return whether the job of an ended run, or one that follows it, may start the run once more.

    Raises:
        LaunchError: its queue did not answer.
    """
    if row.state not in RESUMED or not row.pid:
        return False
    sight = look(home, [found]).get(found.file.run)
    if sight is None or sight.phase not in OVER or (pods_again.left(row) and pods_again.wanted(found, sight)):
        return True
    # A job notes the one that follows it before its own end: between the reading of `found` and the look, perhaps.
    return script.started(found.folder) != found.reference


def looked(home: Path, row: FlowRunRow, found: Submitted) -> str:
    """Return what is seen of a run's job, in words; also that its queue did not answer.

    Nothing is said of a job while its driver is alive, or when it is done: the last look may be older than that.
    """
    try:
        sight = look(home, [found]).get(found.file.run)
    except LaunchError as error:
        return str(error)
    if row.job or row.state in RESUMED or (sight is not None and sight.phase in OVER and sight.code != 0):
        return told(sight)
    return ""
