"""A wait was interrupted: what was waited for is given up, and what only that was to read.

    a --> b --> c   c is waited for: all three.      a --> b, a --> d   b is waited for: b alone, for d reads a too
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from anabranch.engine.fusing import spell_out

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Sequence

    from anabranch.core.maps import MapRun
    from anabranch.engine.board import Board

Wanted = tuple["MapRun", "int | None"]  # an item, or a whole map


def give_up(board: Board, wanted: Iterable[Wanted], among: Sequence[MapRun], by: str) -> None:
    """Cancel these and, of the maps and single runs `among` which are others, those that nobody else reads."""
    for map in among:
        spell_out(board.ledger, map)
    chosen = {_unit(map, index): None for map, index in wanted}
    while more := [unit for unit in _read(among) if unit not in chosen and _only_by(chosen, *unit)]:
        chosen |= dict.fromkeys(more)
    for map, index in chosen:  # readers first: nothing is to fail for what it read
        if index is None:
            board.cancel_map(map, by=by)
        else:
            board.cancel_items(map, (index,), by=by)


def _unit(map: MapRun, index: int | None) -> Wanted:
    """Items of a map go together; single runs of a task have nothing to do with each other."""
    return map, None if map.kind == "map" else index


def _read(among: Sequence[MapRun]) -> Iterator[Wanted]:
    """Whatever has readers and has not ended."""
    for map in among:
        if map.kind == "map":
            if not map.finished and (map.map_consumers or map.item_consumers or map.list_consumers):
                yield map, None
        else:
            yield from ((map, index) for index in map.item_consumers if not map.is_terminal(index))


def _only_by(chosen: Container[Wanted], map: MapRun, index: int | None) -> bool:
    """Whether all that is still to read it was chosen."""
    readers: list[Wanted] = []
    if index is not None:
        readers += map.item_consumers[index]
    else:
        readers += [(consumer, None) for consumer in map.map_consumers]
        readers += map.list_consumers
        readers += [one for found in map.item_consumers.values() for one in found]
    left = [_unit(reader, at) for reader, at in readers if not _ended(reader, at)]
    return bool(left) and all(unit in chosen for unit in left)


def _ended(map: MapRun, index: int | None) -> bool:
    return map.finished if index is None or index < 0 else map.is_terminal(index)
