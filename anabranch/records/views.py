"""The current view of items, from stored blocks and rows together, and the meaning of state filters."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

from anabranch.core.runs import ItemView, ReasonCount
from anabranch.core.states import COMPLETED, NAMES, PENDING, TERMINAL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from anabranch.core.runs import ItemRow
    from anabranch.records.blocks import Pack

OPEN = tuple(code for code, (_, kind) in enumerate(NAMES) if kind not in TERMINAL)
_COMPLETED = bytes((COMPLETED,))
_FINAL = frozenset(range(len(NAMES))) - frozenset(OPEN)


def state_name(code: int, name: str = "") -> str:
    """Return a state's name: its own, else that of its code; an unknown code, of a newer version, as a number."""
    return name or (NAMES[code][0] if 0 <= code < len(NAMES) else f"state {code}")


@dataclass(frozen=True, slots=True)
class StateFilter:
    """A filter by state name; a type's own name (in any case) means all states of that type.

    So "Failed" and "FAILED" find TimedOut as well, as `isinstance(state, Failed)` does. "Retried" finds items with more
    than one attempt, in any state. Any other name finds the states of that name.
    """

    codes: frozenset[int]
    names: frozenset[str]

    @property
    def retried(self) -> bool:
        return "retried" in self.names

    @classmethod
    def of(cls, asked: Iterable[str]) -> StateFilter:
        names = frozenset(name.casefold() for name in asked)
        codes = [c for c, (name, kind) in enumerate(NAMES) if names & {name.casefold(), kind.value.casefold()}]
        return cls(frozenset(codes), names)

    def matches(self, code: int, name: str = "") -> bool:
        """Return whether a state passes; a name of the user's own counts by itself and by its type."""
        if not name or name == state_name(code):
            return code in self.codes
        kind = NAMES[code][1].value.casefold() if 0 <= code < len(NAMES) else ""
        return name.casefold() in self.names or kind in self.names


def current_items(
    low: int, high: int, packs: Sequence[Pack], attempts: Sequence[int], rows: Iterable[ItemRow],
    wanted: StateFilter | None, limit: int,
) -> list[ItemView]:  # fmt: skip
    """Return the items of [low, high), by index, at most `limit`.

    Args:
        packs: blocks that overlap the range, by attempt and then in the order they were written.
        attempts: the packs' attempts.
        rows: rows of the range, by attempt.
        wanted: only items in these states.
    """
    codes = bytearray(high - low)  # Pending: nothing is known
    where = [0] * (high - low)  # an item's position in all packs, one after another
    starts = []
    position = 0
    for pack in packs:
        starts.append(position)
        _lay(pack, position, low, codes, where)
        position += pack.count
    special: dict[int, ItemRow] = {}  # items that a row describes
    named: dict[int, ItemRow] = {}  # items that a block describes and a row names
    for row in rows:
        at = row.index - low
        if codes[at] and at not in special:
            attempt = attempts[bisect_right(starts, where[at]) - 1]
            if attempt > row.attempt or (attempt == row.attempt and row.state in OPEN and codes[at] in _FINAL):
                named[at] = row
                continue
        special[at] = row
        codes[at] = row.state if 0 <= row.state < 256 else PENDING
        named.pop(at, None)
    ends = [list(accumulate(pack.counts)) for pack in packs]  # of segments
    found = []
    for at in _chosen(codes, special, wanted, lambda: _again(codes, special, starts, where, attempts)):
        if (row_ := special.get(at)) is not None:
            found.append(_view_of_row(row_))
        else:
            k = bisect_right(starts, where[at]) - 1
            name = named[at].name if at in named else ""
            found.append(_view_of_pack(low + at, packs[k], ends[k], where[at] - starts[k], attempts[k], name))
        if len(found) == limit:
            break
    return found


def _lay(pack: Pack, position: int, low: int, codes: bytearray, where: list[int]) -> None:
    """Write a pack's codes and positions over those of older packs."""
    high = low + len(codes)
    at = 0
    for first, count in zip(pack.firsts, pack.counts, strict=True):
        a, b = max(first, low), min(first + count, high)
        if a < b:
            skip = at + a - first
            piece = _COMPLETED * (b - a) if pack.codes is None else pack.codes[skip : skip + b - a]
            if PENDING in piece:
                for n, code in enumerate(piece):
                    if code != PENDING:
                        codes[a - low + n] = code
                        where[a - low + n] = position + skip + n
            else:
                codes[a - low : b - low] = piece
                where[a - low : b - low] = range(position + skip, position + skip + b - a)
        at += count


def _chosen(
    codes: bytearray, special: dict[int, ItemRow], wanted: StateFilter | None, again: Callable[[], Iterable[int]]
) -> Iterable[int]:
    if wanted is None:
        if PENDING not in codes:
            return range(len(codes))
        return (at for at, code in enumerate(codes) if code or at in special)
    hits = codes.translate(bytes(c in wanted.codes for c in range(256)))
    for at, row in special.items():
        hits[at] = wanted.matches(row.state, row.state_name)
    if wanted.retried:
        for at in again():
            hits[at] = True
    return (at for at, hit in enumerate(hits) if hit) if 1 in hits else ()


def _again(
    codes: bytearray, special: dict[int, ItemRow], starts: list[int], where: list[int], attempts: Sequence[int]
) -> Iterator[int]:
    """Return the items with more than one attempt."""
    yield from (at for at, row in special.items() if row.attempt > 1)
    if attempts and max(attempts) > 1:
        for at, code in enumerate(codes):
            if code and at not in special and attempts[bisect_right(starts, where[at]) - 1] > 1:
                yield at


def _view_of_row(row: ItemRow) -> ItemView:
    took = None if row.started is None or row.ended is None else max(0.0, row.ended - row.started)
    return ItemView(
        row.index, state_name(row.state, row.state_name), row.attempt, row.started, took, row.worker, row.message,
        row.error_type, row.error_text, row.name,
    )  # fmt: skip


def _view_of_pack(index: int, pack: Pack, ends: list[int], at: int, attempt: int, name: str) -> ItemView:
    segment = bisect_right(ends, at)
    started = duration = None
    if pack.started:
        started = pack.base + (pack.offsets[segment] + pack.started[at]) / 1e6
    if pack.durations and pack.durations[at] >= 0:
        duration = pack.durations[at] / 1e6
    code = COMPLETED if pack.codes is None else pack.codes[at]
    return ItemView(index, state_name(code), attempt, started, duration, pack.workers[pack.who[segment]], name=name)


Later = tuple[int, "Pack"]  # an attempt after the first, and its block
Left = tuple[int, int, int, str]  # an attempt that left the happy path: index, attempt, state, reason


def last_left(rows: Sequence[Left], later: Sequence[Later]) -> Iterator[tuple[int, str, list[int], set[int]]]:
    """Group items by the last attempt that left the happy path, and find those that completed after it.

    Args:
        rows: by attempt.
        later: blocks of attempts after the first.

    Yields:
        State and reason of a group, its items by index, and those that a later attempt completed.
    """
    last = {row[0]: row for row in rows if row[2] != COMPLETED}  # a comprehension for speed: there may be a million
    done = {row[0] for row in rows if row[2] == COMPLETED}
    groups: dict[tuple[int, int, str], list[int]] = {}
    for index, attempt, state, reason in last.values():
        key = (attempt, state, reason)
        if key in groups:
            groups[key].append(index)
        else:
            groups[key] = [index]
    for (attempt, state, reason), indexes in groups.items():
        indexes.sort()
        yield state, reason, indexes, done.intersection(indexes) | overruled(indexes, attempt, later)


def overruled(indexes: Sequence[int], attempt: int, later: Iterable[Later]) -> set[int]:
    """Return those of these items (sorted) for which a block has a later attempt than this one."""
    return {index for number, pack in later if number > attempt for index in pack.among(indexes)}


def counted(map: str, rows: Sequence[Left], later: Sequence[Later]) -> list[ReasonCount]:
    """Return items of a map that left the happy path, in groups of one reason and state."""
    found: dict[tuple[str, int, bool], tuple[int, int]] = {}
    for state, reason, indexes, overcome in last_left(rows, later):
        if len(overcome) < len(indexes):
            first = next(index for index in indexes if index not in overcome)
            _add(found, (reason, state, False), len(indexes) - len(overcome), first)
        if overcome:
            _add(found, (reason, state, True), len(overcome), min(overcome))
    return [ReasonCount(map, *key, count, first) for key, (count, first) in found.items()]


def _add(found: dict[tuple[str, int, bool], tuple[int, int]], key: tuple[str, int, bool], more: int, at: int) -> None:
    count, first = found.get(key, (0, at))
    found[key] = (count + more, min(first, at))


def summed(groups: Iterable[tuple[str, str, str, int, int]]) -> list[tuple[str, str, int, int]]:
    """Merge groups of failures (task, error type, message, number, lowest index) over their messages."""
    found: dict[tuple[str, str], tuple[int, int]] = {}
    for task, kind, _, times, first in groups:
        before, lowest = found.get((task, kind), (0, first))
        found[task, kind] = (before + times, min(first, lowest))
    return [(*key, *counted) for key, counted in sorted(found.items(), key=lambda entry: (-entry[1][0], entry[0]))]


# Stored items of [low, high): packs with attempts, in which later ones overrule earlier ones; rows by attempt.
Stored = tuple[list["Pack"], list[int], list["ItemRow"]]
_SCAN = 65_536


def page(
    first: int, limit: int, asked: Sequence[str] | None,
    next_index: Callable[[int], int | None], stored: Callable[[int, int], Stored],
) -> list[ItemView]:  # fmt: skip
    """Return at most `limit` items from `first` on, by index, in the wanted states (None: any).

    `next_index` returns the index at which the next block or row begins, from an index on.
    """
    wanted = None if asked is None else StateFilter.of(asked)
    width = _SCAN if wanted is not None else min(_SCAN, max(limit, 1024))
    found: list[ItemView] = []
    low: int | None = max(first, 0)
    while low is not None and len(found) < limit:
        high = low + width
        packs, attempts, rows = stored(low, high)
        found += current_items(low, high, packs, attempts, rows, wanted, limit - len(found))
        nexts = [next_index(high), *(pack.next_index(high) for pack in packs)]
        low = min((index for index in nexts if index is not None), default=None)
    return found
