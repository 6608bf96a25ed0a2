"""Tasks as workers have them: an outdated version is dropped with the last map that may run it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anabranch.core.instructions import Drop

if TYPE_CHECKING:
    from anabranch.core.maps import MapRun
    from anabranch.engine.tables import Tables


class Specs:
    """The shared ids of tasks.

    Attributes:
        uses: maps that may still run a task, by its shared id.
        outdated: ids of tasks that have changed since they were sent.
        unsendable: shared values that cannot be pickled, and why.
    """

    __slots__ = ("_tables", "outdated", "unsendable", "uses")

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self.uses: dict[int, int] = {}
        self.outdated: set[int] = set()
        self.unsendable: dict[int, str] = {}

    def use(self, ref: int) -> None:
        """Note that a map is about to come that runs the task under this id."""
        self.uses[ref] = self.uses.get(ref, 0) + 1

    def renew(self, lane: int, before: int, ref: int) -> None:
        """Give a changed task another id for coming maps; the learnt cost of its items is kept."""
        self.outdated.add(before)
        paces = self._tables.paces
        if before in paces:
            paces[ref] = paces[before]
        self._drop(lane, before)

    def drop_shared(self, map: MapRun) -> None:
        """Drop the shared values of a map that is not needed any more."""
        refs = tuple(r for r in (map.sending.stage_ref, map.sending.pipe_ref, map.inputs.constants_ref) if r)
        if refs:
            self._tables.out.append(Drop(map.sending.lane, refs))
        if map.sending.spec_ref in self.uses:
            self.uses[map.sending.spec_ref] -= 1
            self._drop(map.sending.lane, map.sending.spec_ref)

    def _drop(self, lane: int, ref: int) -> None:
        if ref in self.outdated and not self.uses.get(ref):
            self.outdated.discard(ref)
            for known in (self.uses, self._tables.paces, self.unsendable):
                known.pop(ref, None)
            self._tables.out.append(Drop(lane, (ref,)))
