"""A program that turns ticks into orders, in a process of its own, at one moment that its caller names.

    python scheduler_program.py RECORD NOW GATE

It says that it is there by a line, waits for the file GATE, and steps until no schedule is due.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from anabranch.records.service.direct import DirectService
from anabranch.records.sqlite_file import SqliteFile
from anabranch.services.schedule import AHEAD, ScheduleStep


def main(record: str, now: float, gate: Path) -> None:
    service = DirectService(SqliteFile(Path(record)))
    step = ScheduleStep(service)
    print("ready", flush=True)
    while not gate.exists():
        time.sleep(0.01)
    while service.schedules.due(now + AHEAD, 1):
        step(now)


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), Path(sys.argv[3]))
