"""What the record gets of a report: columns for what went well, a row for what did not."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from anabranch.core.runs import ItemBlock
from anabranch.engine.ranges import runs_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from anabranch.core.contracts import Report
    from anabranch.core.maps import MapRun
    from anabranch.core.runs import ItemRow


def block_row(map: MapRun, first: int, count: int, codes: bytes | None, report: Report) -> ItemBlock:
    """A whole report of first attempts."""
    return ItemBlock(map.id, first, count, codes, report.base, report.started, report.durations, 1, report.worker)


def rows_of(map: MapRun, ended: list[int], report: Report, items: Sequence[int]) -> Iterator[ItemBlock]:
    """Columns for what ended: one block when the report's items are a range, else one a range."""
    if len(ended) == len(items) and isinstance(items, range):
        yield block_row(map, items[0], len(items), bytes(map.codes[items[0] : items[-1] + 1]), report)
        return
    offsets = {index: n for n, index in enumerate(items)} if report.durations is not None else {}
    for lo, hi in runs_of(ended):
        codes = bytes(map.codes[lo:hi])
        started = durations = None
        if report.durations is not None and report.started is not None:
            at = [offsets[i] for i in range(lo, hi)]
            started = array("i", [report.started[n] for n in at])
            durations = array("i", [report.durations[n] for n in at])
        yield ItemBlock(map.id, lo, hi - lo, codes, report.base, started, durations, map.attempt(lo), report.worker)


def timed(row: ItemRow, report: Report, offset: int) -> ItemRow:
    """The row of one item, with its times and its worker."""
    if report.started is not None and report.durations is not None:
        row.started = report.base + report.started[offset] / 1e6
        row.ended = row.started + report.durations[offset] / 1e6
    row.worker = report.worker
    return row
