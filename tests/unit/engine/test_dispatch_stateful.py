"""The dispatcher under any order of events: hypothesis plays users, workers and the clock.

No model of it is needed: what must hold can be said of its own tables after every event
(`consistent`), of each instruction as it comes out (`carry_out`), and of what is left when
everything has ended (`end`).
"""

from __future__ import annotations

import math
import random
from collections import Counter
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from anabranch.core import states
from anabranch.core.columns import Source
from anabranch.core.contracts import (
    Binding,
    Capabilities,
    ChunkLost,
    Handle,
    Held,
    ItemTimedOut,
    Report,
    Stage,
    TaskSpec,
)
from anabranch.core.events import Move, Verdict
from anabranch.core.map_plan import plan_map
from anabranch.core.maps import MapRun, Upstream
from anabranch.core.options import TaskOptions
from anabranch.core.params import Binder
from anabranch.core.walk import Hole
from anabranch.engine.assemble import PIPE
from anabranch.engine.dispatch import Dispatcher
from tests.unit.engine.playing import SIZE, Driver, Flight, Iterator, written

if TYPE_CHECKING:
    from collections.abc import Callable

PICK = st.integers(0, 1 << 16)  # which of the things there are, modulo how many
FATES = st.lists(st.sampled_from(["ok", "ok", "ok", "fail", "retry", "later"]), min_size=1, max_size=6)


def identity(x: Any) -> Any:
    return x


def never(value: object) -> bool:
    return False


class Dispatching(Driver, RuleBasedStateMachine):
    @initialize(
        slots=st.integers(1, 3), held=st.booleans(), stops=st.booleans(), budget=st.none() | st.integers(0, 20)
    )  # fmt: skip
    def begin(self, slots: int, held: bool, stops: bool, budget: int | None) -> None:
        self.held = held
        self.d = Dispatcher(rng=random.Random(0))
        capabilities = Capabilities(
            "bench", in_process=not held, values="held" if held else "inline", stops_items=stops,
            values_survive_workers=not held, spills=budget is not None,
        )  # fmt: skip
        self.d.ledger.memory.budget = math.inf if budget is None else budget * SIZE
        self.d.ledger.memory.slack = 3 * SIZE
        self.lane = self.d.lanes[self.d.add_lane(capabilities, slots, slots)]

    # -- what users do -------------------------------------------------------------------------------------

    def make(self, options: TaskOptions, kind: str = "map", kept: bool = True, **details: Any) -> MapRun:
        map = MapRun(f"m{len(self.maps)}", TaskSpec("work", identity, options), options, kind=kind, lane=0, **details)
        if options.concurrency_limit:
            self.d.limits.set("task:work", options.concurrency_limit)
        map.spec_ref, map.stage_ref = self.d.new_ref(), self.d.new_ref()
        self.by_ref[map.stage_ref] = map
        self.known.add(map.spec_ref)
        self.maps.append(map)
        if kind == "map" and kept:
            map.list_handles = 1
            self.held_lists.add(map.id)
        return map

    def open(self, map: MapRun, length: int | None, gates: tuple[Upstream, ...] = ()) -> None:
        stage = Stage(map.spec_ref, None, Binding(args=(("item", 0),)), map.id)
        self.d.open_map(map, stage, None, gates=gates, length=length)
        self.carry_out()

    def listed(self, *, sized: bool = False) -> list[MapRun]:
        """Maps that the user still has in hand, whole."""
        found = [m for m in self.maps if m.id in self.held_lists and m.id not in self.streamed]
        return [m for m in found if m.source is None or m.source.random_access] if sized else found

    options = st.builds(
        TaskOptions, retries=st.integers(0, 2), crash_retries=st.integers(1, 3), priority=st.integers(0, 1),
        concurrency_limit=st.sampled_from([None, None, 1]), state_handlers=st.sampled_from([(), (), (never,)]),
    )

    @precondition(lambda self: len(self.maps) < 8)
    @rule(
        n=st.integers(0, 9) | st.just(24), chunk=st.none() | st.integers(1, 4) | st.just(24), options=options,
        kept=st.booleans(), gate=PICK,
    )  # fmt: skip
    def map_over_a_list(self, n: int, chunk: int | None, options: TaskOptions, kept: bool, gate: int) -> None:
        source = Source(plan_map(Binder(identity, "work"), (range(n),), {}, never, never))
        map = self.make(options, kept=kept, source=source)
        map.chunk_option = chunk
        first = self.listed()
        gates = (Upstream(first[gate % len(first)], None, value=False),) if first and gate % 4 == 0 else ()
        self.open(map, n, tuple(g for g in gates if g.map is not map))

    @precondition(lambda self: len(self.maps) < 8)
    @rule(chunk=st.none() | st.integers(1, 3), options=options)
    def map_over_an_iterator(self, chunk: int | None, options: TaskOptions) -> None:
        map = self.make(options, source=Iterator())
        map.chunk_option = chunk
        self.open(map, None)

    @precondition(lambda self: len(self.maps) < 8 and self.listed())
    @rule(pick=PICK, options=options, kept=st.booleans(), allow=st.booleans(), two=st.booleans())
    def map_over_a_map(self, pick: int, options: TaskOptions, kept: bool, allow: bool, two: bool) -> None:
        found = self.listed()
        first = found[pick % len(found)]
        alike = [m for m in self.listed(sized=True) if len(m.codes) == len(first.codes) and m is not first and m.closed]
        feeds = [first, *(alike[:1] if two and first.closed else ())]
        map = self.make(options, kept=kept, feeds=tuple(Upstream(m, None, allow) for m in feeds))
        map.layout = (-1, -2)[: len(feeds)]
        self.open(map, None)

    @rule(picks=st.lists(st.tuples(PICK, PICK, st.booleans()), max_size=2), whole=st.booleans())
    def submit(self, picks: list[tuple[int, int, bool]], whole: bool) -> None:
        if self.series is None:
            self.series = map = self.make(TaskOptions(name="single", retries=1), kind="submit")
            map.pipe_ref = self.d.new_ref()
            self.by_ref[map.pipe_ref] = map
            stage = Stage(map.spec_ref, None, Binding(star=True), map.id)
            self.d.open_series(map, stage, stage)
        map = self.series
        ups = []
        for pick, item, allow in picks:
            found = self.listed()
            if found:
                up = found[pick % len(found)]
                if whole or up.codes:
                    ups.append(Upstream(up, None if whole else item % len(up.codes), allow))
        index = next(map.append_index)
        self.reads[index] = tuple(ups)
        self.handles[map.id, index] += 1
        pipe = len(ups) == 1 and ups[0].item is not None and not ups[0].allow_failure
        self.d.append_item(map, index, PIPE if pipe else (tuple(Hole(n) for n in range(len(ups))), {}), tuple(ups))
        self.carry_out()

    @precondition(lambda self: self.held_lists)
    @rule(pick=PICK)
    def drop_a_list(self, pick: int) -> None:
        found = [m for m in self.maps if m.id in self.held_lists and m.stream is None]
        if found:
            map = found[pick % len(found)]
            self.held_lists.discard(map.id)
            self.d.list_gone(map)
            self.carry_out()

    @rule(pick=PICK, item=PICK)
    def take_a_handle(self, pick: int, item: int) -> None:
        found = [m for m in self.listed() if m.codes]
        if found:
            map = found[pick % len(found)]
            self.handles[map.id, item % len(map.codes)] += 1
            self.d.handle_taken(map, item % len(map.codes))
            self.carry_out()

    @rule(pick=PICK)
    def drop_a_handle(self, pick: int) -> None:
        found = [key for key, count in self.handles.items() if count]
        if found:
            self.drop_handle(found[pick % len(found)])
            self.carry_out()

    def drop_handle(self, key: tuple[str, int]) -> None:
        self.handles[key] -= 1
        self.d.handle_gone(next(m for m in self.maps if m.id == key[0]), key[1])

    @rule(pick=PICK, item=st.none() | PICK)
    def wait(self, pick: int, item: int | None) -> None:
        found = [m for m in self.maps if m.codes and m.kind == "map"]
        if found:
            map = found[pick % len(found)]
            number = len(self.woken)
            self.woken.append(0)
            self.d.wait_for(map, None if item is None else item % len(map.codes), self.waker(number))
            self.carry_out()

    def waker(self, number: int) -> Callable[[], None]:
        def wake() -> None:
            self.woken[number] += 1

        return wake

    @rule(pick=PICK, window=st.integers(1, 4))
    def open_a_stream(self, pick: int, window: int) -> None:
        found = self.listed()
        if found:
            map = found[pick % len(found)]
            self.streams[map.id] = 0
            self.streamed.add(map.id)
            map.window = window
            self.d.stream_opened(map)
            self.carry_out()

    @precondition(lambda self: self.streams)
    @rule(pick=PICK, count=st.integers(1, 4), close=st.booleans())
    def read_a_stream(self, pick: int, count: int, close: bool) -> None:
        name = list(self.streams)[pick % len(self.streams)]
        map = next(m for m in self.maps if m.id == name)
        self.read(map, count)
        if close:
            del self.streams[name]
            self.d.stream_closed(map, finished=map.finished)
        self.carry_out()

    def read(self, map: MapRun, count: int) -> None:
        upto = self.streams[map.id]
        while count and map.is_terminal(upto):
            upto, count = upto + 1, count - 1
        self.streams[map.id] = upto
        self.d.give_away(map, map.consumed, upto)
        self.d.stream_advanced(map, upto)

    @rule(pick=PICK, item=st.none() | PICK)
    def cancel(self, pick: int, item: int | None) -> None:
        found = [m for m in self.maps if m.codes]
        if found and pick % 3 == 0:
            map = found[pick % len(found)]
            if item is None and map.kind == "map":
                self.d.cancel_map(map)
            elif item is not None:
                self.d.cancel_items(map, (item % len(map.codes),))
            self.carry_out()

    # -- what workers, feeders and time do -----------------------------------------------------------------

    @precondition(lambda self: self.wanted)
    @rule(count=st.integers(0, 4), end=st.sampled_from(["", "", "exhausted", "raised"]))
    def feed(self, count: int, end: str) -> None:
        map = self.wanted.pop(0)
        items = list(range(count if end else max(1, count)))
        self.d.pulled(map, items, end == "exhausted", OSError() if end == "raised" else None)
        self.carry_out()

    @precondition(lambda self: self.flights)
    @rule(pick=PICK, count=st.integers(0, 4), fates=FATES, final=st.booleans())
    def report(self, pick: int, count: int, fates: list[str], final: bool) -> None:
        flight = list(self.flights.values())[pick % len(self.flights)]
        count = min(count, len(flight.chunk) - flight.told)
        final = final or flight.told + count == len(flight.chunk)
        self.tell(flight, count, fates, final)

    def tell(self, flight: Flight, count: int, fates: list[str], final: bool) -> None:
        report = self.written(flight, count, fates, final)
        flight.told += count
        if final:
            del self.flights[flight.chunk.id]
        self.past.append(report)
        self.d.report(report)
        self.carry_out()

    def written(self, flight: Flight, count: int, fates: list[str], final: bool) -> Report:
        chunk = flight.chunk
        report = written(flight, count, fates, final, held=self.held)
        for stage, block in enumerate(report.blocks):
            if isinstance(block, Held):
                sent = self.d.sent.get(chunk.id)
                items = [*sent.items[stage][flight.told : flight.told + count]] if sent is not None else []
                self.alive[Handle(chunk.id, stage, flight.told)] = (flight.maps[stage], items)
                self.nbytes[Handle(chunk.id, stage, flight.told)] = block.nbytes
        return report

    @precondition(lambda self: self.past)
    @rule(pick=PICK)
    def report_again(self, pick: int) -> None:
        """An engine may repeat itself: what was told once counts once."""
        before = [bytes(m.codes) for m in self.maps], self.d.ledger.bytes_held
        report = self.past[pick % len(self.past)]
        self.d.report(report)
        assert ([bytes(m.codes) for m in self.maps], self.d.ledger.bytes_held) == before
        self.carry_out()

    @precondition(lambda self: self.gone)
    @rule(pick=PICK, fates=FATES)
    def report_too_late(self, pick: int, fates: list[str]) -> None:
        """A chunk that was given up reports after all: nothing of it counts, its blocks are dropped."""
        flight = self.gone.pop(list(self.gone)[pick % len(self.gone)])
        before = [bytes(m.codes) for m in self.maps]
        report = self.written(flight, len(flight.chunk) - flight.told, fates, True)
        self.d.report(report)
        assert [bytes(m.codes) for m in self.maps] == before
        self.carry_out()
        assert not [h for h in self.alive if h.chunk == flight.chunk.id and h.first == flight.told]

    @precondition(lambda self: self.flights)
    @rule(
        pick=PICK, reason=st.sampled_from(["worker-lost", "worker-lost", "stopped", "returned", "unserializable"]),
        blame=st.sampled_from(["unknown", "none", "first"]),
    )  # fmt: skip
    def lose(self, pick: int, reason: str, blame: str) -> None:
        flight = self.flights.pop(list(self.flights)[pick % len(self.flights)])
        self.gone[flight.chunk.id] = flight
        suspects = {"unknown": None, "none": (), "first": (flight.told,)}[blame]
        self.d.chunk_lost(ChunkLost(flight.chunk.id, reason, "gone", suspects, blame == "first"))
        self.carry_out()

    @precondition(lambda self: self.flights)
    @rule(pick=PICK)
    def time_out(self, pick: int) -> None:
        """The position that runs is stopped at its time, and its worker with it, which may be told later."""
        flight = self.flights[list(self.flights)[pick % len(self.flights)]]
        if flight.told < len(flight.chunk):
            self.stopped[flight.chunk.id] = self.flights.pop(flight.chunk.id)
            self.d.item_timed_out(ItemTimedOut(flight.chunk.id, 0, flight.told, 1.0))
            self.carry_out()

    @precondition(lambda self: self.stopped)
    @rule()
    def bury(self) -> None:
        chunk, flight = self.stopped.popitem()
        self.gone[chunk] = flight
        self.d.chunk_lost(ChunkLost(chunk, "stopped"))
        self.carry_out()

    @precondition(lambda self: self.alive)
    @rule(pick=PICK)
    def lose_values(self, pick: int) -> None:
        """A worker dies with a block of values that nobody has asked to release."""
        handle = list(self.alive)[pick % len(self.alive)]
        del self.alive[handle]
        self.freed.add(handle)
        self.d.values_lost(0, [handle])
        self.carry_out()

    @precondition(lambda self: self.asked)
    @rule(
        pick=PICK,
        code=st.sampled_from([None, states.COMPLETED, states.FAILED, states.CANCELLED, states.AWAITING_RETRY]),
    )  # fmt: skip
    def judge(self, pick: int, code: int | None) -> None:
        """Handlers have seen an end: None lets it stand."""
        one = self.asked.pop(pick % len(self.asked))
        if code is None or (code == states.AWAITING_RETRY and one.code == states.TRIGGER_FAILED):
            code = one.code
        verdict = Verdict(code, "judged", value=(one.map.id, one.index))
        self.d.judged(one, verdict)
        self.carry_out()

    @precondition(lambda self: self.leaving)
    @rule(pick=PICK, works=st.booleans())
    def write(self, pick: int, works: bool) -> None:
        """The disk has taken a block, or did not."""
        one = self.leaving.pop(pick % len(self.leaving))
        block, handle = one.block, one.block.handle
        if isinstance(one, Move):
            if works and handle in self.alive:
                self.alive[one.to] = (one.map, one.items)
                self.d.moved(one.map, block, one.items, one.to, Held(SIZE * len(one.items)))
        elif not works:
            self.d.spill_failed(block)
        else:
            if not self.held:
                self.alive[handle] = (one.map, [*block.indices()])
            self.d.spilled(one.map, block, Held(block.nbytes))
        self.carry_out()

    @precondition(lambda self: self.flights)
    @rule(pick=PICK)
    def wait_in_a_task(self, pick: int) -> None:
        """A task of the chunk waits for other runs, and goes on before anything else of it is told."""
        flight = self.flights[list(self.flights)[pick % len(self.flights)]]
        for waiting in (True, False):
            if flight.told < len(flight.chunk):
                self.d.chunk_waits(flight.chunk.id, flight.told, waiting)
                self.carry_out()

    @rule(now=st.integers(0, 3))
    def change_slots(self, now: int) -> None:
        self.d.slots_changed(0, now, 3)
        self.carry_out()

    @rule(seconds=st.sampled_from([0.0, 0.5, 1.0, 60.0]))
    def pass_time(self, seconds: float) -> None:
        self.d.tick(self.d.now + seconds)
        self.carry_out()

    # -- what always holds ---------------------------------------------------------------------------------

    @invariant()
    def consistent(self) -> None:
        if not hasattr(self, "d"):
            return
        assert set(self.d.sent) == set(self.flights) | set(self.stopped)
        assert self.lane.in_flight == len(self.flights) + len(self.stopped)
        assert self.lane.blocked == 0
        limited = sum(bool(s.limits) for s in self.d.sent.values())
        assert limited == self.d.limits.used.get("task:work", 0) <= 1, "a limit counts its chunks"
        assert self.d.ledger.bytes_held == sum(m.bytes_held for m in self.maps) >= 0
        memory = self.d.ledger.memory
        assert 0 <= memory.leaving <= memory.taken <= self.d.ledger.bytes_held
        for map in self.maps:
            assert map.done == sum(code >= states.FIRST_TERMINAL for code in map.codes)
            flying = [s for s in self.d.sent.values() if s.maps[0] is map]
            assert map.sent == sum(len(s.chunk) - s.reported for s in flying)
            places = Counter(i for lo, hi, _ in map.ready for i in range(lo, hi))
            # What handlers look at may still fly behind a producer that was given up: its report will be refused.
            places.update(i for i, (due, _) in map.delayed.items() if due != math.inf)
            for sent in self.d.sent.values():
                for stage, items in zip(sent.maps, sent.items, strict=True):
                    if stage is map:
                        left = range(sent.reported, len(items))
                        places.update(items[p] for p in left if p not in sent.taken)
            for index, code in enumerate(map.codes):
                ended = code >= states.FIRST_TERMINAL
                assert ended or places[index] <= 1, f"{map.id}[{index}] is in two places"
                before = self.ended.get((map.id, index))
                if before is not None:
                    again = map.attempt(index) > before[1]
                    assert (code, map.attempt(index)) == before or again, "a terminal state has changed"
                if ended:
                    self.ended[map.id, index] = (code, map.attempt(index))
                    assert not any(lo <= index < hi for lo, hi, _ in map.ready), "what has ended is not ready"

    # -- the end -------------------------------------------------------------------------------------------

    def teardown(self) -> None:
        if hasattr(self, "d"):
            self.end()

    def end(self) -> None:
        """Let everything end, give everything back: then nothing may be left."""
        self.d.slots_changed(0, 2, 3)
        while self.stopped:
            self.bury()
        for map in self.maps:
            self.d.seal(map)
        for _ in range(500):
            self.carry_out()
            self.consistent()
            if self.asked:
                self.judge(0, None)
            elif self.leaving:
                self.write(0, works=True)
            elif self.wanted:
                self.d.pulled(self.wanted.pop(), [], True, None)
            elif self.flights:
                flight = next(iter(self.flights.values()))
                self.tell(flight, len(flight.chunk) - flight.told, ["ok"], True)
            elif self.d.next_due() is not None:
                self.d.tick(self.d.now + 100.0)
            else:
                break
        for map in self.maps:
            assert map.finished, f"{map.id} does not end"
            if map.id in self.streams:
                self.d.stream_closed(map, finished=False)
        self.streams.clear()
        assert all(count == 1 for count in self.woken), "who waits is woken once"
        for name in self.held_lists:
            self.d.list_gone(next(m for m in self.maps if m.id == name))
        self.held_lists.clear()
        for key in list(self.handles.elements()):
            self.drop_handle(key)
        self.carry_out()
        while self.leaving:
            self.write(0, works=True)
        self.nothing_left()

    def nothing_left(self) -> None:
        assert self.d.ledger.bytes_held == self.d.ledger.memory.taken == self.d.ledger.memory.leaving == 0
        assert not self.alive, "blocks that nobody will ever release"
        assert not self.d.timers
        assert not self.lane.runnable
        assert not self.d.limits.used
        for map in self.maps:
            left = [
                name for name in ("ready", "running", "delayed", "blocks", "moved", "handles", "item_consumers",
                                  "list_consumers", "item_upstreams", "blocked_items", "waiters")
                if getattr(map, name)
            ]  # fmt: skip
            assert not left, f"{map.id} keeps {left}"
            assert (map.sent, map.list_handles, map.list_readers, map.bytes_held) == (0, 0, 0, 0)
        self.d.forget_maps(self.maps)
        self.carry_out()
        assert not self.d.maps
        assert not self.known.intersection(r for m in self.maps for r in (m.stage_ref, m.pipe_ref) if r)


Dispatching.TestCase.settings = settings(
    derandomize=True, max_examples=100, stateful_step_count=40, deadline=None, database=None,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
TestDispatching = Dispatching.TestCase
