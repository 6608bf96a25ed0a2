"""Items, maps and runs that belong together are cancelled; see `board.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from anabranch.core import states
from anabranch.core.instructions import CancelChunk, Pull, Shorten
from anabranch.engine import causes
from anabranch.engine.ranges import in_ranges

if TYPE_CHECKING:
    from collections.abc import Container, Sequence

    from anabranch.core.maps import MapRun
    from anabranch.core.reasons import Reason
    from anabranch.core.reports import ErrorInfo
    from anabranch.engine.lanes import Flight
    from anabranch.engine.tables import Tables


class Ends(Protocol):
    """The contract of the board."""

    def end_items(
        self, map: MapRun, items: Sequence[int], code: int, message: str = "", error: ErrorInfo | None = None,
        reason: Reason | None = None,
    ) -> None: ...  # fmt: skip
    def close_map(self, map: MapRun) -> None: ...
    def check_finished(self, map: MapRun) -> None: ...


class Cancelling:
    """Cancels items and maps.

    Attributes:
        maps: maps that are being cancelled together: an item of one does not fail for another's cancel.
        by: the word for the canceller.
    """

    def __init__(self, tables: Tables, board: Ends) -> None:
        self._tables = tables
        self._board = board
        self.maps: set[MapRun] = set()
        self.by = "user"

    def cancel_items(self, map: MapRun, indices: Sequence[int], *, force: bool = True, by: str = "user") -> None:
        """Cancel items: those not started never start; running ones are stopped where that is possible."""
        wanted = [i for i in indices if not map.is_terminal(i)]
        if not wanted:
            return
        chosen = set(wanted)
        for chunk_id in list(map.queue.running):
            sent = self._tables.sent[chunk_id]
            for stage, (stage_map, items) in enumerate(zip(sent.maps, sent.items, strict=True)):
                positions = [p for p, i in enumerate(items) if i in chosen] if stage_map is map else []
                if positions:
                    self._cancel_in(sent, stage, positions, chosen, force=force)
        if by == "walltime" and self._tables.walltime is not None:
            for index, end in list(self._tables.walltime.interrupted(map)):
                self._board.end_items(map, (index,), states.CANCELLED, *end)
        self._board.end_items(map, wanted, states.CANCELLED, "cancelled", reason=causes.of_cancel(by))

    def _cancel_in(self, sent: Flight, stage: int, positions: list[int], chosen: set[int], *, force: bool) -> None:
        """Cancel positions of a chunk, for the sake of one stage's items.

        What travels ahead of them goes on: where it has not begun, it comes back and is sent without them.
        """
        sent.dirty = True
        behind = {p for p in positions if stage and _goes_on(sent, stage, p, chosen)}
        alone = tuple(p for p in positions if p not in behind)
        if alone:
            stops = force and sent.lane.capabilities.stops_items
            self._tables.out.append(CancelChunk(sent.lane.index, sent.chunk.id, alone, stops))
        if behind:
            self._tables.out.append(Shorten(sent.lane.index, sent.chunk.id, 0))

    def unsent(self, map: MapRun, indices: Sequence[int]) -> set[int]:
        """Return those of these items that no worker has got."""
        return in_ranges(map.queue.ready, min(indices), max(indices) + 1).intersection(indices)

    def withdraw(self, map: MapRun, indices: Sequence[int], *, by: str = "user") -> set[int]:
        """Cancel those of these items that no worker has got, and return them; the others go on."""
        found = self.unsent(map, indices)
        if found:
            self._board.end_items(map, sorted(found), states.CANCELLED, "cancelled", reason=causes.of_cancel(by))
        return found

    def cancel_map(self, map: MapRun, *, unpulled_only: bool = False, by: str = "user") -> None:
        """Cancel the rest of a map; with `unpulled_only` just the elements that were not taken from its iterator."""
        if not map.closed:
            self._board.close_map(map)
            if map.inputs.source is not None and not map.inputs.source.random_access:
                self._tables.out.append(Pull(map, 0))  # lets go of the iterator
        if unpulled_only:
            return
        map.queue.cancelled = by
        self.cancel_items(map, range(len(map.codes)), by=by)
        self._board.check_finished(map)

    def cancel_together(
        self, maps: Sequence[MapRun], by: str = "user", spared: Container[tuple[str, int]] = ()
    ) -> None:
        """Cancel several maps that may wait for each other, so that no item fails for another's cancel.

        Args:
            spared: series and items of submitted flows that have decided their final state.
        """
        before = self.maps, self.by
        self.maps, self.by = before[0].union(maps), by
        try:
            for map in maps:
                if map.kind == "map":
                    self.cancel_map(map, by=by)
                else:
                    self.cancel_items(map, [i for i in range(len(map.codes)) if (map.id, i) not in spared], by=by)
        finally:
            self.maps, self.by = before

    def cancel_children(self, map: MapRun, items: Sequence[int]) -> None:
        """Cancel the runs that these runs have submitted: their futures are gone, so they cannot be read any more."""
        if not self._tables.nested:
            return
        found = [child for i in items for child in self._tables.nested.get(f"{map.id}/{i}", ()) if not child.finished]
        if found:
            self.cancel_together(found, "parent")


def _goes_on(sent: Flight, stage: int, position: int, chosen: set[int]) -> bool:
    """Return whether an item of an earlier stage has not ended, and is not among those cancelled now."""
    map = sent.maps[stage]
    earlier = zip(sent.maps[:stage], sent.items[:stage], strict=True)
    return any(
        not one.is_terminal(items[position]) and not (one is map and items[position] in chosen)
        for one, items in earlier
    )
