"""The driver's side: the real dispatcher, stepped as the pump steps it, with a meter around each step."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from anabranch.core.chunks import Binding, Stage
from anabranch.core.columns import Source
from anabranch.core.contracts import Capabilities
from anabranch.core.instructions import Send
from anabranch.core.map_plan import plan_map
from anabranch.core.maps import MapRun
from anabranch.core.options import TaskOptions
from anabranch.core.params import Binder
from anabranch.core.task_spec import TaskSpec
from anabranch.engine.dispatch import Dispatcher
from anabranch.engine.walltime import Span

if TYPE_CHECKING:
    from collections.abc import Callable

    from anabranch.core.chunks import Chunk
    from benchmarks.simulation.setup import Setup

_clock = time.thread_time_ns  # processor time: other programs on the machine do not count
EMPTY = 10_001  # measurements of nothing


class Meter:
    """Processor time of steps, without that of asking for it."""

    def __init__(self) -> None:
        self.longest = 0.0  # seconds
        self._steps = 0
        self._nanoseconds = 0
        nothing = sorted(-_clock() + _clock() for _ in range(EMPTY))
        self._asking = nothing[EMPTY // 2]

    def add(self, nanoseconds: int) -> None:
        """Add a step."""
        self._steps += 1
        self._nanoseconds += nanoseconds
        self.longest = max(self.longest, nanoseconds / 1e9)

    @property
    def seconds(self) -> float:
        return (self._nanoseconds - self._steps * self._asking) / 1e9


class Driver:
    """One dispatcher with one lane and one map."""

    def __init__(self, setup: Setup, slots: int) -> None:
        self.dispatcher = Dispatcher()
        self.meter = Meter()
        self.sent = 0  # chunks
        capabilities = Capabilities(
            "simulated", values="held", values_survive_workers=False, resources_elastic=True,
            chunk_seconds=setup.chunk_seconds,
        )  # fmt: skip
        lane = self.dispatcher.tables.add_lane(capabilities, slots, None)
        if setup.walltime:
            self.dispatcher.know_end(Span(0.0, setup.walltime))
        self.map = _map_of(setup, self.dispatcher.tables.new_ref, lane)
        self._length = setup.items

    def begin(self) -> list[Chunk]:
        """Bring the map, and return the first chunks."""
        sending = self.map.sending
        stage = Stage(sending.spec_ref, None, Binding(args=(("item", 0),)), self.map.id)
        return self.step(0.0, self._open, stage)

    def _open(self, stage: Stage) -> None:
        self.dispatcher.intake.open_map(self.map, stage, None, length=self._length)

    def step(self, now: float, move: Callable[..., Any], *args: Any) -> list[Chunk]:
        """Bring one event, as the pump does, and return the chunks that are sent for it."""
        dispatcher = self.dispatcher
        begun = _clock()
        dispatcher.tables.wall = now
        dispatcher.tick(now)
        move(*args)
        out = dispatcher.take()
        dispatcher.next_due()
        self.meter.add(_clock() - begun)
        chunks = [chunk for one in out if isinstance(one, Send) for chunk in one.chunks]
        self.sent += len(chunks)
        return chunks


def _map_of(setup: Setup, new_ref: Callable[[], int], lane: int) -> MapRun:
    options = TaskOptions(name="work")
    source = Source(plan_map(Binder(_work, "work"), (range(setup.items),), {}, _never, _never))
    keep = setup.values != "none"
    spec = TaskSpec("work", _work, options)
    map = MapRun("map-1", spec, options, kind="map", lane=lane, keep=keep, source=source)
    map.sending.spec_ref, map.sending.stage_ref = new_ref(), new_ref()
    map.sending.chunk_option = setup.chunk or None
    map.consumers.list_refs = 1 if keep else 0
    return map


def _work(x: int) -> int:
    return x


def _never(value: object) -> bool:
    return False
