"""The end of an interrupted wait: cancels the awaited runs and the runs that only these read.

a --> b --> c   c is awaited: all three.      a --> b, a --> d   b is awaited: b alone, because d reads a too
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from anabranch.engine.fusing import materialize

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Sequence

    from anabranch.core.maps import MapRun
    from anabranch.engine.board import Board

Wanted = tuple["MapRun", "int | None"]  # an item, or a whole map


def give_up(board: Board, wanted: Iterable[Wanted], among: Sequence[MapRun], by: str) -> None:
    """Cancel these runs and, of the runs `among`, those that no other run reads."""
    for map in among:
        materialize(board.ledger, map)
    chosen = {_unit(map, index): None for map, index in wanted}
    while more := [unit for unit in _read(among) if unit not in chosen and _only_by(chosen, *unit)]:
        chosen |= dict.fromkeys(more)
    for map, index in chosen:  # readers first, so that none fails for a cancelled input
        if index is None:
            board.cancelling.cancel_map(map, by=by)
        else:
            board.cancelling.cancel_items(map, (index,), by=by)


def _unit(map: MapRun, index: int | None) -> Wanted:
    """Return the unit to cancel: a whole map, or a single run of a series."""
    return map, None if map.kind == "map" else index


def _read(among: Sequence[MapRun]) -> Iterator[Wanted]:
    """Yield runs that have readers and have not ended."""
    for map in among:
        if map.kind == "map":
            if not map.finished and (map.consumers.maps or map.consumers.items or map.consumers.lists):
                yield map, None
        else:
            yield from ((map, index) for index in map.consumers.items if not map.is_terminal(index))


def _only_by(chosen: Container[Wanted], map: MapRun, index: int | None) -> bool:
    """Return whether all remaining readers were chosen."""
    readers: list[Wanted] = []
    if index is not None:
        readers += map.consumers.items[index]
    else:
        readers += [(consumer, None) for consumer in map.consumers.maps]
        readers += map.consumers.lists
        readers += [one for found in map.consumers.items.values() for one in found]
    left = [_unit(reader, at) for reader, at in readers if not _ended(reader, at)]
    return bool(left) and all(unit in chosen for unit in left)


def _ended(map: MapRun, index: int | None) -> bool:
    return map.finished if index is None or index < 0 else map.is_terminal(index)
