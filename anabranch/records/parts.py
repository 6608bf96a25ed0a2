"""Long lists of a server's record, read in parts: no answer has more than `calls.MOST` rows."""

from __future__ import annotations

from itertools import takewhile
from typing import TYPE_CHECKING, Any, TypeVar

from anabranch.records.calls import MOST

if TYPE_CHECKING:
    from collections.abc import Callable

    from anabranch.core.runs import ItemView

Row = TypeVar("Row")


def newest_first(ask: Callable[..., list[Row]], limit: int, when: Callable[[Row], float]) -> list[Row]:
    """Return up to `limit` rows, newest first.

    Each part goes on at the time of the last row, without those of that time that are read already. A row that comes
    meanwhile with another time moves no part.

    Args:
        ask: returns a part, newest first; takes its limit, and `until` and `skip`.
    """
    found: list[Row] = []
    go_on: dict[str, Any] = {}
    while True:
        wanted = min(limit - len(found), MOST)
        part = ask(limit=wanted, **go_on)
        found += part
        if len(part) < wanted or len(found) >= limit:
            return found
        until = when(found[-1])
        go_on = {"until": until, "skip": _at_end(found, when, until)}


def _at_end(found: list[Row], when: Callable[[Row], float], time: float) -> int:
    """Return how many of the last rows are of a time."""
    return sum(1 for _ in takewhile(lambda row: when(row) == time, reversed(found)))


def by_index(ask: Callable[..., list[ItemView]], first: int, limit: int) -> list[ItemView]:
    """Return up to `limit` items from an index on. `ask` returns a part; takes its `first` and limit."""
    found: list[ItemView] = []
    while True:
        wanted = min(limit - len(found), MOST)
        part = ask(first=first, limit=wanted)
        found += part
        if len(part) < wanted or len(found) >= limit:
            return found
        first = part[-1].index + 1
