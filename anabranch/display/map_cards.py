"""A map as a card: its counts, its items as a strip, its rate and its end, its bytes, and its failures in groups.

It reads the map's columns: no value is fetched, no failure counts as looked at, and nothing is done for each item.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from anabranch.core.asking import text
from anabranch.core.states import NAMES
from anabranch.display import markup, progress, strips, summary, units

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from anabranch.core.item_columns import ItemColumns
    from anabranch.core.maps import MapRun
    from anabranch.core.reports import ErrorInfo
    from anabranch.display.summary import Failures

GROUPS = 5  # of failures, with a line each
TRACED = 3  # of them, with a traceback
KINDS = 100  # messages that are read
LOOKED_AT = 4_000  # failed items that are looked at


def future_list(map: MapRun, now: float, *, released: bool) -> str:
    """Return the card of a future list.

    Args:
        now: Unix seconds.
        released: the list has let its values go.
    """
    codes = strips.with_running(map.codes, ((lo, hi) for lo, hi, _ in tuple(map.queue.ready)), map.queue.sent)
    cells, counts = _counted(codes)
    groups = summary.of_map(map, kinds=KINDS, most=LOOKED_AT)
    return markup.card(
        markup.head(map.spec.name, *_of_map(map, now)),
        _strip(codes, cells, counts),
        markup.line(_wait(map), faint=False),
        markup.line(*_bytes(map, released), _retried(map)),
        _input_error(map),
        _failures(groups, sum(counts[strips.BAD + 1 :]), map.errors.get),
    )


def states(
    task: str, columns: ItemColumns, errors: dict[int, ErrorInfo], codes: bytes | bytearray, items: Sequence[int],
    many: str = "",
) -> str:  # fmt: skip
    """Return the card of the states of some items of a map.

    Args:
        columns: the states, as of one moment.
        errors: of the map, by item.
        codes: those of the items.
        items: the items.
        many: what is said of them as a whole; "": how many states they are.
    """
    cells, counts = _counted(codes)
    groups = summary.of_items(task, columns, errors, codes, items, kinds=KINDS, most=LOOKED_AT)
    many = many or ("1 state" if len(codes) == 1 else f"{units.count(len(codes))} states")
    failures = _failures(groups, sum(counts[strips.BAD + 1 :]), errors.get)
    return markup.card(markup.head(task, many), _strip(codes, cells, counts), failures)


def _counted(codes: bytes | bytearray) -> tuple[list[tuple[int, ...]], list[int]]:
    """Return the cells of a strip, and the number of items of each kind."""
    cells = strips.cells(strips.kinds_of(codes))
    return cells, [sum(column) for column in zip(*cells, strict=True)] if cells else [0] * len(strips.KINDS)


def _strip(codes: bytes | bytearray, cells: Sequence[tuple[int, ...]], counts: Sequence[int]) -> str:
    if not cells:
        return markup.line("no items")
    return markup.picture(strips.drawn(cells), strips.told(counts)) + markup.legend(counts, _names(codes, counts))


def _names(codes: bytes | bytearray, counts: Sequence[int]) -> list[str]:
    """Return, for each kind, the counts of its states that have a name of their own."""
    found: list[list[str]] = [[] for _ in counts]
    for code, (name, type) in enumerate(NAMES):
        kind = strips.number_of(code)
        plain = name in ("Pending", "Cached") or name.upper() == type.value
        if not plain and counts[kind] and (n := codes.count(code)):
            found[kind].append(f"{n:,} {name}")
    return [", ".join(names) for names in found]


def _of_map(map: MapRun, now: float) -> list[str]:
    """Return what is said of a map as a whole: its size, and its rate and time to go, or what it took."""
    total, done = len(map.codes) if map.closed else None, map.done
    ended = map.header.ended_at
    seconds = max(0.0, (now if ended is None else ended) - map.header.created)
    rate = progress.live_rate(map) or (done / seconds if seconds else 0.0)
    size = "map of an unsized input" if total is None else "map of 1 item"
    if total is not None and total != 1:
        size = f"map of {units.count(total)} items"
    if map.finished:
        return [size, f"done in {units.duration(seconds)}", units.rate(rate) if done > 1 else ""]
    share = f" ({100 * done // total} %)" if total else ""
    left = (total - done) / rate if total is not None and rate > 0 else 0.0
    eta = f"ETA {units.clock(left)}" if left >= 1 else ""  # below that it would say 0:00 of a map that stands still
    going = [units.rate(rate), eta] if done else []
    return [size, f"{units.count(done)} ended{share}", *going]


def _wait(map: MapRun) -> str:
    """Return what the map waits for, where that is known."""
    if map.finished:
        return ""
    if map.queue.refused:
        return map.queue.refused
    if map.queue.short:
        return f"waits for a worker with {map.queue.short}"
    return f"waits for a slot of the limit {map.queue.waits_under!r}" if map.queue.waits_under else ""


def _bytes(map: MapRun, released: bool) -> list[str]:
    weight = map.footprint
    told = [("held", weight.held), ("spilled", weight.spilled), ("released", weight.released)]
    found = [f"{units.size(n)} {word}" for word, n in told if n]
    if released or not map.keep:
        found.append("its values were released" if released else "made without values")
    return found


def _retried(map: MapRun) -> str:
    return f"{units.count(map.retried)} with more than one attempt" if map.retried else ""


def _input_error(map: MapRun) -> str:
    if map.error is None:
        return ""
    told = f"the input ended with {type(map.error).__name__}: {markup.first_line(text(map.error))}"
    return markup.line(told, faint=False)


def _failures(groups: Sequence[Failures], failed: int, error_of: Callable[[int], ErrorInfo | None]) -> str:
    """Return a line for each group; it opens to the traceback of its first item."""
    found = []
    for number, one in enumerate(groups[:GROUPS]):
        (line,) = summary.failure_lines((one,))
        error = error_of(one.first) if number < TRACED and one.exact != "rest" else None
        inside = ""
        if error is not None and error.traceback:
            told = f"item {one.first:,}, where it ran:"
            inside = f'<div style="margin:0 0 0 16px">{told}</div>{markup.trace(error.traceback)}'
        found.append(markup.folded(line, inside))
    if len(groups) > GROUPS or sum(one.count for one in groups) < failed:
        rest = failed - sum(one.count for one in groups[:GROUPS])
        found.append(markup.line(f"and {units.count(rest)} more failed items"))
    return "".join(found)
