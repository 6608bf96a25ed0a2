"""Lives of runs in any `Records`: cancelled, dead, claimed by another driver with what was stored for it."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from anabranch.core import states
from anabranch.core.errors import RunTakenError
from anabranch.core.processes import host_name, process_alive, process_started
from anabranch.core.runs import (
    FlowRunRow,
    Records,
    StoredRow,
    TransitionRow,
)
from tests.contract.recording import NOW, WAIT, run_row, write

if TYPE_CHECKING:
    from collections.abc import Iterator




def test_cancel_requests(records: Records) -> None:
    write(records, run_row("r1"), run_row("r2"), run_row("r3", state=states.COMPLETED))
    assert records.cancel_requested([]) == set()
    assert records.request_cancel("r1")
    assert records.request_cancel("r1")
    assert not records.request_cancel("r3")
    assert not records.request_cancel("none")
    assert records.cancel_requested(["r1", "r2", "none"]) == {"r1"}
    assert records.cancel_requested(["r2"]) == set()


@pytest.fixture(scope="module")
def dead_pid() -> int:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait(WAIT)
    return child.pid


@pytest.fixture
def zombie_pid() -> Iterator[int]:
    """A process that has ended and that nobody has waited for."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    yield child.pid
    child.wait(WAIT)


def test_mark_dead(records: Records, dead_pid: int, zombie_pid: int) -> None:
    host, me, began = host_name(), os.getpid(), process_started(os.getpid())
    runs = {
        "alive": run_row("alive", host=host, pid=me, pid_started=began),
        "gone": run_row("gone", host=host, pid=dead_pid, heartbeat=NOW, attempt=3),
        "zombie": run_row("zombie", host=host, pid=zombie_pid),
        "reused": run_row("reused", host=host, pid=me, pid_started=began - 100),
        "ended": run_row("ended", host=host, pid=dead_pid, state=states.COMPLETED, state_name="Completed"),
        "far": run_row("far", host="elsewhere", pid=me, created=NOW - 500, heartbeat=NOW - 59),
        "silent": run_row("silent", host="elsewhere", pid=me, created=NOW - 500, heartbeat=NOW - 61),
        "young": run_row("young", host="elsewhere", pid=me, created=NOW - 5),
    }
    write(records, *runs.values())
    assert sorted(records.mark_dead()) == ["gone", "reused", "silent", "zombie"]
    assert records.mark_dead() == []
    found = {row.id: row for row in records.flow_runs()}
    message = f"its driver process {dead_pid} on {host} is gone"
    assert found["gone"] == replace(
        runs["gone"], state=states.CRASHED, state_name="Crashed", message=message, ended=NOW
    )
    for name in ("alive", "ended", "far", "young"):
        assert found[name] == runs[name]
    assert records.transitions("gone") == [TransitionRow("gone", -1, 3, states.CRASHED, "Crashed", message, NOW)]
    assert records.transitions("alive") == []


def test_a_run_that_waits_for_a_job_is_never_dead_and_may_be_driven(records: Records) -> None:
    waits = run_row("waits", host="job survey-17", created=NOW - 90_000, resumable=True, state=states.SCHEDULED)
    write(records, waits)
    assert waits.job == "survey-17"
    assert records.mark_dead() == []
    assert records.claim(driver_row("waits")) == 1
    claimed = records.flow_run("waits")
    assert claimed is not None
    assert claimed.job == ""
    assert not records.end(waits, states.CRASHED, "its job ended")  # it has a driver by now
    assert records.flow_run("waits") == claimed


@pytest.mark.parametrize("state", [states.CRASHED, states.CANCELLED])
def test_a_run_that_nobody_drives_is_ended(records: Records, state: int) -> None:
    waits = run_row("waits", host="job survey-17", resumable=True, state=states.SCHEDULED)
    write(records, waits, run_row("over", state=states.COMPLETED, state_name="Completed"))
    assert records.end(waits, state, "exit 127")
    name = states.NAMES[state][0]
    ended = replace(waits, state=state, state_name=name, message="exit 127", ended=NOW)
    assert records.flow_run("waits") == ended
    assert records.transitions("waits") == [TransitionRow("waits", -1, waits.attempt, state, name, "exit 127", NOW)]
    assert not records.end(waits, state, "once more")
    over = records.flow_run("over")
    assert over is not None
    assert not records.end(over, state, "it has ended")
    assert records.flow_run("waits") == ended
    assert records.claim(driver_row("waits")) == 1  # it may be gone on with


def test_process_alive(dead_pid: int) -> None:
    assert process_alive(os.getpid())
    assert process_alive(os.getpid(), process_started(os.getpid()))
    assert not process_alive(os.getpid(), process_started(os.getpid()) + 1)
    assert not process_alive(dead_pid)
    assert not process_alive(0)
    assert not process_alive(-1)
    assert not process_alive(2**40)
    assert process_alive(1)
    assert process_started(dead_pid) == 0.0


def test_where_values_are_stored(records: Records) -> None:
    rows = [
        StoredRow("map-1", "blocks/a", range(4), range(4), b"d" * 48),
        StoredRow("map-1", "blocks/b", [9, 4, 6], [0, 2, 5]),
        StoredRow("map-1", "", range(10, 12), range(2), b"e" * 24),
        StoredRow("map-1", "", [], []),
    ]
    write(records, *rows, StoredRow("map-1", "blocks/c", [3], [0], kind="input"), StoredRow("map-2", "x", [1], [0]))
    found = [(row.name, list(row.items), list(row.slots), row.digests) for row in records.stored("map-1")]
    assert found == [(row.name, list(row.items), list(row.slots), row.digests) for row in rows[:3]]
    assert isinstance(records.stored("map-1")[0].items, range)
    assert [(row.name, row.kind) for row in records.stored("map-1", "input")] == [("blocks/c", "input")]


def test_runs_are_found_by_their_keys(records: Records) -> None:
    write(
        records, run_row(), run_row("sub-1", parent_run="run-1", run_key="k"),
        run_row("sub-2", parent_run="run-1", run_key="k", created=NOW), run_row("run-2", run_key="mine"),
    )  # fmt: skip
    assert records.subflow("run-1", "k").id == "sub-2"  # type: ignore[union-attr]
    assert records.subflow("run-1", "other") is None
    assert [row.id for row in records.subflows("run-1")] == ["sub-1", "sub-2"]
    assert [row.id for row in records.subflows("run-1", limit=1)] == ["sub-1"]
    assert records.subflows("run-2") == []
    assert records.keyed_run("etl", "mine").id == "run-2"  # type: ignore[union-attr]
    assert records.keyed_run("etl", "k") is None


def driver_row(run: str) -> FlowRunRow:
    pid = os.getpid()
    return replace(run_row(run), pid=pid, pid_started=process_started(pid), host=host_name(), heartbeat=NOW)


def test_a_run_is_claimed_when_its_driver_is_gone(records: Records, dead_pid: int) -> None:
    lost = {"pid": dead_pid, "pid_started": NOW - 100, "host": host_name(), "resumable": True}
    write(records, run_row(**lost), run_row("alive", pid=os.getpid(), pid_started=process_started(os.getpid()),
                                            host=host_name(), resumable=True))
    assert records.claim(driver_row("run-1")) == 1
    found = records.flow_run("run-1")
    assert found is not None
    assert (found.pid, found.token) == (os.getpid(), 1)
    for taken in ("run-1", "alive"):
        with pytest.raises(RunTakenError, match=f"process {os.getpid()}"):
            records.claim(driver_row(taken))
    with pytest.raises(RunTakenError, match="no run"):
        records.claim(driver_row("never"))
    assert records.taken_over(["run-1", "alive"]) == set()


@pytest.mark.parametrize("state", ["running", "ended"])
def test_a_later_start_of_the_same_job_takes_a_run_over_and_an_earlier_one_never_does(
    records: Records, state: str
) -> None:
    """Slurm may start a job again while the script of its earlier start still runs, on a node that was silent."""
    alive = {"pid": os.getpid(), "pid_started": process_started(os.getpid()), "host": host_name(), "resumable": True}
    ended = {"state": states.SUSPENDED, "state_name": "Suspended", "ended": NOW} if state == "ended" else {}
    write(records, run_row(**alive, **ended, incarnation="slurm:7.1"))
    with pytest.raises(RunTakenError, match="restart 1 of job slurm:7, and this is its restart 0: it gives up"):
        records.claim(replace(driver_row("run-1"), incarnation="slurm:7.0"))
    if not ended:
        for other in ("slurm:7.1", "slurm:8.2", ""):
            with pytest.raises(RunTakenError, match="has a driver"):
                records.claim(replace(driver_row("run-1"), incarnation=other))
    assert records.claim(replace(driver_row("run-1"), incarnation="slurm:7.2")) == 1
    found = records.flow_run("run-1")
    assert found is not None
    assert (found.incarnation, found.token) == ("slurm:7.2", 1)
    with pytest.raises(RunTakenError, match="restart 2 of job slurm:7"):
        records.claim(replace(driver_row("run-1"), incarnation="slurm:7.1"))


def test_a_claimed_run_is_not_cancelled_by_what_was_asked_of_its_earlier_driver(
    records: Records, dead_pid: int
) -> None:
    write(records, run_row(pid=dead_pid, pid_started=NOW - 100, host=host_name(), resumable=True))
    assert records.request_cancel("run-1")
    assert records.claim(driver_row("run-1")) == 1
    assert records.cancel_requested(["run-1"]) == set()
    assert records.request_cancel("run-1")
    assert records.cancel_requested(["run-1"]) == {"run-1"}
