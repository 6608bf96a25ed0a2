"""What the dispatcher has for a runner: the figure by which an elastic cluster grows and shrinks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anabranch.core.clusters import Demand

if TYPE_CHECKING:
    from anabranch.engine.tables import Tables


def demand_of(tables: Tables, lane: int) -> Demand:
    """Return the work of one lane, ready and under way; what waits for other items is not counted yet."""
    slots = seconds = unseen = 0.0
    for map in tables.maps.values():
        if map.sending.lane != lane:
            continue
        items = map.queue.sent + sum(hi - lo for lo, hi, _ in map.queue.ready)
        wide = items * max(1.0, map.sending.resources.get("cpus", 1.0))
        slots += wide
        each = tables.pace(map).seconds
        if each is None:
            unseen += wide
        else:
            seconds += wide * each
    return Demand(slots, seconds, unseen)
