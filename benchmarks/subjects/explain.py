"""Why a recorded run of a million ended as it did: asked in a process, and by the command."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from array import array
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.rows import Bar, Figures, Row

if TYPE_CHECKING:
    from collections.abc import Callable

    from anabranch.core.runs import ItemBlock, ItemRow, Records

BLOCK = 1000
TRACE = "Traceback (most recent call last):\n" + '  File "/home/someone/flows.py", line 12, in load\n' * 8
COMMAND = [sys.executable, "-c", "from anabranch.cli import main; main()", "explain", "brave-newt", "--json"]


def fill(records: Records, items: int) -> None:
    """A run of which 5 % left the happy path: half of these failed for good, half completed when retried."""
    from anabranch.core import reasons, states
    from anabranch.core.runs import FlowRunRow, ItemBlock, ItemRow, MapRow

    spent = reasons.make("budget/user", spent=0, of=0)
    again = reasons.make("budget/user", spent=1, of=1)
    records.append([
        FlowRunRow("run-1", "etl", "brave-newt", states.FAILED, "Failed", created=1.0, ended=2.0),
        MapRow("map-1", "run-1", "load", "map", items, 1.0, 2.0),
    ])
    times = array("i", [1000] * BLOCK)
    for first in range(0, items, BLOCK):
        codes = bytearray([states.COMPLETED]) * BLOCK
        rows: list[ItemBlock | ItemRow] = []
        for index in range(first, first + BLOCK, 20):
            retried = index % 40 == 0
            state, why = (states.AWAITING_RETRY, again) if retried else (states.FAILED, spent)
            codes[index - first] = states.PENDING if retried else states.FAILED
            rows.append(
                ItemRow("map-1", index, 1, state, "", "", f"ValueError: row {index} is bad", 1.0, 2.0, "w",
                        "ValueError", TRACE, *why)
            )  # fmt: skip
            if retried:
                rows.append(ItemBlock("map-1", index, 1, None, 1.0, times[:1], times[:1], attempt=2, worker="w"))
        rows.append(ItemBlock("map-1", first, BLOCK, bytes(codes), 1.0, times, times, worker="w"))
        records.append(rows)
    records.flush(60.0)


def least(times: int, work: Callable[[], object]) -> float:
    """The shortest of so many turns, in milliseconds."""
    took = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        took.append(time.perf_counter() - began)
    return 1e3 * min(took)


def explain(quick: bool) -> Figures:
    from anabranch.diagnosis import from_record
    from anabranch.records.sqlite import SqliteRecords

    items = 100_000 if quick else 1_000_000
    with tempfile.TemporaryDirectory() as home:
        records = SqliteRecords(Path(home) / "records.db")
        fill(records, items)
        run_ms = least(3, lambda: from_record.explain(records, "run-1"))
        item_ms = least(3, lambda: from_record.explain(records, "run-1", f"load[{items - 20}]"))
        records.close()
        environ = {**os.environ, "ANABRANCH_HOME": home}
        command_ms = least(3, lambda: subprocess.run(COMMAND, env=environ, check=True, capture_output=True))
    return {"run_ms": run_ms, "item_ms": item_ms, "command_ms": command_ms}


ROWS = (
    Row(
        "explain",
        "explain of a recorded run of 1M, 5 % failed or retried",
        explain,
        (
            Bar("run_ms", "ms", at_most=200),
            Bar("item_ms", "ms, one item", at_most=200),
            Bar("command_ms", "ms, the command", at_most=500),
        ),
        most=3,
    ),
)
