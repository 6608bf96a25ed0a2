"""`anabranch.running`: the maps under way outside of flows, also those without a list."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anabranch import session as sessions
from anabranch.core.future_lists import FutureList

if TYPE_CHECKING:
    from anabranch.core.maps import MapRun
    from anabranch.engine.tables import Tables


def running(*, held: bool | None = None) -> list[FutureList[Any]]:
    """Return the maps of this program that have not ended and belong to no flow run, in the order they were made.

    The lists are for looking, waiting and cancelling: values belong to the list that `map` returned, and asking these
    for values raises ResultReleased.

    Args:
        held: False gives only maps with lists that are gone, True only the others.
    """
    session = sessions.current()
    found = session.pump.inspect(_under_way, session.pump.dispatcher.tables, held)
    return [_seen(map) for map in found]


def _under_way(tables: Tables, held: bool | None) -> list[MapRun]:
    maps = [m for m in tables.maps.values() if m.kind == "map" and not m.finished and not m.header.flow_run_id]
    return [map for map in maps if held is None or map.unheld is not held]


def _seen(map: MapRun) -> FutureList[Any]:
    futures: FutureList[Any] = FutureList(map)
    futures._released = True  # it never held the values, so it has none to let go of
    return futures
