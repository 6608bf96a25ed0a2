"""A dispatcher with one lane whose runner the test plays by hand, and short ways to write what is reported."""

from __future__ import annotations

from array import array
from typing import Any

from anabranch.core import states
from anabranch.core.chunks import Binding, BlockHandle, Chunk, Stage
from anabranch.core.columns import Source
from anabranch.core.contracts import Capabilities
from anabranch.core.instructions import CancelChunk, Free, Rows, Send, Wake
from anabranch.core.map_plan import plan_map
from anabranch.core.maps import MapRun, Upstream
from anabranch.core.options import TaskOptions
from anabranch.core.params import Binder
from anabranch.core.reports import ErrorInfo, Held, Inline, Outcome, Report
from anabranch.core.task_spec import TaskSpec
from anabranch.engine.dispatch import Dispatcher


def identity(x: Any) -> Any:
    return x


def never(value: object) -> bool:
    return False


class Bench:
    """A dispatcher with one lane; plays the runner by hand."""

    def __init__(
        self, slots: int = 2, *, held: bool = False, stops: bool = False, chunk_seconds: float = 0.1
    ) -> None:
        self.dispatcher = Dispatcher()
        capabilities = Capabilities(
            "bench", in_process=not held, values="held" if held else "inline", stops_items=stops,
            values_survive_workers=not held, chunk_seconds=chunk_seconds,
        )
        self.lane = self.dispatcher.tables.add_lane(capabilities, slots, slots)
        self.held = held
        self.queue: list[Chunk] = []  # sent, and not yet reported
        self.freed: list[BlockHandle] = []
        self.cancels: list[CancelChunk] = []
        self.rows: list[Any] = []
        self.others: list[Any] = []

    def take(self) -> list[Chunk]:
        """Carry out all instructions; the chunks sent by them."""
        fresh: list[Chunk] = []
        for one in self.dispatcher.take():
            if isinstance(one, Send):
                fresh += one.chunks
            elif isinstance(one, Free):
                self.freed += one.handles
            elif isinstance(one, CancelChunk):
                self.cancels.append(one)
            elif isinstance(one, Rows):
                self.rows += one.rows
            elif isinstance(one, Wake):
                for call in one.calls:
                    call()
            else:
                self.others.append(one)
        self.queue += fresh
        return fresh

    def map(
        self, items: Any = None, *, after: MapRun | None = None, chunk: int | None = None, kept: bool = True,
        length: int | None = None, window: int | None = None, parent: str = "", **options: Any,
    ) -> MapRun:  # fmt: skip
        chosen = TaskOptions(name="work", **options)
        d = self.dispatcher
        source = None
        if items is not None:
            source = Source(plan_map(Binder(identity, "work"), (items,), {}, never, never))
            length = len(items) if length is None and source.random_access else length
        feeds = (Upstream(after, None),) if after is not None else ()
        name = f"map-{d.tables.new_ref()}"
        map = MapRun(
            name, TaskSpec("work", identity, chosen), chosen, kind="map", lane=self.lane, keep=True, source=source,
            feeds=feeds,
        )  # fmt: skip
        map.header.parent_id = parent
        map.inputs.layout = (-1,) if feeds else None
        map.sending.spec_ref, map.sending.stage_ref = d.tables.new_ref(), d.tables.new_ref()
        map.sending.chunk_option, map.sending.window = chunk, window
        map.consumers.list_refs = 1 if kept else 0
        stage = Stage(map.sending.spec_ref, None, Binding(args=(("item", 0),)), map.id)
        d.intake.open_map(map, stage, None, length=length)
        return map

    def block(self, values: list[Any]) -> Any:
        return Held(100 * len(values)) if self.held else Inline(values, 100 * len(values))

    def report(
        self, chunk: Chunk, count: int | None = None, first: int = 0, *, final: bool = True, **more: Any
    ) -> None:
        """All of these positions completed, unless `more` says otherwise."""
        count = len(chunk) - first if count is None else count
        if first + count == len(chunk) or final:
            self.queue = [c for c in self.queue if c.id != chunk.id]
        if "blocks" not in more:
            more["blocks"] = tuple(
                self.block([(stage, i) for i in chunk.items[first : first + count]]) if keep and count else None
                for stage, keep in enumerate(chunk.keep)
            )
        times = array("i", [1000] * count)
        self.dispatcher.reports.take_in(Report(chunk.id, first, count, final, 1.0, times, times, worker="w", **more))

    def run(self) -> list[Chunk]:
        """Report everything that is sent until nothing more is."""
        seen: list[Chunk] = []
        self.take()
        while self.queue:
            chunk = self.queue[0]
            seen.append(chunk)
            self.report(chunk)
            self.take()
        return seen


def items_of(chunks: list[Chunk]) -> list[int]:
    return [i for chunk in chunks for i in chunk.items]


def failed(position: int, code: int = states.FAILED, **more: Any) -> Outcome:
    return Outcome(0, position, code, "no good", error=ErrorInfo("ValueError", "no good", ""), **more)


def codes(count: int, **bad: int) -> tuple[bytes]:
    row = bytearray([states.COMPLETED]) * count
    for position, code in bad.items():
        row[int(position[1:])] = code
    return (bytes(row),)
