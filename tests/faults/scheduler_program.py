"""A program that turns ticks into orders, in a process of its own, at one moment that its caller names.

    python scheduler_program.py RECORD NOW GATE [HELD]

It says that it is there by a line, waits for the file GATE, and steps until no schedule is due. With HELD it says
"held" after so many schedules' ticks, and goes no further.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from anabranch.records.service.direct import DirectService
from anabranch.records.sqlite_file import SqliteFile
from anabranch.services.schedule import AHEAD, ScheduleStep

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anabranch.core.orders import Tick


def main(record: str, now: float, gate: Path, held: int | None) -> None:
    service = DirectService(SqliteFile(Path(record)))
    if held is not None:
        hold(service, held)
    step = ScheduleStep(service)
    print("ready", flush=True)
    while not gate.exists():
        time.sleep(0.01)
    while service.schedules.due(now + AHEAD, 1):
        step(now)


def hold(service: DirectService, after: int) -> None:
    """Stand still for ever once the ticks of so many schedules are ordered."""
    tick_all, moved = service.schedules.tick_all, 0

    def counted(decided: Sequence[Tick]) -> list[bool]:
        nonlocal moved
        found = tick_all(decided)
        moved += len(decided)
        if moved >= after:
            print("held", flush=True)
            sys.stdin.read()
        return found

    service.schedules.tick_all = counted  # type: ignore[method-assign]


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]) if sys.argv[4:] else None)
