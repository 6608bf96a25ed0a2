"""The dispatcher under any order of events: hypothesis plays users, workers and the clock.

No model of it is needed: what must hold can be said of its own tables after every event
(`consistent`), of each instruction as it comes out (`carry_out`), and of what is left when
everything has ended (`end`).
"""

from __future__ import annotations

import math
import random
from collections import Counter

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from anabranch.core import states
from anabranch.core.chunks import BlockHandle
from anabranch.core.contracts import Capabilities
from anabranch.core.events import ChunkLost, ItemTimedOut
from anabranch.core.instructions import Move, Verdict
from anabranch.core.reports import Held, Report
from anabranch.engine.dispatch import Dispatcher
from anabranch.engine.limits import memory_limit
from anabranch.engine.walltime import Span
from tests.unit.engine.playing import SIZE, Flight, written
from tests.unit.engine.using import PICK, Users

FATES = st.lists(st.sampled_from(["ok", "ok", "ok", "fail", "retry", "later"]), min_size=1, max_size=6)


class Dispatching(Users, RuleBasedStateMachine):
    @initialize(
        slots=st.integers(1, 3), held=st.booleans(), stops=st.booleans(), budget=st.none() | st.integers(0, 20),
        resumable=st.booleans(), retries=st.integers(0, 1), walltime=st.sampled_from([None, None, 2.0, 90.0]),
    )  # fmt: skip
    def begin(
        self, slots: int, held: bool, stops: bool, budget: int | None, resumable: bool, retries: int,
        walltime: float | None,
    ) -> None:  # fmt: skip
        self.held = held
        self.retries = retries
        self.resumable = resumable
        self.d = Dispatcher(rng=random.Random(0))
        capabilities = Capabilities(
            "bench", in_process=not held, values="held" if held else "inline", stops_items=stops,
            values_survive_workers=not held, spills=budget is not None,
        )  # fmt: skip
        self.d.tables.ledger.memory.budget = math.inf if budget is None else budget * SIZE
        self.d.tables.ledger.memory.slack = 3 * SIZE
        self.lane = self.d.tables.lanes[self.d.tables.add_lane(capabilities, slots, slots)]
        if walltime is not None:
            self.d.know_end(Span(0.0, walltime))

    # -- what workers, feeders and time do -----------------------------------------------------------------

    @precondition(lambda self: self.wanted)
    @rule(count=st.integers(0, 4), end=st.sampled_from(["", "", "exhausted", "raised"]))
    def feed(self, count: int, end: str) -> None:
        map = self.wanted.pop(0)
        items = list(range(count if end else max(1, count)))
        self.d.intake.pulled(map, items, end == "exhausted", OSError() if end == "raised" else None)
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
        self.d.reports.take_in(report)
        self.carry_out()

    def written(self, flight: Flight, count: int, fates: list[str], final: bool) -> Report:
        chunk = flight.chunk
        report = written(flight, count, fates, final, held=self.held)
        for stage, block in enumerate(report.blocks):
            if isinstance(block, Held):
                sent = self.d.tables.sent.get(chunk.id)
                items = [*sent.items[stage][flight.told : flight.told + count]] if sent is not None else []
                self.alive[BlockHandle(chunk.id, stage, flight.told)] = (flight.maps[stage], items)
                self.nbytes[BlockHandle(chunk.id, stage, flight.told)] = block.nbytes
        return report

    @precondition(lambda self: self.past)
    @rule(pick=PICK)
    def report_again(self, pick: int) -> None:
        """An engine may repeat itself: what was told once counts once."""
        before = [bytes(m.codes) for m in self.maps], self.d.tables.ledger.bytes_held
        report = self.past[pick % len(self.past)]
        self.d.reports.take_in(report)
        assert ([bytes(m.codes) for m in self.maps], self.d.tables.ledger.bytes_held) == before
        self.carry_out()

    @precondition(lambda self: self.gone)
    @rule(pick=PICK, fates=FATES)
    def report_too_late(self, pick: int, fates: list[str]) -> None:
        """A chunk that was given up reports after all: nothing of it counts, its blocks are dropped."""
        flight = self.gone.pop(list(self.gone)[pick % len(self.gone)])
        before = [bytes(m.codes) for m in self.maps]
        report = self.written(flight, len(flight.chunk) - flight.told, fates, True)
        self.d.reports.take_in(report)
        assert [bytes(m.codes) for m in self.maps] == before
        self.carry_out()
        assert not [h for h in self.alive if h.chunk == flight.chunk.id and h.first == flight.told]

    @precondition(lambda self: self.flights)
    @rule(
        pick=PICK,
        reason=st.sampled_from(
            ["worker-lost", "worker-lost", "out-of-memory", "stopped", "returned", "unserializable"]
        ),
        blame=st.sampled_from(["unknown", "none", "first"]),
    )  # fmt: skip
    def lose(self, pick: int, reason: str, blame: str) -> None:
        flight = self.flights.pop(list(self.flights)[pick % len(self.flights)])
        self.gone[flight.chunk.id] = flight
        suspects = {"unknown": None, "none": (), "first": (flight.told,)}[blame]
        before = self.paid()
        self.d.losses.chunk_lost(ChunkLost(flight.chunk.id, reason, "gone", suspects, blame == "first"))
        assert self.paid() == before, "a loss spends no retry of the user's"
        self.carry_out()

    def paid(self) -> list[list[int]]:
        """The attempts of all items as the user's retries count them."""
        return [[map.counted(i) for i in range(len(map.codes))] for map in self.maps]

    @precondition(lambda self: self.flights)
    @rule(pick=PICK)
    def time_out(self, pick: int) -> None:
        """The position that runs is stopped at its time, and its worker with it, which may be told later."""
        flight = self.flights[list(self.flights)[pick % len(self.flights)]]
        if flight.told < len(flight.chunk):
            self.stopped[flight.chunk.id] = self.flights.pop(flight.chunk.id)
            self.d.timeouts.item_timed_out(ItemTimedOut(flight.chunk.id, 0, flight.told, 1.0))
            self.carry_out()

    @precondition(lambda self: self.stopped)
    @rule(pick=PICK, count=st.integers(1, 4), fates=FATES)
    def report_of_the_stopped(self, pick: int, count: int, fates: list[str]) -> None:
        """What a worker told before it was stopped is heard after that: also the end of the item that ran too long."""
        flight = self.stopped[list(self.stopped)[pick % len(self.stopped)]]
        count = min(count, len(flight.chunk) - flight.told)
        sent = self.d.tables.sent[flight.chunk.id]
        before = {m: bytes(m.codes) for m in sent.maps}
        late = [sent.items[0][p] for p in range(flight.told, flight.told + count) if p in sent.taken]
        self.tell(flight, count, fates, final=False)
        for index in late:
            assert sent.maps[0].codes[index] == before[sent.maps[0]][index], "what was taken back is not told"

    @precondition(lambda self: self.stopped)
    @rule()
    def bury(self) -> None:
        chunk, flight = self.stopped.popitem()
        self.gone[chunk] = flight
        self.d.losses.chunk_lost(ChunkLost(chunk, "stopped"))
        self.carry_out()

    @precondition(lambda self: self.alive)
    @rule(pick=PICK)
    def lose_values(self, pick: int) -> None:
        """A worker dies with a block of values that nobody has asked to release."""
        handle = list(self.alive)[pick % len(self.alive)]
        del self.alive[handle]
        self.freed.add(handle)
        before = self.paid()
        self.d.remakes.values_lost(0, [handle])
        assert self.paid() == before, "a lost value spends no retry of the user's"
        self.carry_out()

    @precondition(lambda self: self.maps)
    @rule(pick=PICK)
    def halt(self, pick: int) -> None:
        """The flow run is told to end: nothing more of it begins."""
        if pick % 8 == 0 and not self.d.tables.halted:
            self.d.halts.halt([""], self.waker(len(self.woken)))
            self.woken.append(0)
            self.carry_out()

    @precondition(lambda self: self.d.tables.walltime is not None)
    @rule(pick=PICK)
    def run_out_of_time(self, pick: int) -> None:
        """The end of the walltime: what has not ended is cancelled, and may report all the same."""
        if pick % 8 == 0:
            self.d.cancelling.cancel_together(self.maps, "walltime")
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
        self.d.board.handlers_answered(one, verdict)
        self.carry_out()

    @precondition(lambda self: self.deciding)
    @rule(
        pick=PICK,
        code=st.sampled_from([None, states.AWAITING_RETRY, states.COMPLETED, states.FAILED, states.CANCELLED]),
    )  # fmt: skip
    def decide(self, pick: int, code: int | None) -> None:
        """Handlers have seen that a timed-out item is to be tried again: None is the condition's no."""
        one = self.deciding.pop(pick % len(self.deciding))
        found = None if code is None else Verdict(code, "decided", value=(one.map.id, one.index), delay=one.delay)
        self.d.timeouts.retry_answered(one, found)
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
                self.d.values.moved(one.map, block, one.items, one.to, Held(SIZE * len(one.items)))
        elif not works:
            self.d.values.spill_failed(block)
        else:
            if not self.held:
                self.alive[handle] = (one.map, [*block.indices()])
            self.d.values.spilled(one.map, block, Held(block.nbytes))
        self.carry_out()

    @precondition(lambda self: self.flights)
    @rule(pick=PICK)
    def wait_in_a_task(self, pick: int) -> None:
        """A task of the chunk waits for other runs, and goes on before anything else of it is told."""
        flight = self.flights[list(self.flights)[pick % len(self.flights)]]
        for waiting in (True, False):
            if flight.told < len(flight.chunk):
                self.d.reports.chunk_waits(flight.chunk.id, flight.told, waiting)
                self.carry_out()

    @rule(now=st.integers(0, 3))
    def change_slots(self, now: int) -> None:
        self.d.capacity.slots_changed(0, now, 3)
        self.carry_out()

    @rule(places=st.none() | st.integers(0, 2), paced=st.booleans())
    def share_a_limit(self, places: int | None, paced: bool) -> None:
        """The record has a limit on all that is here, or (None) none any more; so many places are brought."""
        self.d.apply_limits([] if places is None else ["task:work"], ["task:work"] if paced and places else [])
        self.d.look_at_limits()
        self.d.open_limits({"task:work": places or 0}, {"task:work": places or 0})
        self.carry_out()

    @rule(seconds=st.sampled_from([0.0, 0.5, 1.0, 60.0]))
    def pass_time(self, seconds: float) -> None:
        self.d.tick(self.d.tables.now + seconds)
        self.carry_out()

    # -- what always holds ---------------------------------------------------------------------------------

    @invariant()
    def consistent(self) -> None:
        if not hasattr(self, "d"):
            return
        assert set(self.d.tables.sent) == set(self.flights) | set(self.stopped)
        assert self.lane.in_flight == len(self.flights) + len(self.stopped)
        assert self.lane.blocked == 0
        limited = sum("task:work" in s.limits for s in self.d.tables.sent.values())
        assert limited == self.d.tables.limits.used.get("task:work", 0), "a limit counts its chunks"
        assert self.d.tables.ledger.bytes_held == sum(m.footprint.held for m in self.maps) >= 0
        memory = self.d.tables.ledger.memory
        assert 0 <= memory.leaving <= memory.taken <= self.d.tables.ledger.bytes_held
        for map in self.maps:
            narrow = sum(memory_limit(map) in s.limits for s in self.d.tables.sent.values())
            assert narrow == self.d.tables.limits.used.get(memory_limit(map), 0), "a place is taken and given back once"
            assert map.done == sum(code >= states.FIRST_ENDED for code in map.codes)
            flying = [s for s in self.d.tables.sent.values() if s.maps[0] is map]
            assert map.queue.sent == sum(len(s.chunk) - s.reported for s in flying)
            places = Counter(i for lo, hi, _ in map.queue.ready for i in range(lo, hi))
            # What handlers look at may still fly behind a producer that was given up: its report will be refused.
            places.update(i for i, (due, _) in map.queue.delayed.items() if due != math.inf)
            for sent in self.d.tables.sent.values():
                for stage, items in zip(sent.maps, sent.items, strict=True):
                    if stage is map:
                        left = range(sent.reported, len(items))
                        places.update(items[p] for p in left if p not in sent.taken)
            for index, code in enumerate(map.codes):
                ended = code >= states.FIRST_ENDED
                assert ended or places[index] <= 1, f"{map.id}[{index}] is in two places"
                before, now = self.seen.get((map.id, index)), (code, map.attempt(index))
                if before != now:
                    kinds = [None if before is None else states.NAMES[before[0]][1], states.NAMES[code][1]]
                    again = before is not None and now[1] > before[1]
                    states.check_transition(*kinds, new_attempt=again)
                    self.seen[map.id, index] = now
                if ended:
                    assert not any(lo <= index < hi for lo, hi, _ in map.queue.ready), "what has ended is not ready"

    # -- the end -------------------------------------------------------------------------------------------

    def teardown(self) -> None:
        if hasattr(self, "d"):
            self.end()

    def end(self) -> None:
        """Let everything end, give everything back: then nothing may be left."""
        self.d.capacity.slots_changed(0, 2, 3)
        while self.stopped:
            self.bury()
        if self.d.tables.halted or self.d.tables.walltime is not None:  # what has not begun never will
            self.d.cancelling.cancel_together(self.maps, "walltime")
        for map in self.maps:
            self.d.windows.seal(map)
        for _ in range(500):
            self.carry_out()
            self.consistent()
            if self.asked:
                self.judge(0, None)
            elif self.deciding:
                self.decide(0, states.AWAITING_RETRY)
            elif self.leaving:
                self.write(0, works=True)
            elif self.wanted:
                self.d.intake.pulled(self.wanted.pop(), [], True, None)
            elif self.flights:
                flight = next(iter(self.flights.values()))
                self.tell(flight, len(flight.chunk) - flight.told, ["ok"], True)
            elif self.d.next_due() is not None:
                self.d.tick(self.d.tables.now + 100.0)
            elif self.d.look_at_limits().wanted or self.d.look_at_limits().starts:
                self.d.open_limits({"task:work": 2}, {"task:work": 2})
            else:
                break
        for map in self.maps:
            assert map.finished, f"{map.id} does not end"
            if map.id in self.streams:
                self.d.readers.stream_closed(map, finished=False)
        self.streams.clear()
        assert all(count == 1 for count in self.woken), "who waits is woken once"
        for name in self.held_lists:
            self.d.readers.list_gone(next(m for m in self.maps if m.id == name))
        self.held_lists.clear()
        for key in list(self.handles.elements()):
            self.drop_handle(key)
        self.carry_out()
        while self.leaving:
            self.write(0, works=True)
        self.nothing_left()


Dispatching.TestCase.settings = settings(
    derandomize=True, max_examples=100, stateful_step_count=40, deadline=None, database=None,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
TestDispatching = Dispatching.TestCase
