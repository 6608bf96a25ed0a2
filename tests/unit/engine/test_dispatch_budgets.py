"""Whose retries an attempt spends: the user's are for what his code did, not for what became of its worker."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from anabranch.core import states
from anabranch.core.chunks import BlockHandle
from anabranch.core.events import ChunkLost, ItemTimedOut
from anabranch.core.instructions import AskHandlers, Shorten, Verdict
from tests.unit.engine.bench import Bench, codes, failed

if TYPE_CHECKING:
    from anabranch.core.chunks import Chunk
    from anabranch.core.maps import MapRun


def lose(bench: Bench, chunk: Chunk, reason: str = "worker-lost", *, blame: int | None = 0) -> None:
    """The chunk's worker dies; `blame`: the position that ran."""
    bench.queue = [c for c in bench.queue if c.id != chunk.id]
    suspects = None if blame is None else (blame,)
    bench.dispatcher.losses.chunk_lost(ChunkLost(chunk.id, reason, "peak 99 MB", suspects, blame is not None))


def numbers(chunk: Chunk) -> tuple[list[int], list[int]]:
    return list(chunk.attempts or [1] * len(chunk)), list(chunk.uncounted_attempts or [0] * len(chunk))


def time_out(bench: Bench, chunk: Chunk) -> None:
    bench.queue.clear()
    bench.dispatcher.timeouts.item_timed_out(ItemTimedOut(chunk.id, 0, 0, 2.0))
    bench.dispatcher.losses.chunk_lost(ChunkLost(chunk.id, "stopped"))
    bench.dispatcher.tick(bench.dispatcher.tables.now + 1.0)


def test_a_crash_leaves_the_users_retries_for_a_time_out(bench: Bench) -> None:
    map = bench.map(range(1), retries=1, timeout_seconds=2.0)
    [chunk] = bench.take()
    lose(bench, chunk)
    [chunk] = bench.take()
    assert numbers(chunk) == ([2], [1])
    time_out(bench, chunk)
    [chunk] = bench.take()
    assert numbers(chunk) == ([3], [1])
    time_out(bench, chunk)
    assert bench.take() == []
    assert map.codes[0] == states.TIMED_OUT, "the one retry is spent by the first time-out"


@pytest.mark.parametrize("blame", [0, None])
def test_workers_are_told_what_does_not_count(bench: Bench, blame: int | None) -> None:
    """Known which item it was or not: of two that ran, neither has to pay."""
    bench.map(range(2), chunk=2, retries=1)
    [chunk] = bench.take()
    lose(bench, chunk, blame=blame)
    again = bench.take()
    told = {i: n for c in again for i, *n in zip(c.items, *numbers(c), strict=True)}
    assert told == ({0: [2, 1], 1: [1, 0]} if blame == 0 else {0: [2, 1], 1: [2, 1]})


def test_a_lost_value_is_made_again_at_nobodys_expense() -> None:
    bench = Bench(held=True)
    map = bench.map(range(1), retries=1)
    [chunk] = bench.take()
    bench.report(chunk, codes=codes(1, p0=states.AWAITING_RETRY), outcomes=[failed(0, states.AWAITING_RETRY)])
    bench.dispatcher.tick(bench.dispatcher.tables.now)
    [chunk] = bench.take()
    assert numbers(chunk) == ([2], [0])
    bench.report(chunk)
    bench.take()
    bench.dispatcher.remakes.values_lost(bench.lane, [BlockHandle(chunk.id, 0, 0)])
    [chunk] = bench.take()
    assert numbers(chunk) == ([3], [1])
    assert map.counted(0) == 2


def test_a_handler_that_lets_a_crashed_run_begin_again_spends_no_retry(bench: Bench) -> None:
    map = bench.map(range(1), crash_retries=1, state_handlers=[lambda obj, old, new: None])
    [chunk] = bench.take()
    lose(bench, chunk)
    bench.take()
    [asked] = [one for one in bench.others if isinstance(one, AskHandlers)]
    assert asked.code == states.CRASHED
    bench.dispatcher.board.handlers_answered(asked, Verdict(states.AWAITING_RETRY))
    assert (map.attempt(0), map.counted(0)) == (2, 1)


# -- out of memory ----------------------------------------------------------------------------------


def in_flight(bench: Bench, map: MapRun) -> int:
    return sum(sent.maps[0] is map for sent in bench.dispatcher.tables.sent.values())


def test_who_runs_out_of_memory_goes_on_with_half_the_concurrency_then_alone() -> None:
    bench = Bench(slots=4)
    map = bench.map(range(40), chunk=1)
    first = bench.take()
    assert len(first) == 8
    lose(bench, first[0], "out-of-memory")
    assert bench.take() == [], "what is under way is more than may be"
    shortened = [one.chunk for one in bench.others if isinstance(one, Shorten)]
    assert sorted(shortened) == sorted(chunk.id for chunk in first[1:])
    for chunk in first[1:]:
        bench.report(chunk, 0)  # nothing of them had begun
    second = bench.take()
    assert in_flight(bench, map) == 2
    assert 0 not in map.queue.delayed
    lose(bench, second[0], "out-of-memory")
    bench.take()
    bench.report(second[1])
    bench.take()
    assert in_flight(bench, map) == 1
    most = 0
    while bench.queue:
        most = max(most, in_flight(bench, map))
        bench.report(bench.queue[0])
        bench.take()
    assert most == 1
    assert map.finished
    assert map.failures() == []
    assert not bench.dispatcher.tables.limits.used


def test_two_that_die_together_halve_it_once() -> None:
    bench = Bench(slots=8)
    map = bench.map(range(100), chunk=1)
    first = bench.take()
    for chunk in first[:3]:
        lose(bench, chunk, "out-of-memory")
    for chunk in first[3:]:
        bench.report(chunk, 0)
    bench.take()
    assert in_flight(bench, map) == 4


def test_others_keep_their_concurrency() -> None:
    bench = Bench(slots=4)
    hungry, modest = bench.map(range(1), chunk=1), bench.map(range(40), chunk=1)
    first = bench.take()
    lose(bench, next(c for c in first if c.stages == (hungry.sending.stage_ref,)), "out-of-memory")
    bench.take()
    assert in_flight(bench, hungry) == 1
    assert in_flight(bench, modest) == 7


def test_deaths_of_memory_are_counted_apart(bench: Bench) -> None:
    map = bench.map(range(1))
    for reason in ("out-of-memory", "worker-lost", "out-of-memory"):
        [chunk] = bench.take()
        lose(bench, chunk, reason)
    assert bench.take() == []
    assert map.codes[0] == states.CRASHED
    assert map.messages[0] == (
        "out of memory 2 times, and its worker died once of something else (out-of-memory: peak 99 MB)"
    )
    retried = [row.message for row in bench.rows if getattr(row, "state", None) == states.AWAITING_RETRY]
    assert retried[0] == "out of memory once (out-of-memory: peak 99 MB)"


def test_a_later_stage_that_runs_out_of_memory_is_narrowed_itself() -> None:
    bench = Bench(slots=4, held=True)
    first = bench.map(range(40), chunk=1)
    second = bench.map(after=first)
    chunks = bench.take()
    assert chunks[0].stages == (first.sending.stage_ref, second.sending.stage_ref)
    bench.queue.remove(chunks[0])
    bench.dispatcher.losses.chunk_lost(ChunkLost(chunks[0].id, "out-of-memory", "peak 99 MB", (0,), True, 1))
    for chunk in chunks[1:]:
        bench.report(chunk, 0)
    bench.take()
    most = 0
    while bench.queue:
        most = max(most, in_flight(bench, second))
        bench.report(bench.queue[0])
        bench.take()
    assert most == 2
    assert first.failures() == second.failures() == []
