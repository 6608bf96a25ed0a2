"""What a report shows of a recorded run, as figures of a fixed size: from the rows and columns of any record.

    records --gather--> RunFigures --run_report--> a page, or a notebook's output

Nothing is unpickled. A map of a million items becomes its states (a byte an item), cells of time and bins of durations.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from anabranch.core.errors import AccessError
from anabranch.core.states import CANCELLED, NAMES, TERMINAL
from anabranch.display import durations, run_nodes, strips, summary
from anabranch.display.item_times import Axis, Busy, unique
from anabranch.display.run_nodes import Series
from anabranch.display.shares import shares_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from anabranch.core.runs import FlowRunRow, ItemBlock, ItemRow, MapRow, Records
    from anabranch.display.durations import Durations
    from anabranch.display.graphs import Node
    from anabranch.display.shares import Share
    from anabranch.display.summary import Failures

CELLS = 400  # of time
LANES = 64  # workers with a lane of their own
MARKS = 400  # runs that are drawn one by one
CALLS = 2_000  # plain calls of a task that are drawn
GROUPS = 20  # of failures
SUBFLOWS = 10_000  # that are read
_BAD = bytes(n > strips.BAD for n in range(256))
_FINAL = frozenset(code for code, (_, kind) in enumerate(NAMES) if kind in TERMINAL)


@dataclass(slots=True)
class Columns:
    """All that is recorded of a map's items, as the record has it.

    Attributes:
        blocks: by attempt: later ones overrule earlier ones.
        left: (index, attempt, state) of attempts that left the happy path, by attempt.
    """

    blocks: list[ItemBlock]
    left: list[tuple[int, int, int]]

    @classmethod
    def of(cls, records: Records, map: str) -> Columns:
        found = records.ended(map)
        blocks = sorted(found.blocks, key=lambda block: block.attempt)
        return cls(blocks, sorted(found.left or [], key=lambda row: row[1]))


@dataclass(slots=True)
class MapFigures:
    """One map, or one series of single runs.

    Attributes:
        label: the task, with the map's number where it has several.
        codes: the state of each item.
        again: how many items had more than one attempt.
        busy: when its items ran.
        fails: in each cell of time, how many of the attempts that began in it failed for good.
    """

    row: MapRow
    label: str
    codes: bytearray
    again: int
    busy: Busy
    fails: list[int]
    durations: Durations

    @property
    def counts(self) -> tuple[int, ...]:
        return strips.totals(strips.kinds_of(self.codes))


@dataclass(slots=True)
class Lane:
    """One worker, or a band of them.

    Attributes:
        workers: how many.
        slots: how many items it can have run at once; seconds of cells count against this.
    """

    name: str
    workers: int
    slots: float
    busy: Busy
    tasks: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class Mark:
    """One attempt of one run; `kind` of `strips.KINDS`, of its end."""

    lane: int
    start: float
    seconds: float
    kind: int
    text: str


@dataclass(slots=True)
class RunFigures:
    """All that is shown of a run; `notes` say what was merged or is missing."""

    run: FlowRunRow
    axis: Axis
    maps: list[MapFigures]
    lanes: list[Lane]
    marks: list[Mark]
    slots: int
    shares: list[Share]
    failures: list[tuple[Failures, str]]
    graph: list[Node]
    notes: list[str]
    parent: str = ""  # the run that called this one
    subflows: list[str] = field(default_factory=list)  # that it called, the first ones first

    @property
    def items(self) -> int:
        return sum(len(map.codes) for map in self.maps)


def gather(records: Records, run: FlowRunRow, now: float) -> RunFigures:
    """Read a run's figures from the record; `now`, in Unix seconds, is the end of one that goes on."""
    rows = [map for map in records.maps(run.id) if not map.superseded]
    found = figures_of(records, run, rows, summary.of_records(records, run.id), now)
    found.subflows = [_name(row) for row in records.subflows(run.id, limit=SUBFLOWS)]
    try:
        found.parent = run.parent_run
        above = records.flow_run(run.parent_run) if run.parent_run else None
        if above is not None:
            found.parent = _name(above)
    except AccessError:  # a run's key reads its own run
        found.notes.append("The run around this one is not named: the key of this program does not read it.")
    return found


def _name(run: FlowRunRow) -> str:
    return f"{run.name} ({run.flow})"


def figures_of(
    records: Records, run: FlowRunRow, rows: Sequence[MapRow], failures: Sequence[Failures], now: float
) -> RunFigures:
    """Read the figures of these maps, as those of a run; `failures` are theirs, the most frequent first."""
    columns = {map.id: Columns.of(records, map.id) for map in rows}
    start = start_of(run, rows, columns)
    axis = Axis(start, run.ended or now, CELLS)
    labels = run_nodes.labels_of(rows)
    maps = [_map(row, labels[row.id], columns[row.id], axis) for row in rows]
    for one in maps:
        if one.row.kind == "call":  # those have rows, and no columns
            for view in records.items(one.row.id, limit=CALLS):
                if view.started is not None and view.duration is not None:
                    one.busy.add_one(view.started, view.duration)
    seen: set[tuple[object, ...]] = set()
    once = [(row, list(unique(columns[row.id].blocks, seen))) for row in rows if row.kind != "call"]
    slots, shares = shares_of([(row, columns[row.id].blocks) for row in rows], start, axis.start + axis.seconds)
    lanes, notes = lanes_of(once, axis, labels, LANES)
    few = sum(len(one.codes) for one in maps) <= MARKS
    marks = marks_of(records, once, columns, labels, lanes) if few else []
    shown = [(group, _trace(records, rows, group)) for group in failures[:GROUPS]]
    if len(failures) > GROUPS:
        rest = sum(group.count for group in failures[GROUPS:])
        notes.append(f"{rest:,} failures of {len(failures) - GROUPS:,} further kinds are counted, not shown.")
    graph = run_nodes.nodes_of([_series(records, one) for one in maps])
    return RunFigures(run, axis, maps, lanes, marks, slots, shares, shown, graph, notes)


def _series(records: Records, one: MapFigures) -> Series:
    return Series(one.row, one.label, len(one.codes), one.codes, run_nodes.reads_of(records, one.row))


def start_of(run: FlowRunRow, rows: Sequence[MapRow], columns: dict[str, Columns]) -> float:
    """Return when the run began; a resumed one shows items that an earlier driver ran before."""
    begun = [block.base + min(block.started) / 1e6 for row in rows for block in columns[row.id].blocks if block.started]
    return min([run.started or run.created, *begun])


def _map(row: MapRow, label: str, columns: Columns, axis: Axis) -> MapFigures:
    codes, again = states_of(row.length or 0, columns)
    busy = Busy(axis)
    fails = [0] * axis.cells
    for block in columns.blocks:
        busy.add(block)
        for when in _failed_at(block):
            fails[axis.cell(when)] += 1
    return MapFigures(row, label, codes, again, busy, fails, durations.durations_of(columns.blocks))


def states_of(length: int, columns: Columns) -> tuple[bytearray, int]:
    """Return the state of each item, a byte each, and how many had more than one attempt."""
    codes = bytearray(max([length, *(block.first + block.count for block in columns.blocks)], default=0))
    later: dict[int, int] = {}
    unbegun: set[int] = set()
    for block in columns.blocks:
        here = bytes((_DONE,)) * block.count if block.codes is None else block.codes
        if 0 in here:  # nothing is known of those
            for index, code in enumerate(here, block.first):
                codes[index] = code or codes[index]
        else:
            codes[block.first : block.first + block.count] = here
        if block.attempt > 1:
            later.update(dict.fromkeys(range(block.first, block.first + block.count), block.attempt))
        elif not block.started and CANCELLED in here:
            unbegun.update(index for index, code in enumerate(here, block.first) if code == CANCELLED)
    again = set(later)
    for index, attempt, state in columns.left:
        if index >= len(codes):
            codes.extend(bytes(index + 1 - len(codes)))
        if attempt > 1:
            again.add(index)
        known = later.get(index, 1 if codes[index] else 0)
        if known > attempt or (known == attempt and codes[index] in _FINAL and state not in _FINAL):
            continue
        codes[index] = state if 0 <= state < 256 else 0
        later[index] = attempt
    again -= {index for index in unbegun if later.get(index, 1) <= 2}  # they were ended before they began
    return codes, len(again)


_DONE = next(code for code, (name, _) in enumerate(NAMES) if name == "Completed")


def _failed_at(block: ItemBlock) -> Iterable[float]:
    """Yield when items of a block began that failed or crashed."""
    if block.codes is None or block.started is None or not len(block.started):
        return
    kinds = strips.kinds_of(block.codes)
    bad = kinds.translate(_BAD)
    at = bad.find(1)
    while at >= 0:
        yield block.base + block.started[at] / 1e6
        at = bad.find(1, at + 1)


def lanes_of(
    once: Sequence[tuple[MapRow, list[ItemBlock]]], axis: Axis, labels: dict[str, str], most: int
) -> tuple[list[Lane], list[str]]:
    """Return a lane for each worker, or bands of them where there are more than `most`."""
    names = sorted({block.worker for _, blocks in once for block in blocks}, key=_natural)
    band = -(-len(names) // most) if names else 1
    place = {name: number // band for number, name in enumerate(names)}
    lanes = []
    for number in range(-(-len(names) // band)):
        mine = names[number * band : (number + 1) * band]
        name = (mine[0] or "worker") if len(mine) == 1 else f"{mine[0]} … {mine[-1]}"
        lanes.append(Lane(name, len(mine), float(len(mine)), Busy(axis)))
    for row, blocks in once:
        for block in blocks:
            lane = lanes[place[block.worker]]
            lane.busy.add(block)
            lane.tasks[labels[row.id]] += block.count
    for lane in lanes:  # a worker may have several threads: as many as run in most cells in which any do
        full = sorted(seconds for seconds in lane.busy.seconds if seconds > 0)
        lane.slots = max(lane.slots, float(round(full[len(full) // 2] / axis.width)) if full else 0.0)
    notes = [f"{len(names):,} workers are drawn as {len(lanes)} bands of {band}."] if band > 1 else []
    return lanes, notes


def _natural(name: str) -> list[tuple[int, str]]:
    """Order process-2 before process-10."""
    parts, digits = [], ""
    for letter in f"{name} ":
        if letter.isdigit():
            digits += letter
            continue
        if digits:
            parts.append((int(digits), ""))
            digits = ""
        parts.append((-1, letter))
    return parts


def marks_of(
    records: Records, once: Sequence[tuple[MapRow, list[ItemBlock]]], columns: dict[str, Columns],
    labels: dict[str, str], lanes: Sequence[Lane],
) -> list[Mark]:  # fmt: skip
    """Return each attempt of each run, where the record has its times."""
    place = {lane.name: number for number, lane in enumerate(lanes)}
    found = []
    for row, blocks in once:
        for block in blocks:
            assert block.started is not None
            assert block.durations is not None
            lane = place.get(block.worker or "worker")
            if lane is None:
                continue
            for at in range(block.count):
                code = _DONE if block.codes is None else block.codes[at]
                start, seconds = block.base + block.started[at] / 1e6, max(0, block.durations[at]) / 1e6
                text = _text(labels[row.id], row, block.first + at, block.attempt, NAMES[code][0])
                found.append(Mark(lane, start, seconds, strips.kinds_of(bytes((code,)))[0], text))
        for index in sorted({index for index, _, state in columns[row.id].left if state not in _FINAL}):
            found += _earlier(records.attempts(row.id, index), row, labels[row.id], place)
    return found


def _earlier(rows: Sequence[ItemRow], map: MapRow, label: str, place: dict[str, int]) -> Iterable[Mark]:
    """Yield the attempts of an item that another one followed."""
    for row in rows:
        lane = place.get(row.worker)
        if lane is not None and row.state not in _FINAL and row.started is not None and row.ended is not None:
            text = _text(label, map, row.index, row.attempt, "failed, tried again")
            yield Mark(lane, row.started, row.ended - row.started, strips.BROKEN, text)


def _text(label: str, map: MapRow, index: int, attempt: int, state: str) -> str:
    again = f", attempt {attempt}" if attempt > 1 else ""
    return f"{label}[{index}]{again}: {state}" if map.length != 1 else f"{label}{again}: {state}"


def _trace(records: Records, maps: Sequence[MapRow], group: Failures) -> str:
    """Return the traceback of the first item of a group; "" where the record has none.

    Of several maps of one task each may have an item of that index: the message tells the one that is meant.
    """
    found = ""
    for map in maps:
        if map.task == group.task:
            for row in reversed(records.attempts(map.id, group.first)):
                if row.error_text and row.error_type == group.type:
                    if row.message[:summary.READ] == group.message[:summary.READ]:
                        return row.error_text
                    found = found or row.error_text
    return found
