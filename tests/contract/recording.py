"""What the contract tests of records share: a clock that stands, and rows."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from anabranch.core import states
from anabranch.core.runs import (
    FlowRunRow,
    Records,
)

if TYPE_CHECKING:

    from anabranch.core.runs import Row

NOW = 1_800_000_000.0
WAIT = 20.0


class FixedClock:
    """A clock that stands."""

    def time(self) -> float:
        return NOW

    def monotonic(self) -> float:
        return 0.0

    def sleep(self, seconds: float) -> None:
        raise AssertionError("records do not sleep on the clock they were given")


def write(records: Records, *rows: Row) -> None:
    records.append(rows)
    assert records.flush(WAIT)


def run_row(id: str = "run-1", **details: object) -> FlowRunRow:
    row = FlowRunRow(id, "etl", "brave-newt", states.RUNNING, "Running", created=NOW - 10)
    return replace(row, **details)  # type: ignore[arg-type]


def all_items(records: Records, map: str, **details: object) -> dict[int, str]:
    return {view.index: view.state for view in records.items(map, **details)}  # type: ignore[arg-type]
