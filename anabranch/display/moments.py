"""A moment of a run, item by item: what each worker ran between two times, exact, as a page of its own.

    records --gather--> Moment --page--> one HTML file

The report of a run with many items has cells of time. This is the way closer: only items that ran in the moment are
drawn, so its size does not grow with the run.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from html import escape
from typing import TYPE_CHECKING

from anabranch.display import map_report, run_figures, run_nodes, run_report, strips, timelines, units
from anabranch.display.item_times import Axis, unique
from anabranch.display.run_figures import Columns

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from anabranch.core.runs import FlowRunRow, ItemBlock, MapRow, Records
    from anabranch.display.run_figures import Lane, Mark

MARKS = 5_000  # items that are drawn
LANES = 256  # workers that are drawn
LEFT = 2_000  # attempts off the happy path of one map; of more, those that another one followed are not looked up


@dataclass(slots=True)
class Moment:
    """What ran between two times; `items` counts also what is not drawn."""

    run: FlowRunRow
    axis: Axis
    lanes: list[Lane]
    marks: list[Mark]
    items: int
    notes: list[str]


def gather(records: Records, run: FlowRunRow, begin: float, end: float, now: float) -> Moment:
    """Read what ran from `begin` to `end`, in seconds from the run's start; `now` ends a run that goes on."""
    rows = [map for map in records.maps(run.id) if not map.superseded and map.kind != "call"]
    columns = {map.id: Columns.of(records, map.id) for map in rows}
    start = run_figures.start_of(run, rows, columns)
    axis = Axis(start + begin, min(start + end, run.ended or now), run_figures.CELLS, begin)
    low, high = axis.start, axis.start + axis.seconds
    seen: set[tuple[object, ...]] = set()
    once: list[tuple[MapRow, list[ItemBlock]]] = []
    left, items, notes = MARKS, 0, []
    for row in rows:
        parts = [part for block in unique(columns[row.id].blocks, seen) for part in within(block, low, high)]
        items += sum(part.count for part in parts)
        kept = list(_first(sorted(parts, key=_begun), left))
        left -= sum(part.count for part in kept)
        once.append((row, kept))
        if len(columns[row.id].left) > LEFT:
            columns[row.id].left = []
            notes.append(f"Attempts of {row.task} that failed and were tried again are not drawn: they are too many.")
    labels = run_nodes.labels_of(rows)
    lanes, bands = run_figures.lanes_of(once, axis, labels, LANES)
    marks = [mark for mark in run_figures.marks_of(records, once, columns, labels, lanes)
             if mark.start < high and mark.start + mark.seconds > low]  # fmt: skip
    drawn = sum(part.count for _, parts in once for part in parts)
    if drawn < items:
        notes.append(f"{items:,} items ran in this moment, {drawn:,} are drawn: choose a shorter one.")
    return Moment(run, axis, lanes, [_cut(mark, low, high) for mark in marks], items, bands + notes)


def within(block: ItemBlock, low: float, high: float) -> Iterator[ItemBlock]:
    """Yield the items of a block that ran between two times, neighbours together."""
    started, durations = block.started, block.durations
    if started is None or durations is None or not len(started):
        return
    first, last = (low - block.base) * 1e6, (high - block.base) * 1e6
    if min(started) >= last or max(started) + max(durations) <= first:  # most blocks of a long run
        return
    begin = None
    for at in range(block.count + 1):
        inside = at < block.count and started[at] < last and started[at] + durations[at] > first
        if inside and begin is None:
            begin = at
        elif not inside and begin is not None:
            yield _part(block, begin, at)
            begin = None


def _part(block: ItemBlock, begin: int, end: int) -> ItemBlock:
    assert block.started is not None
    assert block.durations is not None
    codes = None if block.codes is None else block.codes[begin:end]
    started, durations = block.started[begin:end], block.durations[begin:end]
    first, count = block.first + begin, end - begin
    return replace(block, first=first, count=count, codes=codes, started=started, durations=durations)


def _begun(block: ItemBlock) -> float:
    assert block.started is not None
    return block.base + block.started[0] / 1e6


def _first(blocks: Sequence[ItemBlock], most: int) -> Iterator[ItemBlock]:
    """Yield the first items of these blocks."""
    for block in blocks:
        if most <= 0:
            return
        yield block if block.count <= most else _part(block, 0, most)
        most -= block.count


def _cut(mark: Mark, low: float, high: float) -> Mark:
    """Return the part of a mark that is in the picture; its text has all of its time."""
    start, end = max(mark.start, low), min(mark.start + mark.seconds, high)
    return replace(mark, start=start, seconds=end - start, text=f"{mark.text}, ran {units.duration(mark.seconds)}")


def page(moment: Moment) -> str:
    """Return the moment as a page."""
    run = moment.run
    begin, end = moment.axis.begin, moment.axis.begin + moment.axis.seconds
    span = f"{begin:.6g} s to {end:.6g} s of the run, {units.count(moment.items)} items"
    counts = [0] * len(strips.KINDS)
    for mark in moment.marks:
        counts[mark.kind] += 1
    picture = timelines.lanes_svg(moment.lanes, moment.marks, moment.axis) if moment.marks else ""
    body = (
        f'<h1>{escape(run.flow)}</h1><p class="lead">{escape(run.name)}</p><p>{escape(span)}</p>'
        + (f'<div class="wide">{picture}</div>{map_report.legend(counts)}' if picture else "<p>Nothing ran then.</p>")
        + "".join(f'<p class="faint">{escape(note)}</p>' for note in moment.notes)
    )
    return run_report.document(f"{run.flow}: {run.name}, {span}", body, moment.axis, run.id)
