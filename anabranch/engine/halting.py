"""Flow runs that are told to end: nothing of them begins any more, what runs goes on to its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anabranch.core.events import Shorten

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from anabranch.core.maps import MapRun
    from anabranch.engine.tables import Tables


class Halts:
    """Halts flow runs, and tells when nothing of them runs; `enqueue`, `pull` and sending pass over `tables.halted`."""

    __slots__ = ("_tables", "_waiting")

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._waiting: list[Callable[[], None]] = []

    def halt(self, flow_runs: Iterable[str], call: Callable[[], None]) -> None:
        """Begin nothing more of these flow runs; `call` once nothing of them runs that can get on."""
        tables = self._tables
        fresh = set(flow_runs) - tables.halted
        tables.halted |= fresh
        for sent in tables.sent.values():
            if sent.maps[0].flow_run_id in fresh:
                tables.out.append(Shorten(sent.lane.index, sent.chunk.id, 0))
        self._waiting.append(call)
        self.look()

    def forget(self, maps: Sequence[MapRun]) -> None:
        """The flow runs of these maps have ended."""
        self._tables.halted.difference_update(map.flow_run_id for map in maps)

    def look(self) -> None:
        """A task that waits for others waits in vain: what has not begun never will."""
        if not self._waiting:
            return
        tables = self._tables
        if not any(s.maps[0].flow_run_id in tables.halted and not s.waiting for s in tables.sent.values()):
            tables.wake += self._waiting
            self._waiting.clear()
