"""The end of a scope's runs: waiting for them, cancelling them, and finding unhandled failures."""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING, Protocol

from anabranch import logs
from anabranch.core import context, states
from anabranch.engine.giving_up import give_up

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterable, Sequence

    from anabranch.core.maps import MapRun
    from anabranch.driver.pump import Pump
    from anabranch.driver.waiting import Waiting


class Ending(Protocol):
    """A flow run, or one that may not exist yet."""

    @property
    def over(self) -> threading.Event: ...
    def cancel(self, by: str, /) -> bool: ...


class SubmittedFlow(Ending, Protocol):
    """A flow that was submitted, perhaps before its run exists."""

    @property
    def exists(self) -> bool: ...


class HasEndings(Protocol):
    """The scope of a flow run."""

    @property
    def endings(self) -> Endings: ...


class Child(Ending, Protocol):
    """A flow run that began in this one."""

    @property
    def id(self) -> str: ...
    @property
    def scope(self) -> HasEndings: ...


class Stream(Protocol):
    """A call of a generator task or flow; `read_by_task`: a submitted task that has not ended reads it."""

    @property
    def read_by_task(self) -> bool: ...
    def left_open(self) -> None: ...


class Endings:
    """The runs that belong to a scope, and have to end with it.

    Args:
        flow_run_id: that of the scope; "" outside of flows.
        tell_end: tells once of the failures of a map that has ended.

    Attributes:
        maps: maps and series that began here.
        left: runs that ended without a place in the record, and did not raise.
        called_flows: how many flow runs were called here, and are counted in no map.
        children: flow runs that began here and have not ended.
        submitted: submitted flows by series and item, until they are over.
        streams: calls of generator tasks that have begun and not ended.
        failed_below: task runs of a flow run that began in this one have failed.
    """

    def __init__(
        self, pump: Pump, waiting: Waiting, flow_run_id: str, tell_end: Callable[[MapRun], None]
    ) -> None:  # fmt: skip
        self.maps: list[MapRun] = []
        self.left: list[MapRun] = []
        self.called_flows = 0
        self.children: list[Child] = []
        self.submitted: dict[tuple[str, int], SubmittedFlow] = {}
        self.streams: list[Stream] = []
        self.failed_below = False
        self._pump = pump
        self._waiting = waiting
        self._flow_run_id = flow_run_id
        self._tell_end = tell_end

    def forget(self) -> None:
        """Forget the runs, which have ended."""
        self.maps, self.left, self.called_flows = [], [], 0

    def wait(self, map: MapRun, index: int | None, timeout: float | None) -> bool:
        """Wait for an item or a whole map; Ctrl-C meanwhile cancels it."""
        try:
            ended = self._waiting.wait(map, index, timeout)
        except KeyboardInterrupt:
            self.interrupted(((map, index),))
            raise
        if index is None:
            self._tell_end(map)
        return ended

    def unfinished(self) -> list[MapRun]:
        """Return the maps that have not ended; call it under the pump's lock."""
        return [m for m in self.maps if m.done < len(m.codes) or (m.kind == "map" and not m.closed)]

    def wait_all(self, timeout: float | None = None) -> bool:
        """Wait for all runs that were submitted here."""
        while True:
            open_maps = self._pump.inspect(self.unfinished)
            if not open_maps:
                return True
            for map in open_maps:
                last = None if map.kind == "map" else self._pump.inspect(_first_unfinished, map)
                if map.kind != "map" and last is None:
                    continue
                if not self.wait(map, last, timeout):
                    return False

    def cancel(self, map: MapRun, indices: Sequence[int] | None) -> None:
        """Cancel items, or all of a map, as the program's code asks: for a flow run that is no failure."""
        chosen = range(len(map.codes)) if indices is None else indices
        left = [i for i in chosen if not map.is_terminal(i)]
        cancelling = self._pump.dispatcher.cancelling
        if map.kind == "flow":
            flows = [(i, self.submitted.get((map.id, i))) for i in chosen]
            # First the flow runs: one that has decided how it ends is not cancelled, and so says its future.
            given_up = [i for i, flow in flows if flow is not None and flow.cancel("request")]
            self._pump.dispatch(cancelling.cancel_items, map, given_up)
        elif indices is None:
            self._pump.dispatch(cancelling.cancel_map, map)
        else:
            self._pump.dispatch(cancelling.cancel_items, map, indices)
        self._pump.flush()
        for index in left:
            if map.code(index) == states.CANCELLED:
                map.mark_handled(index)

    def cancel_all(self, *, expected: bool = False, by: str = "flow-end") -> None:
        """Cancel the unfinished runs; `expected`: the flow ends so on purpose, and none of them is a failure."""
        for child in tuple(self.children):
            child.cancel(by)
        decided = {key for key, flow in tuple(self.submitted.items()) if not flow.cancel(by)}
        maps = self._pump.inspect(self.unfinished)
        left = [(m, [i for i in range(len(m.codes)) if not m.is_terminal(i)]) for m in maps] if expected else []
        self._pump.dispatch(self._pump.dispatcher.cancelling.cancel_together, maps, by, decided)
        for map, items in left:
            for index in items:
                map.mark_handled(index)

    def interrupted(self, what: Iterable[tuple[MapRun, int | None]], *, held: bool = True) -> None:
        """Handle Ctrl-C outside of flows: cancel the awaited runs, and the runs that only these wait for.

        Args:
            held: the caller has futures of them, so that detached ones can go on.
        """
        if self._flow_run_id or context.task_around() is not None:  # flows and their tasks have their own way to end
            return
        wanted: list[tuple[MapRun, int | None]] = []
        detached: list[tuple[MapRun, int | None]] = []
        for map, index in what:
            (detached if held and map.header.detached else wanted).append((map, index))
        if detached:
            logs.warn(f"Stopped waiting: {_names(detached)} goes on, as it is detached; its `.cancel()` ends it.")
        if not wanted:
            return
        had_ended = sum(map.done for map, index in wanted if index is None)
        for map, index in wanted:
            flow = self.submitted.get((map.id, index)) if index is not None else None
            if flow is not None:
                flow.cancel("ctrl-c")
        attached = [map for map in self.unfinished() if not map.header.detached]
        self._pump.dispatch(give_up, self._pump.dispatcher.board, wanted, attached, "ctrl-c")
        logs.warn(_told_stopped(wanted, had_ended))

    def wait_cancelled(self, timeout: float) -> None:
        """Wait for cancelled submitted flows, which may still run their functions, and record their ends."""
        until = time.monotonic() + timeout
        for flow in tuple(self.submitted.values()):
            if flow.exists:
                flow.over.wait(max(0.0, until - time.monotonic()))

    def leave_streams(self, *, all: bool = False) -> None:
        """End the open calls of generators, as far as this flow run goes.

        Args:
            all: also those that a task reads; not before the scope has waited for its tasks.
        """
        for call in tuple(self.streams):
            if all or not call.read_by_task:
                call.left_open()

    def stop_pulling(self) -> None:
        """Pull no more from iterators: their reader is gone, and they may be endless."""
        cancel_map = self._pump.dispatcher.cancelling.cancel_map
        for map in self._pump.inspect(self.unfinished):
            if map.inputs.source is not None and not map.closed:
                self._pump.dispatch(functools.partial(cancel_map, map, unpulled_only=True))

    def any_failed(self) -> bool:
        """Return whether any task run failed or crashed, handled or not, here or in a flow run that began here."""
        return self.failed_below or any(states.failed_in(map.codes) for map in self.maps)

    def unhandled(self) -> tuple[int, int, tuple[MapRun, int] | None]:
        """Return (unhandled failures, all runs, the first failure's (map, index))."""
        total = self.called_flows
        bad = 0
        first: tuple[MapRun, int] | None = None
        for map in (*self.maps, *self.left):
            total += len(map.codes)
            for index in map.failures():
                if index not in map.handled:
                    bad += 1
                    first = first or (map, index)
        return bad, total, first


def _names(wanted: Sequence[tuple[MapRun, int | None]]) -> str:
    names = sorted({map.spec.name for map, _ in wanted})
    return ", ".join(repr(name) for name in names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _told_stopped(wanted: list[tuple[MapRun, int | None]], had_ended: int) -> str:
    """Return the sentence on a stop during a wait."""
    of = _names(wanted)
    if any(index is None for _, index in wanted):
        return f"Stopped: the rest of {of} is cancelled; {had_ended:,} items had ended and keep their values."
    return f"Stopped: the awaited runs of {of} are cancelled."


def _first_unfinished(map: MapRun) -> int | None:
    for index in range(len(map.codes) - 1, -1, -1):
        if map.codes[index] < states.FIRST_ENDED:
            return index
    return None
