"""A server deletes old runs though it never appends a row, and what grows beside them goes too."""

from __future__ import annotations

import importlib
import threading
from typing import TYPE_CHECKING, Any

import pytest

from anabranch.core import states
from anabranch.core.runs import FlowRunRow
from anabranch.records import leftovers, retention
from anabranch.records.retention import DAY, Retention
from anabranch.records.served import ServedRecord
from anabranch.records.sqlite import SqliteRecords
from anabranch.testing import ManualClock

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from anabranch.records.recorder import Recorder

WAIT = 60.0
NOW = 1_800_000_000.0


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def opening(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Recorder]:
    """Opens the same records again and again."""
    if request.param == "sqlite":
        return lambda **more: SqliteRecords(tmp_path / "runs.db", **more)
    address = request.getfixturevalue("postgres_address")
    postgres = importlib.import_module("anabranch.records.postgres")
    return lambda **more: postgres.PostgresRecords(address, **more)


def test_a_server_without_a_row_of_its_own_deletes_old_runs(
    opening: Callable[..., Recorder], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = ManualClock(NOW)
    with opening(clock=clock) as records:
        for id, ended in (("old", NOW - 100 * DAY), ("young", NOW - DAY)):
            records.append([FlowRunRow(id, "etl", id, states.COMPLETED, created=ended, ended=ended)])
        assert records.flush(WAIT)
    monkeypatch.setattr(retention, "FIRST", 0.0)
    done, step = threading.Event(), Retention.step

    def stepped(self: Retention, *given: Any) -> None:
        step(self, *given)
        if not self._sweeps:
            done.set()

    monkeypatch.setattr(Retention, "step", stepped)
    with opening(clock=clock, retention_days=90) as records:
        served = ServedRecord(records, clock=clock)
        assert done.wait(WAIT)
        assert [run.id for run in records.flow_runs()] == ["young"]
        served.close()


def test_the_audit_and_drivers_that_are_gone_go_in_small_slices(
    opening: Callable[..., Recorder], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leftovers, "_ROWS", 2)
    old, young = NOW - 95 * DAY, NOW - 40 * DAY
    with opening() as records, records.database.opened() as db:
        for n in range(5):
            for at in (old, young):
                db.execute(f"INSERT INTO audit (at, who, what, details) VALUES ({at}, 'me', 'PUT /pools', '{n}')")
                db.execute(f"INSERT INTO ingest_writers (writer, seq, seen) VALUES ('{at}-{n}', {n}, {at})")
        turn, steps = Retention(30, ManualClock(NOW)), 0
        left = []
        while turn.pause() < retention.EVERY - 60 or not steps:
            turn._due, steps = 0.0, steps + 1
            turn.step(records.database, lambda: db)
            left.append(_count(db, "audit") + _count(db, "ingest_writers"))
        assert all(before - after <= 3 for before, after in zip([20, *left], left, strict=False))  # 1 + 2
        assert _count(db, "audit") == 0  # the setting's age: 30 days
        assert {row[0] for row in db.execute("SELECT seen FROM ingest_writers")} == {young}  # an age of its own


def _count(db: Any, table: str) -> int:
    found: int = db.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
    return found
