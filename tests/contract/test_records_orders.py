"""Runs that agents start, in any `Records`: no driver is dead before there is one; run and order end in one commit."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import pytest

from anabranch.core import states
from anabranch.core.errors import RunTakenError
from anabranch.core.orders import OrderState
from anabranch.core.processes import host_id, host_name, process_started
from anabranch.core.runs import TransitionRow
from tests.contract.recording import NOW, WAIT, run_row, write

if TYPE_CHECKING:
    from anabranch.core.runs import FlowRunRow, Records
    from anabranch.records.recorder import Recorder

with_orders = pytest.mark.parametrize(
    "records", ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)], indirect=True
)


@pytest.fixture(scope="module")
def dead_pid() -> int:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait(WAIT)
    return child.pid


def me(run: str) -> FlowRunRow:
    pid = os.getpid()
    return replace(run_row(run), pid=pid, pid_started=process_started(pid), host=host_id(), heartbeat=NOW)


def order(records: Records, run: str, state: OrderState, token: int = 0) -> None:
    """Enter the order of a run, or move it."""
    database = cast("Recorder", records).database
    names = {
        "deployment": "'d'", "revision": "1", "pool": "'default'", "queue": "'default'", "priority": "0", "due": "0",
        "labels": "'[]'", "parameters": "'{}'", "job": "'{}'", "schedule": "''", "author": "''", "agent": "''",
        "lease_until": "0", "handle": "''", "kind": "''", "launches": "1", "recoveries": "0", "reason": "''",
        "created": "0", "claimed": "0", "begun": "0", "driver": "''", "phase": "''",
    }  # fmt: skip
    with database.opened() as db, database.transaction(db):
        db.execute(f"DELETE FROM orders WHERE run = '{run}'")
        db.execute(
            f"INSERT INTO orders (run, state, token, {', '.join(names)}) "
            f"VALUES ('{run}', {int(state)}, {token}, {', '.join(names.values())})"
        )


def stands(records: Records, run: str) -> tuple[OrderState, int]:
    """Where the order of a run is, and the turn of its pool."""
    with cast("Recorder", records).database.opened() as db:
        state = db.execute(f"SELECT state FROM orders WHERE run = '{run}'").fetchone()[0]
        return OrderState(state), db.execute("SELECT turn FROM work_pools WHERE name = 'default'").fetchone()[0]


# -- in any records ------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [states.SCHEDULED, states.LATE, states.PAUSED, states.PENDING])
def test_a_run_without_a_driver_is_never_dead_and_free_at_once(records: Records, state: int) -> None:
    waits = run_row("waits", state=state, state_name=states.NAMES[state][0], created=NOW - 90_000, resumable=True)
    write(records, waits)
    assert records.mark_dead() == []
    assert records.flow_run("waits") == waits
    assert records.claim(me("waits")) == 1


def test_a_driver_is_judged_by_its_pid_where_pids_are_the_same(records: Records, dead_pid: int) -> None:
    """Two containers of one name have pids of their own: a process of the other one is heard, or it is not."""
    other = f"{host_name()}/0other00"
    rows = {
        "gone": run_row("gone", host=host_id(), pid=dead_pid, heartbeat=NOW),
        "gone, as an earlier version wrote it": run_row("old", host=host_name(), pid=dead_pid, heartbeat=NOW),
        "in another container": run_row("other", host=other, pid=dead_pid, heartbeat=NOW - 59),
        "silent there": run_row("silent", host=other, pid=os.getpid(), created=NOW - 500, heartbeat=NOW - 61),
        "here": me("here"),
    }
    write(records, *rows.values())
    assert sorted(records.mark_dead()) == ["gone", "old", "silent"]
    found = records.flow_run("silent")
    assert found is not None
    assert found.message == f"its driver process {os.getpid()} on {host_name()} is gone"
    with pytest.raises(RunTakenError, match=f"process {dead_pid} on {host_name()};"):
        records.claim(me("other"))


# -- in a database -------------------------------------------------------------------------------


@with_orders
@pytest.mark.parametrize("state", [OrderState.WAITING, OrderState.CLAIMED, OrderState.BEGUN])
def test_the_driver_of_an_open_order_is_the_services_to_judge(
    records: Records, dead_pid: int, state: OrderState
) -> None:
    write(records, run_row("r", host=host_id(), pid=dead_pid, resumable=True))
    order(records, "r", state, token=1)
    assert records.mark_dead() == []
    with pytest.raises(RunTakenError, match="'brave-newt' is ordered: an agent of pool 'default' starts its driver"):
        records.claim(me("r"))
    order(records, "r", OrderState.DONE, token=1)
    assert records.mark_dead() == ["r"]
    assert records.claim(me("r")) == 1


@with_orders
def test_a_run_and_its_order_end_in_one_commit(records: Records) -> None:
    for run in ("ended", "suspended", "goes on", "claimed again"):
        order(records, run, OrderState.BEGUN, token=3)
    order(records, "claimed again", OrderState.BEGUN, token=4)
    ended = {"state": states.FAILED, "state_name": "Failed", "ended": NOW, "token": 3}
    write(
        records,
        run_row("ended", **ended),
        run_row("claimed again", **ended),
        run_row("suspended", **{**ended, "state": states.SUSPENDED, "state_name": "Suspended"}),
        run_row("goes on", token=3),
        run_row("no order", **ended),
    )
    assert stands(records, "ended") == (OrderState.DONE, 1)
    for run in ("suspended", "goes on", "claimed again"):
        assert stands(records, run) == (OrderState.BEGUN, 1)


@with_orders
def test_a_driver_with_an_earlier_token_writes_nothing_though_its_run_is_not_resumable(records: Records) -> None:
    order(records, "r", OrderState.BEGUN, token=1)
    write(records, run_row("r", token=1, resumable=False))
    order(records, "r", OrderState.BEGUN, token=2)
    with (database := cast("Recorder", records).database).opened() as db, database.transaction(db):
        db.execute("UPDATE flow_runs SET token = 2 WHERE id = 'r'")
    late = run_row("r", token=1, state=states.COMPLETED, state_name="Completed", ended=NOW)
    write(records, late, TransitionRow("r", -1, 1, states.COMPLETED, "Completed", "", NOW))
    found = records.flow_run("r")
    assert found is not None
    assert (found.state, found.token) == (states.RUNNING, 2)
    assert records.transitions("r") == []
    assert stands(records, "r") == (OrderState.BEGUN, 0)
    assert records.taken_over(["r"]) == {"r"}
