"""How a map stands, as workers are told of it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from anabranch.core.nested import SLICE, MapNews

if TYPE_CHECKING:
    from anabranch.core.maps import MapRun
    from anabranch.core.reports import ErrorInfo
    from anabranch.driver.pump import Pump


def news_of(pump: Pump, map: MapRun, index: int | None) -> MapNews:
    """How a map stands: the items from this one on, or all."""
    return news(pump, map, 0, len(map.codes)) if index is None else news(pump, map, index, index + SLICE)


def news(pump: Pump, map: MapRun, lo: int, hi: int) -> MapNews:
    """How a map stands, with its items from `lo` to before `hi`."""
    found: MapNews = pump.inspect(_look, map, lo, hi)
    return found


def has_ended(map: MapRun, index: int | None) -> bool:
    """Whether an item has ended, or will never exist; None: whether the map has."""
    return map.finished if index is None else map.is_terminal(index) or (map.closed and index >= len(map.codes))

def _look(map: MapRun, lo: int, hi: int) -> MapNews:
    hi = min(hi, len(map.codes))

    def part(found: dict[int, Any]) -> dict[int, Any]:
        if len(found) < hi - lo:
            return {i: one for i, one in found.items() if lo <= i < hi}
        return {i: found[i] for i in range(lo, hi) if i in found}

    errors = {i: _portable(info) for i, info in part(map.errors).items()}
    return MapNews(
        len(map.codes), map.done, map.closed, lo, bytes(map.codes[lo:hi]), errors, part(map.messages),
        part(map.state_names), part(map.attempts), map.error,
    )  # fmt: skip


def _portable(info: ErrorInfo) -> ErrorInfo:
    """The object that `rebuild` made of it may be one that does not pickle."""
    return info if info.pickled is None else replace(info, exception=None)
