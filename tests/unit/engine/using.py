"""What users may do to the dispatcher, in any order: rules for `test_dispatch_stateful.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from anabranch.core.chunks import Binding, Stage
from anabranch.core.columns import Source
from anabranch.core.map_plan import plan_map
from anabranch.core.maps import MapRun, Upstream
from anabranch.core.options import TaskOptions
from anabranch.core.params import Binder
from anabranch.core.search import Hole
from anabranch.engine.fusing import PIPE
from tests.unit.engine.bench import identity, never
from tests.unit.engine.playing import Driver, Iterator

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Set as AbstractSet

PICK = st.integers(0, 1 << 16)  # which of the things there are, modulo how many
LEFT = st.just(frozenset()) | st.sets(st.integers(0, 12), max_size=8)


class Users(Driver):
    """Maps, submits, futures that come and go, streams, cancels."""

    options = st.builds(
        TaskOptions, retries=st.integers(0, 2), crash_retries=st.integers(1, 3), priority=st.integers(0, 1),
        concurrency_limit=st.sampled_from([None, None, 1]), state_handlers=st.sampled_from([(), (), (never,)]),
    )

    @precondition(lambda self: len(self.maps) < 8)
    @rule(
        n=st.integers(0, 9) | st.just(24), chunk=st.none() | st.integers(1, 4) | st.just(24), options=options,
        kept=st.booleans(), gate=PICK, left=LEFT,
    )  # fmt: skip
    def map_over_a_list(
        self, n: int, chunk: int | None, options: TaskOptions, kept: bool, gate: int, left: AbstractSet[int]
    ) -> None:
        source = Source(plan_map(Binder(identity, "work"), (range(n),), {}, never, never))
        map = self.make(options, kept=kept, left=left, source=source)
        map.sending.chunk_option = chunk
        first = self.listed()
        gates = (Upstream(first[gate % len(first)], None, value=False),) if first and gate % 4 == 0 else ()
        self.open(map, n, tuple(g for g in gates if g.map is not map))

    @precondition(lambda self: len(self.maps) < 8)
    @rule(chunk=st.none() | st.integers(1, 3), options=options, left=LEFT)
    def map_over_an_iterator(self, chunk: int | None, options: TaskOptions, left: AbstractSet[int]) -> None:
        map = self.make(options, left=left, source=Iterator())
        map.sending.chunk_option = chunk
        self.open(map, None)

    @precondition(lambda self: len(self.maps) < 8 and self.listed())
    @rule(pick=PICK, options=options, kept=st.booleans(), allow=st.booleans(), two=st.booleans(), left=LEFT)
    def map_over_a_map(
        self, pick: int, options: TaskOptions, kept: bool, allow: bool, two: bool, left: AbstractSet[int]
    ) -> None:
        found = self.listed()
        first = found[pick % len(found)]
        alike = [m for m in self.listed(sized=True) if len(m.codes) == len(first.codes) and m is not first and m.closed]
        feeds = [first, *(alike[:1] if two and first.closed else ())]
        map = self.make(options, kept=kept, left=left, feeds=tuple(Upstream(m, None, allow) for m in feeds))
        map.inputs.layout = (-1, -2)[: len(feeds)]
        self.open(map, None)

    def opened_series(self, other: bool = False) -> MapRun:
        found = self.other if other else self.series
        if found is None:
            name, retries = ("other", 0) if other else ("single", self.retries)
            found = self.make(TaskOptions(name=name, retries=retries), kind="submit")
            found.sending.pipe_ref = self.d.tables.new_ref()
            self.by_ref[found.sending.pipe_ref] = found
            stage = Stage(found.sending.spec_ref, None, Binding(star=True), found.id)
            self.d.intake.open_series(found, stage, stage)
            if other:
                self.other = found
            else:
                self.series = found
        return found

    @rule(
        heads=st.integers(0, 3), depth=st.integers(1, 4), by_level=st.booleans(), last=st.integers(0, 3),
        alone=st.booleans(), beyond=st.booleans(),
    )  # fmt: skip
    def submit_chains(
        self, heads: int, depth: int, by_level: bool, last: int, alone: bool, beyond: bool
    ) -> None:
        """Chains of single runs, one after the other or level by level; some go on from what there is.

        `alone`: of each new chain, only the last future is kept. `beyond`: a run of another task ends each.
        """
        map = self.opened_series()
        first = len(map.codes)
        ends = list(range(first))[-last:] if last else []
        for _ in range(heads):
            index = next(map.inputs.append_index)
            self.comes_to_read(map, index, ())
            self.handles[map.id, index] += 1
            self.d.intake.append_item(map, index, ((), {}), ())
            ends.append(index)
        order = [n for _ in range(depth) for n in range(len(ends))]
        for n in order if by_level else sorted(order):
            ends[n] = self.link(map, ends[n])
        self.d.intake.append_links(map)
        for end in ends if beyond else ():
            self.read_beyond(map, end)
        if alone:
            for index in set(range(first, len(map.codes))).difference(ends):
                self.drop_handle((map.id, index))
        self.carry_out()

    def read_beyond(self, map: MapRun, end: int) -> None:
        other = self.opened_series(other=True)
        index, ups = next(other.inputs.append_index), (Upstream(map, end),)
        self.comes_to_read(other, index, ups)
        self.handles[other.id, index] += 1
        self.d.intake.append_item(other, index, PIPE, ups)

    def link(self, map: MapRun, before: int) -> int:
        index = next(map.inputs.append_index)
        self.comes_to_read(map, index, (Upstream(map, before),))
        self.handles[map.id, index] += 1
        map.inputs.links.append((index, before))
        return index

    @rule(picks=st.lists(PICK, min_size=1, max_size=5), first=st.booleans(), early=st.booleans())
    def submit_links(self, picks: list[int], first: bool, early: bool) -> None:
        """Runs that each take one before them, maybe with a new one among them, which may become known behind them."""
        map = self.opened_series()
        fresh = next(map.inputs.append_index) if first or not map.codes else None
        for pick in picks:
            self.link(map, pick % (len(map.codes) + len(map.inputs.links) + (fresh is not None)))
        moves = [lambda: self.d.intake.append_links(map)]
        if fresh is not None:
            self.comes_to_read(map, fresh, ())
            self.handles[map.id, fresh] += 1
            moves.insert(early, lambda: self.d.intake.append_item(map, fresh, ((), {}), ()))
        for move in moves:
            move()
        self.carry_out()

    @rule(picks=st.lists(st.tuples(PICK, PICK, st.booleans()), max_size=2), whole=st.booleans(), other=st.booleans())
    def submit(self, picks: list[tuple[int, int, bool]], whole: bool, other: bool) -> None:
        map = self.opened_series(other)
        ups = []
        for pick, item, allow in picks:
            found = self.listed()
            if found:
                up = found[pick % len(found)]
                if whole or up.codes:
                    ups.append(Upstream(up, None if whole else item % len(up.codes), allow))
        index = next(map.inputs.append_index)
        self.comes_to_read(map, index, tuple(ups))
        self.handles[map.id, index] += 1
        pipe = len(ups) == 1 and ups[0].item is not None and not ups[0].allow_failure
        item = PIPE if pipe else (tuple(Hole(n) for n in range(len(ups))), {})
        self.d.intake.append_item(map, index, item, tuple(ups))
        self.carry_out()

    @precondition(lambda self: self.held_lists)
    @rule(pick=PICK)
    def drop_a_list(self, pick: int) -> None:
        found = [m for m in self.maps if m.id in self.held_lists and m.consumers.stream is None]
        if found:
            map = found[pick % len(found)]
            self.held_lists.discard(map.id)
            self.d.readers.list_gone(map)
            self.carry_out()

    @rule(pick=PICK, item=PICK)
    def take_a_handle(self, pick: int, item: int) -> None:
        found = [m for m in self.listed() if m.codes]
        if found:
            map = found[pick % len(found)]
            self.handles[map.id, item % len(map.codes)] += 1
            self.d.readers.handle_taken(map, item % len(map.codes))
            self.carry_out()

    @rule(pick=PICK)
    def drop_a_handle(self, pick: int) -> None:
        found = [key for key, count in self.handles.items() if count]
        if found:
            self.drop_handle(found[pick % len(found)])
            self.carry_out()

    @rule(picks=st.lists(PICK, max_size=4))
    def drop_handles(self, picks: list[int]) -> None:
        gone = []
        for pick in picks:
            found = [key for key, count in self.handles.items() if count]
            if found:
                key = found[pick % len(found)]
                self.handles[key] -= 1
                gone.append((next(m for m in self.maps if m.id == key[0]), key[1]))
        self.d.readers.handles_gone(gone)
        self.carry_out()

    def drop_handle(self, key: tuple[str, int]) -> None:
        self.handles[key] -= 1
        self.d.readers.handle_gone(next(m for m in self.maps if m.id == key[0]), key[1])

    @rule(pick=PICK, item=st.none() | PICK)
    def wait(self, pick: int, item: int | None) -> None:
        found = [m for m in self.maps if m.codes and m.kind == "map"]
        if found:
            map = found[pick % len(found)]
            number = len(self.woken)
            self.woken.append(0)
            self.d.readers.wait_for(map, None if item is None else item % len(map.codes), self.waker(number))
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
            map.sending.window = window
            self.d.readers.stream_opened(map)
            self.carry_out()

    @precondition(lambda self: self.streams)
    @rule(pick=PICK, count=st.integers(1, 4), close=st.booleans())
    def read_a_stream(self, pick: int, count: int, close: bool) -> None:
        name = list(self.streams)[pick % len(self.streams)]
        map = next(m for m in self.maps if m.id == name)
        self.read(map, count)
        if close:
            del self.streams[name]
            self.d.readers.stream_closed(map, finished=map.finished)
        self.carry_out()

    def read(self, map: MapRun, count: int) -> None:
        upto = self.streams[map.id]
        while count and map.is_terminal(upto):
            upto, count = upto + 1, count - 1
        self.streams[map.id] = upto
        self.d.readers.give_away(map, map.consumers.consumed, upto)
        self.d.readers.stream_advanced(map, upto)

    @rule(pick=PICK, item=st.none() | PICK)
    def cancel(self, pick: int, item: int | None) -> None:
        found = [m for m in self.maps if m.codes]
        if found and pick % 3 == 0:
            map = found[pick % len(found)]
            if item is None and map.kind == "map":
                self.d.cancelling.cancel_map(map)
            elif item is not None:
                self.d.cancelling.cancel_items(map, (item % len(map.codes),))
            self.carry_out()
