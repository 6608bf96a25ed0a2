"""What the record gets of a report: columns for what went well, a row for what did not."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from anabranch.core.runs import ItemBlock

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from anabranch.core.contracts import Report
    from anabranch.core.maps import MapRun
    from anabranch.core.runs import ItemRow


def block_row(map: MapRun, first: int, count: int, codes: bytes | None, report: Report) -> ItemBlock:
    """A whole report of first attempts."""
    return ItemBlock(map.id, first, count, codes, report.base, report.started, report.durations, 1, report.worker)


def links_of(map: MapRun, stages: Sequence[Sequence[int]], report: Report) -> Iterator[ItemBlock]:
    """Columns for chains of single runs of one task, all of which completed: their links are neighbours.

    Args:
        stages: the items of each stage of the report's positions, in their order.
    """
    found = sorted((index, position) for items in stages for position, index in enumerate(items))
    yield from rows_of(map, [index for index, _ in found], [position for _, position in found], report, spread=True)


def rows_of(
    map: MapRun, ended: Sequence[int], positions: Sequence[int], report: Report, *, spread: bool = False
) -> Iterator[ItemBlock]:
    """Columns for items that ended: a block for each run of neighbours.

    Args:
        positions: where each of `ended` stands in the report.
        spread: neighbours may stand anywhere in it.
    """
    last, start = len(ended) - 1, 0
    for at, index in enumerate(ended):
        if at < last and ended[at + 1] == index + 1 and (spread or positions[at + 1] == positions[at] + 1):
            continue
        lo, hi = ended[start], index + 1
        started = durations = None
        if report.durations is not None and report.started is not None:
            if spread:
                here = positions[start : at + 1]
                started = array("i", [report.started[p] for p in here])
                durations = array("i", [report.durations[p] for p in here])
            else:
                columns = slice(positions[start], positions[at] + 1)
                started, durations = report.started[columns], report.durations[columns]
        codes = bytes(map.codes[lo:hi])
        yield ItemBlock(map.id, lo, hi - lo, codes, report.base, started, durations, map.attempt(lo), report.worker)
        start = at + 1


def timed(row: ItemRow, report: Report, offset: int) -> ItemRow:
    """The row of one item, with its times and its worker."""
    if report.started is not None and report.durations is not None:
        row.started = report.base + report.started[offset] / 1e6
        row.ended = row.started + report.durations[offset] / 1e6
    row.worker = report.worker
    return row
