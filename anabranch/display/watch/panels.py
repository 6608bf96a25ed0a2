"""The tables of the view, from what one look has found. Pure functions."""

from __future__ import annotations

import logging
import textwrap
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from anabranch.core import states
from anabranch.display import units
from anabranch.display.watch.tables import FAILED, STRIP, Cell, Column, Row, Table, fitted, pieces

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anabranch.core.runs import FlowRunRow, LogRow, MapRow
    from anabranch.display.watch.facts import Facts
    from anabranch.display.watch.tally import Share, Tally, Work

WIDE = 24  # cells of a strip
WORKERS = 200  # that are listed
_TONES = {
    states.StateType.COMPLETED: "good",
    states.StateType.FAILED: "bad",
    states.StateType.CRASHED: "bad",
    states.StateType.CANCELLED: "warn",
    states.StateType.RUNNING: "live",
}
_RUNS = (
    Column("run"), Column("state", 11), Column("flow"), Column("started", 8), Column("took", 9, right=True),
    Column("runner", 8),
)  # fmt: skip
_MAPS = (
    Column("task"), Column("done", WIDE), Column("", 4, right=True), Column("items", 15, right=True),
    Column("failed", 7, right=True), Column("rate", 9, right=True), Column("to go", 9, right=True),
    Column("retried", 7, right=True),
)  # fmt: skip
_WORKERS = (
    Column("worker"), Column("items", 11, right=True), Column("busy", 5, right=True),
    Column("last item ended", 17, right=True),
)  # fmt: skip
_LOG = (Column("time", 12), Column("level", 8), Column("line"))
_FILLS = "·▁▂▃▄▅▆▇"


# -- runs ------------------------------------------------------------------------------------------


def runs(facts: Facts, width: int) -> Table:
    """Return the table of flow runs, the newest first."""
    rows = [
        Row(
            run.id,
            (
                Cell(run.name, "strong"), Cell(_state(run), tone(run.state)), Cell(run.flow),
                Cell(_moment(run.started or run.created, facts.now), "quiet"),
                Cell(_lasted(run, facts.now)), Cell(run.runner, "quiet"),
            ),
        )
        for run in facts.runs
    ]  # fmt: skip
    return _table(_RUNS, rows, width)


def runs_title(facts: Facts) -> str:
    """Return the head of the table of runs: how many there are, and how many of them run."""
    running = sum(not states.is_final(run.state) for run in facts.runs)
    cut = f"the newest {units.count(len(facts.runs))} of " if facts.total > len(facts.runs) else ""
    return f"{cut}{_many(facts.total, 'run')}, {units.count(running)} not ended"


def run_title(facts: Facts) -> str:
    """Return the head of the chosen run: its name, its state and the reason."""
    if facts.run is None:
        return "no run"
    message = f": {facts.run.message}" if facts.run.message else ""
    return f"{facts.run.flow} ({facts.run.name}) {_state(facts.run)}{message}"


def tone(state: int) -> str:
    """Return the tone of a state, by its code."""
    known = states.NAMES[state][1] if 0 <= state < len(states.NAMES) else None
    return _TONES.get(known, "quiet") if known else "quiet"


def _state(run: FlowRunRow) -> str:
    return run.state_name or states.NAMES[run.state][0]


def _lasted(run: FlowRunRow, now: float) -> str:
    if run.started is None:
        return ""
    if run.ended is None and states.is_final(run.state):
        return ""
    return units.clock(now - run.started) if run.ended is None else units.duration(run.ended - run.started)


def _moment(when: float, now: float) -> str:
    """Return a time of day; of another day, the day."""
    if not when:
        return ""
    at = datetime.fromtimestamp(when)
    same = at.date() == datetime.fromtimestamp(now).date()
    return at.strftime("%H:%M:%S" if same else "%d %b")


# -- the chosen run ----------------------------------------------------------------------------------


def maps(facts: Facts, width: int) -> Table:
    """Return the table of the chosen run's maps and series, in the order they were begun."""
    over = facts.run is not None and states.is_final(facts.run.state)
    rows = [_map(map, tally, facts.rates.get(map.id, 0.0), over) for map, tally in facts.maps]
    return _table(_MAPS, rows, width)


class _Counted(NamedTuple):
    done: int
    failed: int


def counted(map: MapRow, tally: Tally) -> _Counted:
    """Return how many items of a map have ended, and failed: by its own row once it has ended."""
    if map.ended is None or not map.counts:
        return _Counted(tally.done, tally.failed)
    failing = {states.NAMES[code][0] for code in states.FAILING}
    ended = {name for name, kind in states.NAMES if kind in states.TERMINAL}
    done = sum(n for name, n in map.counts.items() if name in ended)
    return _Counted(done, sum(n for name, n in map.counts.items() if name in failing))


def _map(map: MapRow, tally: Tally, rate: float, over: bool) -> Row:
    done, failed = counted(map, tally)
    whole = map.length is not None and (map.kind == "map" or map.ended is not None)
    total = map.length if whole and map.length is not None else None
    goes_on = map.ended is None and not over and (total is None or done < total)
    share = "" if total is None else f"{100 if not total else int(100 * done / total)}%"
    if goes_on:
        pace = units.rate(rate)
        left = units.clock((total - done) / rate) if total is not None and rate > 0 else ""
    else:
        took = (map.ended or 0.0) - map.created if map.ended and map.created else 0.0
        pace = units.rate(done / took) if took > 0 else ""
        left = ""
    length = total if total is not None else max(done, len(tally.codes))
    return Row(
        map.id,
        (
            Cell(map.task, "strong"), Cell(strip(tally.strip(WIDE, length)), STRIP), Cell(share),
            Cell(f"{units.count(done)}/{units.count(total)}" if total is not None else units.count(done)),
            Cell(units.count(failed) if failed else "", "bad"), Cell(pace, "live" if goes_on else "quiet"), Cell(left),
            Cell(units.count(tally.retried) if tally.retried else "", "warn"),
        ),
    )  # fmt: skip


def strip(shares: Sequence[Share]) -> str:
    """Return a map's items as a text: higher characters where more have ended, ``x`` where some failed."""
    return "".join(FAILED if share.failed else _fill(share.ended) for share in shares)


def _fill(ended: float) -> str:
    """Return a dot where nothing has ended, the highest block where all has."""
    return _FILLS[int(ended * (len(_FILLS) - 1) + (0 < ended < 1 / (len(_FILLS) - 1)))]


def workers(facts: Facts, width: int) -> Table:
    """Return the table of the workers that have ended items of the chosen run, the busiest first."""
    run = facts.run
    if run is None:
        return _table(_WORKERS, [], width)
    found = _works(facts)
    until = facts.now if run.ended is None else run.ended
    spent = max(until - (run.started or run.created), 1e-9)
    over = states.is_final(run.state)
    names = sorted(found, key=_in_order)[:WORKERS]
    rows = [_worker(name, found[name], spent, None if over else facts.now) for name in names]
    return _table(_WORKERS, rows, width)


def workers_title(facts: Facts) -> str:
    """Return the head of the table of workers."""
    many = len(_works(facts))
    cut = f", {WORKERS} of them listed" if many > WORKERS else ""
    return f"{_many(many, 'worker')}{cut}"


def _works(facts: Facts) -> dict[str, list[Work]]:
    found: dict[str, list[Work]] = {}
    for _, tally in facts.maps:
        for name, work in tally.workers.items():
            found.setdefault(name, []).append(work)
    return found


def _worker(name: str, works: list[Work], spent: float, now: float | None) -> Row:
    busy = min(sum(work.busy for work in works) / spent, 1.0)
    last = max(work.last for work in works)
    if not last:
        ago = ""
    elif now is None:
        ago = datetime.fromtimestamp(last).strftime("%H:%M:%S")
    else:
        ago = "now" if now - last < 1 else f"{units.clock(now - last)} ago"
    items = sum(work.items for work in works)
    cells = (Cell(name), Cell(units.count(items)), Cell(f"{busy:.0%}" if last else ""), Cell(ago, "quiet"))
    return Row(name, cells)


def _in_order(name: str) -> tuple[str, int, str]:
    """Sort names that end with numbers by these."""
    stem = name.rstrip("0123456789")
    number = name[len(stem) :]
    return (stem, int(number) if number else -1, name)


def log(lines: Sequence[LogRow], width: int) -> Table:
    """Return lines of a log, oldest first, each in one row."""
    rows = [
        Row(
            f"{line.when}-{n}",
            (
                Cell(f"{datetime.fromtimestamp(line.when):%H:%M:%S}.{int(line.when * 1000) % 1000:03}", "quiet"),
                Cell(logging.getLevelName(line.level), _level_tone(line.level)), Cell(_said(line)),
            ),
        )
        for n, line in enumerate(lines)
    ]  # fmt: skip
    return _table(_LOG, rows, width)


def log_page(lines: Sequence[LogRow], width: int) -> Table:
    """Return lines of a log, oldest first, whole: each in as many rows as it needs."""
    kept = fitted(_LOG, width)
    rows = []
    for row, line in zip(log(lines, width).rows, lines, strict=True):
        parts = wrapped(_said(line), kept[-1].width)
        rows.append(Row(row.key, (*row.cells[:-1], Cell(parts[0]))))
        rows += [Row(f"{row.key}.{n}", (Cell(""), Cell(""), Cell(part))) for n, part in enumerate(parts[1:], 1)]
    return Table(kept, tuple(rows))


def text_page(text: str, width: int) -> Table:
    """Return a text, whole, in rows of one column."""
    parts = [part for line in text.splitlines() for part in wrapped(line, width)]
    return Table((Column("", width),), tuple(Row(str(n), (Cell(part),)) for n, part in enumerate(parts)))


def wrapped(text: str, width: int) -> list[str]:
    """Return a text in lines of at most `width` cells, with its own breaks; what follows a break is indented as it."""
    found = []
    for line in text.splitlines() or [""]:
        indent = len(line) - len(line.lstrip())
        parts = textwrap.wrap(
            line, max(width, 8), subsequent_indent=" " * min(indent + 2, width // 2), break_on_hyphens=False,
            replace_whitespace=False, drop_whitespace=True,
        )  # fmt: skip
        found += [piece for part in parts for piece in pieces(part, max(width, 8))] or [""]
    return found


def _said(line: LogRow) -> str:
    return f"{line.logger} - {line.message}" if line.logger else line.message


def _level_tone(level: int) -> str:
    return "bad" if level >= logging.ERROR else "warn" if level >= logging.WARNING else "quiet"


def _many(number: int, what: str) -> str:
    return f"{units.count(number)} {what}{'' if number == 1 else 's'}"


def _table(columns: Sequence[Column], rows: Sequence[Row], width: int) -> Table:
    kept = fitted(columns, width)
    return Table(kept, tuple(Row(row.key, row.cells[: len(kept)]) for row in rows))


# -- the screen ------------------------------------------------------------------------------------


class Heights(NamedTuple):
    """Lines of each panel, its frame included; 0 leaves a panel out."""

    runs: int
    maps: int
    failures: int
    workers: int
    log: int


def heights(lines: int, facts: Facts) -> Heights:
    """Return how high the panels are on a screen of `lines` lines, without its first and its last.

    The log takes what is left, and gives way last: each other panel has at most a third.
    """
    room = max(lines, 4)
    third = max(room // 3, 4)
    failures = min(len(facts.failures), 3) + 2 if facts.failures and room >= 24 else 0
    maps = min(len(facts.maps) + 3, third) if room >= 12 else 0
    workers = min(len(_works(facts)) + 3, third) if room >= 18 and facts.maps else 0
    runs = max(4, min(len(facts.runs) + 3, third, room - 5))
    log = room - runs - maps - failures - workers
    while log < 5 and workers:
        workers, log = (workers - 1, log + 1) if workers > 4 else (0, log + workers)
    while log < 4 and maps > 4:
        maps, log = maps - 1, log + 1
    return Heights(runs, maps, failures, workers, log)
