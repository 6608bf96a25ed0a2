"""The dispatcher: events in, instructions out; no I/O, no threads, no clock of its own.

    intake   open_map, append_item, pulled   --+                               +-- reports   take_in
    calls    began, ended                    --+--> board (ready, ended) <-----+-- losses    chunk_lost
    readers  list_gone, wait_for             --+      |                        +-- timeouts, remakes
                                                      v
                                           sending --> take() --> [Send, Free, Rows, Wake, ...]

Its unit is the chunk and the index range; single items appear only in sparse sets. Called by
the pump alone, under its lock, so nothing here waits or locks. An event is a method of one of the parts; they share
`tables`, and each keeps its own state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from anabranch.core import states
from anabranch.core.counts import Counts
from anabranch.core.instructions import Rows, Wake, WantSlots
from anabranch.engine.board import Board
from anabranch.engine.calls import Calls
from anabranch.engine.capacity import Capacity
from anabranch.engine.flights import Flights
from anabranch.engine.halting import Halts
from anabranch.engine.intake import Intake
from anabranch.engine.losses import Losses
from anabranch.engine.readers import Readers
from anabranch.engine.recipes import Recipes
from anabranch.engine.remakes import Remakes
from anabranch.engine.reports import Reports
from anabranch.engine.rows import map_row
from anabranch.engine.sending import Sending
from anabranch.engine.specs import Specs
from anabranch.engine.tables import Tables
from anabranch.engine.timeouts import Timeouts
from anabranch.engine.timers import Timers
from anabranch.engine.values import Values
from anabranch.engine.walltime import Walltime
from anabranch.engine.windows import Windows

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Collection, Mapping, Sequence

    from anabranch.core.instructions import Instruction
    from anabranch.core.maps import MapRun
    from anabranch.engine.limits import Look
    from anabranch.engine.walltime import Span


class Dispatcher:
    """Puts the parts together, and completes each event."""

    def __init__(self, *, rng: random.Random | None = None) -> None:
        self.tables = tables = Tables()
        self.timers = Timers(tables)
        self.windows = Windows(tables)
        self.values = Values(tables)
        self.capacity = Capacity(tables)
        self.specs = Specs(tables)
        self.halts = Halts(tables)
        self.board = board = Board(tables, self.timers, self.windows, self.values, Recipes(tables))
        self.cancelling = board.cancelling
        self.intake = Intake(board, self.capacity, self.specs)
        self.calls = Calls(board)
        self.readers = Readers(board, self.intake)
        self.sending = Sending(board)
        flights = Flights(board, self.specs, self.halts)
        self.reports = Reports(board, flights, self.halts)
        self.losses = Losses(board, flights)
        self.timeouts = Timeouts(board, rng)
        self.remakes = Remakes(board)

    # -- time ------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Set the time to `now` (monotonic seconds): delayed items that are due become ready."""
        self.tables.now = now
        if self.capacity.waiting.due:
            for map, at in self.capacity.waiting.over(now):
                self._never_fits(map, at)
        if self.timers.due:
            for map, index in self.timers.over(now):
                self.board.come_back(map, index)

    def next_due(self) -> float | None:
        """Return the next moment at which `tick` has something to do, None where there is none; asked at each step."""
        timers, waiting, walltime = self.timers.due, self.capacity.waiting.due, self.tables.walltime
        if walltime is None and not waiting:
            return timers[0][0] if timers else None
        found = [due[0][0] for due in (timers, waiting) if due]
        if walltime is not None and (end := walltime.next_due()) is not None:
            found.append(end)
        return min(found, default=None)

    def know_end(self, span: Span) -> None:
        """Begin nothing that cannot end within the time that there is."""
        self.tables.walltime = Walltime(self.tables, span)

    def _never_fits(self, map: MapRun, index: int | None) -> None:
        message, error, why = self.capacity.refusal(map)
        if index is None and map.kind == "map" and not map.closed:
            self.board.cancelling.cancel_map(map, unpulled_only=True)
        items = range(len(map.codes)) if index is None else (index,)
        self.board.end_items(map, items, states.FAILED, message, error, why)

    # -- limits ----------------------------------------------------------------------------------

    def set_limit(self, name: str, places: int | None) -> None:
        """Change a concurrency limit; see `engine.limits`."""
        for map in self.tables.limits.set(name, places):
            self.tables.enqueue(map)

    def apply_limits(self, slots: Collection[str], rates: Collection[str]) -> None:
        """Set the limits of the record that hold from now on, also for open maps."""
        woken = self.tables.limits.apply(slots, rates)
        for map in self.tables.maps.values():
            map.sending.limits = self.tables.limits.names(map)
        for map in woken:
            self.tables.enqueue(map)

    def look_at_limits(self) -> Look:
        return self.tables.limits.look(self.tables.lanes)

    def open_limits(self, places: Mapping[str, int], starts: Mapping[str, int]) -> None:
        """Set how many places and starts the program has under limits of the record."""
        for map in self.tables.limits.open(places, starts):
            self.tables.enqueue(map)

    # -- the end of a flow run -------------------------------------------------------------------

    def forget_maps(self, maps: Sequence[MapRun]) -> None:
        """Forget the maps of an ended flow run, and drop their shared values on workers."""
        for map in maps:
            self.tables.maps.pop(map.id, None)
            self.tables.nested.pop(map.header.parent_id, None)
            self.board.turned_away.pop(map.id, None)
            map.header.forgotten, map.inputs.call = True, None
            if map.queue.short:
                self.capacity.waiting.forget(map)
            if not map.queue.running:  # else the end of its last chunk drops them
                self.specs.drop_shared(map)
            if map.kind != "call":
                map.header.slots = max(map.header.slots, self.tables.lanes[map.sending.lane].slots)
            ended = map.header.ended_by(self.tables.now) if map.kind != "map" else map.header.ended_at
            self.tables.rows.append(map_row(map, len(map.codes), ended, Counts(map.codes).as_dict()))
            self.tables.rows += map.header.reads.rows(map.id)
        self.halts.forget(maps)
        if self.tables.walltime is not None:
            self.tables.walltime.forget(maps)

    # -- the end of an event ---------------------------------------------------------------------

    def take(self) -> list[Instruction]:
        """Return the instructions of the events so far, in the order to carry them out."""
        tables = self.tables
        if tables.dirty_lanes:
            self.sending.schedule()
        self.values.relieve()
        if tables.ledger.freed:
            self.values.free()
        if tables.walltime is not None:
            tables.walltime.look(self.timers.next_due())
        if tables.rows:
            tables.out.append(Rows(tables.rows))
            tables.rows = []
        if tables.wake:
            tables.out.append(Wake(tables.wake))
            tables.wake = []
        if tables.limits.stirred:
            tables.limits.stirred = False
            tables.out.append(WantSlots())
        out, tables.out = tables.out, []
        return out


# Moves of streams, by the names that futures use.
STREAM_MOVES: dict[str, Callable[[Dispatcher], Callable[..., None]]] = {
    "stream_opened": lambda dispatcher: dispatcher.readers.stream_opened,
    "stream_advanced": lambda dispatcher: dispatcher.readers.stream_advanced,
    "give_away": lambda dispatcher: dispatcher.readers.give_away,
    "taken": lambda dispatcher: dispatcher.readers.taken,
    "seal": lambda dispatcher: dispatcher.windows.seal,
}
