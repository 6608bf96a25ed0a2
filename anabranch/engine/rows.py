"""Rows of the record from a report: columns for completed items, a row for each other one."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from anabranch.core import states
from anabranch.core.keys import DIGEST_BYTES, NO_DIGEST
from anabranch.core.microseconds import joined
from anabranch.core.runs import ItemBlock, ItemRow, MapRow, StoredRow
from anabranch.core.tracebacks import with_cells
from anabranch.engine import causes
from anabranch.engine.ranges import runs_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from anabranch.core.maps import MapRun
    from anabranch.core.reasons import Reason
    from anabranch.core.reports import ErrorInfo, Report
    from anabranch.core.spent import Numbers
from anabranch.core.runs import Row


def map_row(map: MapRun, length: int | None, ended: float | None, counts: dict[str, int]) -> MapRow:
    """Return the row of a map."""
    return MapRow(
        map.id, map.header.flow_run_id, map.spec.name, map.kind, length, map.header.created, ended, counts,
        map.header.parent_id, map.header.tags, map.resume.call_key, map.resume.code_hash, "",
        tuple(map.header.upstreams), map.header.slots, _account(map),
    )  # fmt: skip


def _account(map: MapRun) -> dict[str, float]:
    """Return what became of the values of a map so far, and how long its record was waited for."""
    weight = map.footprint
    found = {
        "made": weight.held + weight.released, "most": weight.most, "released": weight.released,
        "spilled": weight.spilled, "recording": round(map.header.recording, 6),
    }  # fmt: skip
    return {name: value for name, value in found.items() if value}


def _spent(map: MapRun) -> Numbers | None:
    """Return what slots spent for the map since the last block that said so."""
    found, map.header.spent = map.header.spent, None
    return found


def item_row(
    wall: float, map: MapRun, index: int, code: int, message: str, error: ErrorInfo | None, reason: Reason | None = None
) -> ItemRow:
    """Return the row of one item; `wall` is its end, if the state is final."""
    why = reason or causes.of_end(map, index, code, error)
    return ItemRow(
        map.id,
        index,
        map.attempt(index),
        code,
        map.state_names.get(index) or states.NAMES[code][0],
        map.header.names.get(index, ""),
        message,
        None,
        wall if code >= states.FIRST_ENDED else None,
        "",
        error.type_name if error else "",
        with_cells(error.traceback) if error else "",
        why.word,
        why.details,
    )


def block_row(map: MapRun, first: int, count: int, codes: bytes | None, report: Report) -> ItemBlock:
    """Return the columns of a whole report of first attempts."""
    columns = (codes, report.base, report.started, report.durations, 1, report.worker, _spent(map))
    return ItemBlock(map.id, first, count, *columns)


def links_of(map: MapRun, stages: Sequence[Sequence[int]], report: Report) -> Iterator[ItemBlock]:
    """Yield columns for completed chains of single runs of one task: their links are neighbours.

    Args:
        stages: the items of each stage of the report's positions, in their order.
    """
    chains = sorted((chain[0], position, chain) for position, chain in enumerate(zip(*stages, strict=True)))
    if not map.attempts and all(chain == tuple(range(first, first + len(chain))) for first, _, chain in chains):
        yield from _in_line(map, [(first, position) for first, position, _ in chains], len(stages), report)
        return
    found = sorted((index, position) for items in stages for position, index in enumerate(items))
    yield from rows_of(map, [index for index, _ in found], [position for _, position in found], report, spread=True)


def _in_line(map: MapRun, chains: Sequence[tuple[int, int]], depth: int, report: Report) -> Iterator[ItemBlock]:
    """Yield columns where each chain (first item, position) is a run of neighbours: its links have one time."""
    at = 0
    while at < len(chains):
        lo = hi = chains[at][0]
        positions = []
        while at < len(chains) and chains[at][0] == hi:
            positions.append(chains[at][1])
            hi += depth
            at += 1
        started = durations = None
        if report.durations is not None and report.started is not None:
            started, durations = array("i"), array("i")
            for position in positions:
                started = joined(started, report.started[position : position + 1] * depth)
                durations = joined(durations, report.durations[position : position + 1] * depth)
        columns = (None, report.base, started, durations, 1, report.worker, _spent(map))
        yield ItemBlock(map.id, lo, hi - lo, *columns)


def rows_of(
    map: MapRun, ended: Sequence[int], positions: Sequence[int], report: Report, *, spread: bool = False
) -> Iterator[ItemBlock]:
    """Yield columns for items that ended: a block for each run of neighbours.

    Args:
        positions: where each of `ended` stands in the report.
        spread: neighbours may stand anywhere in it.
    """
    last, start, again = len(ended) - 1, 0, bool(map.attempts)
    for at, index in enumerate(ended):
        beside = at < last and ended[at + 1] == index + 1 and (spread or positions[at + 1] == positions[at] + 1)
        if beside and not (again and map.attempt(index) != map.attempt(index + 1)):
            continue
        lo, hi = ended[start], index + 1
        started = durations = None
        if report.durations is not None and report.started is not None:
            if spread:
                here = positions[start : at + 1]
                started = array(report.started.typecode, [report.started[p] for p in here])
                durations = array(report.durations.typecode, [report.durations[p] for p in here])
            else:
                columns = slice(positions[start], positions[at] + 1)
                started, durations = report.started[columns], report.durations[columns]
        codes = bytes(map.codes[lo:hi])
        told = (codes, report.base, started, durations, map.attempt(lo), report.worker, _spent(map))
        yield ItemBlock(map.id, lo, hi - lo, *told)
        start = at + 1


def note_stored(
    rows: list[Row], map: MapRun, stage: int, ended: Sequence[int], positions: Sequence[int], report: Report
) -> None:
    """Note the places of completed items' values, and record them in a resumable run.

    Args:
        positions: where each of `ended` stands in the report.
    """
    if any(map.codes[i] > states.COMPLETED for i in ended):  # items that did not complete have no value there
        good = [n for n, index in enumerate(ended) if map.codes[index] <= states.COMPLETED]
        ended, positions = [ended[n] for n in good], [positions[n] for n in good]
    name = report.stored[stage] if report.stored else ""
    if not len(ended):
        return
    if name:
        map.values.stored.add(name, ended, positions)
    if map.values.resumable:
        if map.resume.keys is not None:
            digests = _picked(map.resume.keys, ended)
        elif stage == 0 and report.digests:
            digests = _picked(report.digests, positions)
        else:  # digests of items made of other items follow from these; others have none
            digests = b"" if map.inputs.source is None else NO_DIGEST * len(ended)
        rows.append(StoredRow(map.id, name, ended, positions, digests))


def stored_row(map: MapRun, index: int, place: tuple[str, int] | None) -> StoredRow:
    """Return the row with the place of an item's value that an earlier driver completed under another series."""
    assert map.resume.keys is not None
    digest = _picked(map.resume.keys, (index,))
    return StoredRow(map.id, place[0] if place else "", (index,), (place[1] if place else 0,), digest)


def _picked(digests: bytes | bytearray, places: Sequence[int]) -> bytes:
    size = DIGEST_BYTES
    if isinstance(places, range) and places.step == 1:
        return bytes(digests[places[0] * size : (places[-1] + 1) * size])
    return b"".join([digests[n * size : (n + 1) * size] for n in places])


def cancelled_rows(map: MapRun, items: Sequence[int], wall: float) -> Iterator[ItemBlock]:
    """Yield columns for cancelled first attempts, of which there may be a million."""
    code = bytes([states.CANCELLED])
    for lo, hi in runs_of(items):
        yield ItemBlock(map.id, lo, hi - lo, code * (hi - lo), wall)


def timed(row: ItemRow, report: Report, offset: int) -> ItemRow:
    """Add an item's times and worker to its row."""
    if report.started is not None and report.durations is not None:
        row.started = report.base + report.started[offset] / 1e6
        row.ended = row.started + report.durations[offset] / 1e6
    row.worker = report.worker
    return row
