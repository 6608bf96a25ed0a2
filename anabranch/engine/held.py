"""The readers that may still ask for the values of a map, as the ledger counts them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from anabranch.core.maps import MapRun


class Held(NamedTuple):
    """A map with values that take memory, and its readers.

    Attributes:
        nbytes: of the values that are held.
        by_list: the list that `map` returned is there.
        items: how many items have a future of their own.
        readers: names of the maps and runs that have not ended and read it.
        streamed: a `.results()` iterator is open.
    """

    map: MapRun
    nbytes: int
    by_list: bool
    items: int
    readers: tuple[str, ...]
    streamed: bool


def held(maps: Iterable[MapRun]) -> list[Held]:
    """Return the maps with values in memory or on its overflow, the largest first."""
    found = [held_of(map) for map in maps if map.footprint.held > 0]
    return sorted(found, key=lambda one: -one.nbytes)


def held_of(map: MapRun) -> Held:
    """Return what one map holds, and for which readers."""
    readers = map.consumers
    names = {reader.spec.name for reader in readers.maps if not reader.finished}
    names.update(reader.spec.name for reader, at in readers.lists if not _ended(reader, at))
    for singly in readers.items.values():
        names.update(reader.spec.name for reader, at in singly if not _ended(reader, at))
    return Held(
        map, map.footprint.held, readers.list_refs > 0, len(readers.future_refs), tuple(sorted(names)),
        readers.stream is not None,
    )  # fmt: skip


def _ended(reader: MapRun, at: int | None) -> bool:
    return reader.finished if at is None or at < 0 else reader.is_terminal(at)
