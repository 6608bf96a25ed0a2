"""How the runs of a scope come to their end: waited for, given up, and which of them failed with nobody looking."""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING, Any

from anabranch.core import context, states
from anabranch.engine.giving_up import give_up

if TYPE_CHECKING:
    from collections.abc import Iterable

    from anabranch.core.carried import Contexts
    from anabranch.core.context import FlowContext
    from anabranch.core.maps import MapRun
    from anabranch.driver.pump import Pump


class Ends:
    """The part of a scope that ends."""

    pump: Pump
    closed: bool
    flow: FlowContext | None
    contexts: Contexts | None
    flow_run_id: str
    maps: list[MapRun]
    left: list[MapRun]
    called_flows: int
    children: list[Any]
    submitted: dict[tuple[str, int], Any]
    streams: list[Any]

    def wait(self, map: MapRun, index: int | None, timeout: float | None) -> bool:
        raise NotImplementedError

    def close(self) -> None:
        """No more runs here; finished maps are forgotten by the dispatcher."""
        self.closed = True
        self.flow = None
        if self.contexts is not None:
            self.contexts.clear(self.maps)
        self.pump.dispatch(self.pump.dispatcher.forget_maps, list(self.maps))
        self.pump.flush()  # what it tells the record of them comes before the run's own end there

    def unfinished(self) -> list[MapRun]:
        return [m for m in self.maps if m.done < len(m.codes) or (m.kind == "map" and not m.closed)]

    def wait_all(self, timeout: float | None = None) -> bool:
        """Wait for everything submitted here."""
        while True:
            open_maps = self.pump.inspect(self.unfinished)
            if not open_maps:
                return True
            for map in open_maps:
                last = None if map.kind == "map" else self.pump.inspect(_first_unfinished, map)
                if map.kind != "map" and last is None:
                    continue
                if not self.wait(map, last, timeout):
                    return False

    def cancel_all(self, *, expected: bool = False, by: str = "flow-end") -> None:
        """Give up what has not ended; `expected`: as the flow says it should end, so nobody calls it a failure."""
        for child in tuple(self.children):
            child.cancel(by)
        decided = {key for key, flow in tuple(self.submitted.items()) if not flow.cancel(by)}
        maps = self.pump.inspect(self.unfinished)
        left = [(m, [i for i in range(len(m.codes)) if not m.is_terminal(i)]) for m in maps] if expected else []
        self.pump.dispatch(self.pump.dispatcher.board.cancel_together, maps, by, decided)
        for map, items in left:
            for index in items:
                map.handle(index)

    def interrupted(self, what: Iterable[tuple[MapRun, int | None]]) -> None:
        """Ctrl-C outside of flows: give up what is waited for, and what that alone waits for; what has ended stays."""
        if self.flow_run_id or context.task_around() is not None:  # flows end in their own way, and their tasks
            return
        wanted = list(what)
        for map, index in wanted:
            flow = self.submitted.get((map.id, index)) if index is not None else None
            if flow is not None:
                flow.cancel("ctrl-c")
        self.pump.dispatch(give_up, self.pump.dispatcher.board, wanted, self.unfinished(), "ctrl-c")

    def wait_cancelled(self, timeout: float) -> None:
        """Wait for submitted flows that were cancelled: their functions may be at work still, and record their end."""
        until = time.monotonic() + timeout
        for flow in tuple(self.submitted.values()):
            if flow.exists:
                flow.over.wait(max(0.0, until - time.monotonic()))

    def leave_streams(self) -> None:
        """Calls of generator tasks whose items nobody reads just now have ended, as far as this flow run goes."""
        for call in tuple(self.streams):
            call.left_open()

    def stop_pulling(self) -> None:
        """Take no more from iterators: their reader is gone, and they may be endless."""
        for map in self.pump.inspect(self.unfinished):
            if map.source is not None and not map.closed:
                self.pump.dispatch(functools.partial(self.pump.dispatcher.board.cancel_map, map, unpulled_only=True))

    def unhandled(self) -> tuple[int, int, Any]:
        """(unhandled failures, all runs, the first (map, index))."""
        total = self.called_flows
        bad = 0
        first = None
        for map in (*self.maps, *self.left):
            total += len(map.codes)
            for index in map.failures():
                if index not in map.handled:
                    bad += 1
                    first = first or (map, index)
        return bad, total, first


def _first_unfinished(map: MapRun) -> int | None:
    for index in range(len(map.codes) - 1, -1, -1):
        if map.codes[index] < states.FIRST_TERMINAL:
            return index
    return None
