"""Flow runs that are told to end: no item of theirs begins any more, running items go on to their end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anabranch.core.instructions import Shorten

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from anabranch.core.maps import MapRun
    from anabranch.engine.tables import Tables


class Halts:
    """Halts flow runs and calls back when none of their items runs; sending and pulling skip `tables.halted`."""

    __slots__ = ("_tables", "_waiting")

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._waiting: list[Callable[[], None]] = []

    def halt(self, flow_runs: Iterable[str], call: Callable[[], None]) -> None:
        """Begin no more items of these flow runs; call `call` once no running item of theirs can proceed."""
        tables = self._tables
        fresh = set(flow_runs) - tables.halted
        tables.halted |= fresh
        for sent in tables.sent.values():
            if sent.maps[0].header.flow_run_id in fresh:
                tables.out.append(Shorten(sent.lane.index, sent.chunk.id, 0))
        self._waiting.append(call)
        self.look()

    def forget(self, maps: Sequence[MapRun]) -> None:
        """Forget the flow runs of these maps, which have ended."""
        self._tables.halted.difference_update(map.header.flow_run_id for map in maps)

    def look(self) -> None:
        """Call back if only tasks that wait for others run: they wait in vain, because the others never begin."""
        if not self._waiting:
            return
        tables = self._tables
        if not any(s.maps[0].header.flow_run_id in tables.halted and not s.waiting for s in tables.sent.values()):
            tables.wake += self._waiting
            self._waiting.clear()
