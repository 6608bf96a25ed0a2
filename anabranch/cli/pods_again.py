"""A run goes on in another pod when the cluster took its pod away: what is decided, and what a job's folder keeps.

    taken away --its record says Suspended--> another Job of the same manifest --> its pod goes on with the run
                       '-- nothing has ended in several pods, or a person has deleted the Job --> it stays as it is

The program that looks at the record does it: `submit --wait`, `run logs -f`, `runs`. Where no program looks, the run
stays Suspended.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

from anabranch.core import states
from anabranch.core.errors import LaunchError
from anabranch.core.job_file import OWN
from anabranch.core.launching import Phase
from anabranch.core.runs import LogRow
from anabranch.launch import script

if TYPE_CHECKING:
    from pathlib import Path

    from anabranch.cli.submitted import Submitted
    from anabranch.core.launching import Sight
    from anabranch.core.runs import FlowRunRow, Records
    from anabranch.launch.kubernetes import KubernetesLauncher

IDLE = 3  # pods in a row in which nothing ended, after which no other is started
FILE = "again"  # in a job's folder


class Pods(NamedTuple):
    """The pods that a run has had.

    Attributes:
        idle: those in a row that were taken away before anything had ended.
        done: task runs that had ended when the last one was taken away.
        over: no other is started.
    """

    idle: int = 0
    done: int = 0
    over: bool = False


def after(before: Pods, done: int) -> Pods:
    """Return what is kept after one more pod was taken away."""
    idle = 0 if done > before.done else before.idle + 1
    return Pods(idle, done, over=idle >= IDLE)


def may(found: Submitted) -> bool:
    """Return whether the run of a job may go on in another pod; a record of the pod's own goes with the pod."""
    return found.file.kind == "kubernetes" and found.file.record != OWN and not _read(found.folder).over


def wanted(found: Submitted, sight: Sight) -> bool:
    """Return whether the run of a job goes on in another pod."""
    return sight.taken and sight.phase in (Phase.ENDED, Phase.GONE) and may(found)


def left(row: FlowRunRow) -> bool:
    """Return whether a run has ended so that another pod may go on with it.

    A driver that is silent with its node is marked Crashed long before the cluster says that its pod is lost.
    """
    of_a_pod = row.incarnation.startswith("kubernetes:")
    return row.state == states.SUSPENDED or (row.state == states.CRASHED and of_a_pod)


def leave(found: Submitted) -> None:
    """Note that no other pod goes on with an ended run: its cluster is not asked about it any more."""
    if _followed(found):
        return
    _write(found.folder, _read(found.folder)._replace(over=True))


def go_on(
    records: Records, row: FlowRunRow, found: Submitted, sight: Sight, launcher: KubernetesLauncher, now: float
) -> None:
    """Let a run go on in another pod, or say that it does not.

    Raises:
        LaunchError: the cluster does not answer, or refuses; the next look tries again.
    """
    if found.reference is None or _followed(found):
        return
    kept = after(_read(found.folder), _done(records, row))
    begun = not states.is_final(row.state) and bool(row.pid)
    if kept.over:
        why = f"no task run has ended in {kept.idle} pods"
    elif begun and not records.end(row, states.SUSPENDED, f"{sight.reason}; another pod goes on with it"):
        return  # another program has seen it, or its driver is there after all
    elif launcher.start_again(found.reference, row.incarnation) is not None:
        why = ""
    elif _followed(found):
        return
    else:
        kept, why = kept._replace(over=True), "its Job was deleted"
    _write(found.folder, kept)
    if why:
        _stays(records, row, f"{sight.reason}; no other pod goes on with it: {why}", now)


def _followed(found: Submitted) -> bool:
    """Return whether another program has started the next Job since this one was read: what is seen of it is old."""
    return script.started(found.folder) != found.reference


def _stays(records: Records, row: FlowRunRow, message: str, now: float) -> None:
    if not states.is_final(row.state):
        records.end(row, states.CRASHED, message)
    records.append([LogRow(now, 30, "anabranch.job", message, row.id)])
    records.flush(30.0)


def _done(records: Records, row: FlowRunRow) -> int:
    """Return how many task runs of a run have ended; its maps count theirs at their ends alone."""
    return sum(block.count for one in records.maps(row.id) for block in records.ended(one.id).blocks)


def _read(folder: Path) -> Pods:
    try:
        return Pods(**json.loads((folder / FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return Pods()


def _write(folder: Path, kept: Pods) -> None:
    try:
        (folder / FILE).write_text(json.dumps(kept._asdict()) + "\n", encoding="utf-8")
    except OSError as error:
        raise LaunchError(f"{folder / FILE} cannot be written: {error.strerror or error}") from error
