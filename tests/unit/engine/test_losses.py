"""The dispatcher when things go wrong: retries, time-outs, lost chunks and values, reports that come too late."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from anabranch.core import states
from anabranch.core.chunks import BlockHandle
from anabranch.core.events import ChunkLost, ItemTimedOut
from anabranch.core.instructions import AskHandlers, AskRetry, Verdict
from tests.unit.engine.bench import Bench, codes, failed, items_of, never

if TYPE_CHECKING:
    from anabranch.core.maps import MapRun

# -- retries -------------------------------------------------------------------------------------------


def test_a_retry_waits_for_its_time() -> None:
    bench = Bench()
    bench.dispatcher.tick(100.0)
    map = bench.map(range(3), chunk=3, retries=1)
    [chunk] = bench.take()
    bench.report(
        chunk, codes=codes(3, p1=states.AWAITING_RETRY), outcomes=[failed(1, states.AWAITING_RETRY, delay=5.0)]
    )
    assert bench.take() == []
    assert not map.finished
    assert map.state(1).name == "AwaitingRetry"
    assert bench.dispatcher.next_due() == 105.0
    bench.dispatcher.tick(104.9)
    assert bench.take() == []
    bench.dispatcher.tick(105.0)
    [again] = bench.take()
    assert list(again.items) == [1]
    assert again.attempts is not None
    assert list(again.attempts) == [2]
    bench.run()
    assert map.finished
    assert map.failures() == []
    assert map.attempt(1) == 2
    assert bench.dispatcher.next_due() is None


def test_what_only_a_retry_kept_goes_when_the_retry_has_its_own_value() -> None:
    bench = Bench(held=True)
    map = bench.map(range(4), chunk=3, retries=1)
    bench.dispatcher.cancelling.cancel_items(map, [1])
    [chunk] = bench.take()
    assert items_of([chunk]) == [0, 2, 3]
    reader = bench.map(after=map, kept=False)
    bench.dispatcher.readers.list_gone(map)
    bench.report(
        chunk, codes=codes(3, p0=states.FAILED, p1=states.AWAITING_RETRY, p2=states.FAILED),
        outcomes=[failed(0), failed(1, states.AWAITING_RETRY), failed(2)],
    )  # fmt: skip
    bench.dispatcher.tick(1.0)
    bench.run()
    assert [i for i in range(4) if reader.codes[i] == states.COMPLETED] == [2]
    assert BlockHandle(chunk.id, 0, 0) in bench.freed
    assert bench.dispatcher.tables.ledger.bytes_held == 0


def test_a_timed_out_item_is_retried_then_given_up(bench: Bench) -> None:
    map = bench.map(range(1), retries=1, timeout_seconds=2.0)
    for attempt in (1, 2):
        [chunk] = bench.take()
        assert list(chunk.attempts or [1]) == [attempt]
        bench.dispatcher.timeouts.item_timed_out(ItemTimedOut(chunk.id, 0, 0, 2.0))
        bench.dispatcher.losses.chunk_lost(ChunkLost(chunk.id, "stopped"))
        bench.dispatcher.tick(bench.dispatcher.tables.now + 1.0)
    assert bench.take() == []
    assert map.codes[0] == states.TIMED_OUT
    assert map.finished


def timed_out(bench: Bench, **options: Any) -> tuple[MapRun, AskRetry]:
    """A map of one item that ran out of its time with a retry left, and what is asked about it."""
    map = bench.map(range(1), retries=1, retry_delay_seconds=5, timeout_seconds=2.0, **options)
    [chunk] = bench.take()
    bench.dispatcher.timeouts.item_timed_out(ItemTimedOut(chunk.id, 0, 0, 2.0))
    bench.dispatcher.losses.chunk_lost(ChunkLost(chunk.id, "stopped"))
    assert bench.take() == []
    [asked] = [one for one in bench.others if isinstance(one, AskRetry)]
    assert asked.delay == 5.0
    return map, asked


ASKING = [{"on_retry": [never]}, {"state_handlers": [never]}, {"retry_condition_fn": never}]


@pytest.mark.parametrize("asking", ASKING, ids=lambda one: next(iter(one)))
def test_who_has_a_say_in_a_retry_after_a_time_out_is_asked(bench: Bench, asking: dict[str, Any]) -> None:
    map, asked = timed_out(bench, **asking)
    assert bench.dispatcher.next_due() is None, "nothing begins before the answer"
    bench.dispatcher.timeouts.retry_answered(asked, Verdict(states.AWAITING_RETRY, asked.message, delay=7.0))
    assert (map.attempt(0), map.counted(0), map.state(0).name) == (2, 2, "AwaitingRetry")
    bench.dispatcher.tick(bench.dispatcher.tables.now + 7.0)
    [chunk] = bench.take()
    bench.report(chunk)
    assert map.codes[0] == states.COMPLETED


def test_a_condition_that_wants_no_retry_leaves_the_time_out(bench: Bench) -> None:
    map, asked = timed_out(bench, retry_condition_fn=never)
    bench.dispatcher.timeouts.retry_answered(asked, None)
    assert (map.codes[0], map.attempt(0), map.finished) == (states.TIMED_OUT, 1, True)


def test_another_state_in_place_of_a_retry_ends_the_item(bench: Bench) -> None:
    map, asked = timed_out(bench, state_handlers=[never])
    bench.dispatcher.timeouts.retry_answered(asked, Verdict(states.COMPLETED, "enough", value=5))
    assert (map.codes[0], map.finished) == (states.COMPLETED, True)
    assert not any(isinstance(one, AskHandlers) for one in bench.others), "the handlers have had their say"


def test_a_cancel_while_a_retry_is_decided_stands(bench: Bench) -> None:
    map, asked = timed_out(bench, on_retry=[never])
    bench.dispatcher.cancelling.cancel_items(map, [0])
    bench.dispatcher.timeouts.retry_answered(asked, Verdict(states.AWAITING_RETRY, delay=1.0))
    assert (map.codes[0], map.attempt(0)) == (states.CANCELLED, 1)
    assert bench.dispatcher.next_due() is None


# -- chunks that are lost ------------------------------------------------------------------------------


def test_a_lost_chunk_comes_back_in_eighths(bench: Bench) -> None:
    map = bench.map(range(64), chunk=64)
    [chunk] = bench.take()
    bench.queue.clear()
    bench.dispatcher.losses.chunk_lost(ChunkLost(chunk.id, "worker-lost", "gone"))
    again = bench.take()
    assert len(again) == 4, "two chunks a slot"
    assert [list(c.items) for c in again] == [list(range(n, n + 8)) for n in range(0, 32, 8)]
    bench.run()
    assert map.finished
    assert map.failures() == []
    assert set(map.attempts.values()) == {2}


def test_what_was_reported_is_not_sent_again(bench: Bench) -> None:
    map = bench.map(range(10), chunk=10)
    [chunk] = bench.take()
    bench.report(chunk, 6, final=False)
    bench.queue.clear()
    bench.dispatcher.losses.chunk_lost(ChunkLost(chunk.id, "worker-lost", "gone", (6,), True))
    again = bench.take()
    assert sorted(items_of(again)) == [6, 7, 8, 9]
    assert [6] in [list(c.items) for c in again], "the suspect travels alone"
    assert map.attempts == {6: 2}, "only the suspect has spent an attempt"
    bench.run()
    assert map.failures() == []


def test_three_deaths_are_poison(bench: Bench) -> None:
    map = bench.map(range(1))
    for _ in range(3):
        [chunk] = bench.take()
        bench.dispatcher.losses.chunk_lost(ChunkLost(chunk.id, "worker-lost", "gone", (0,), True))
    assert bench.take() == []
    assert map.codes[0] == states.CRASHED
    assert "poison" in map.messages[0]
    assert map.finished


def test_poison_is_found_without_suspects(bench: Bench) -> None:
    """Some engines cannot say which item did it: narrowing down must end, and spare the innocent."""
    map = bench.map(range(64), chunk=64)
    bench.take()
    sent = 0
    while bench.queue:
        chunk = bench.queue.pop(0)
        sent += 1
        assert sent < 200
        if 37 in chunk.items:
            bench.dispatcher.losses.chunk_lost(ChunkLost(chunk.id, "worker-lost", "gone"))
        else:
            bench.report(chunk)
        bench.take()
    assert map.finished
    assert map.failures() == [37]
    assert map.codes[37] == states.CRASHED


def test_a_stopped_chunk_costs_no_attempt(bench: Bench) -> None:
    map = bench.map(range(4), chunk=4)
    [chunk] = bench.take()
    bench.queue.clear()
    bench.dispatcher.losses.chunk_lost(ChunkLost(chunk.id, "stopped"))
    assert sorted(items_of(bench.take())) == [0, 1, 2, 3]
    assert map.attempts == {}


def test_items_that_were_not_started_go_back_uncounted(bench: Bench) -> None:
    map = bench.map(range(4), chunk=4)
    [chunk] = bench.take()
    bench.report(chunk, 1)
    assert sorted(items_of(bench.take())) == [1, 2, 3]
    bench.run()
    assert map.finished
    assert map.attempts == {}


def test_a_late_report_is_refused() -> None:
    bench = Bench(held=True)
    map = bench.map(range(2), chunk=2)
    [chunk] = bench.take()
    bench.queue.clear()
    bench.dispatcher.losses.chunk_lost(ChunkLost(chunk.id, "worker-lost", "gone", (0,), True))
    bench.take()
    bench.report(chunk)
    bench.take()
    assert map.done == 0
    assert bench.freed == [BlockHandle(chunk.id, 0, 0)], "its values are dropped where they are"
    bench.run()
    assert map.finished
    assert map.done == 2
    assert BlockHandle(chunk.id, 0, 0) not in [b.handle for b in (*map.values.blocks, *map.values.moved.values())]


def test_a_report_that_comes_twice_counts_once(bench: Bench) -> None:
    map = bench.map(range(4), chunk=4)
    [chunk] = bench.take()
    bench.report(chunk, 2, final=False)
    bench.report(chunk, 2, final=False)
    assert map.done == 2
    assert map.queue.sent == 2
    bench.report(chunk, 2, first=2)
    bench.report(chunk, 2, first=2)
    bench.take()
    assert map.done == 4
    assert map.finished


def test_a_lost_engine_crashes_what_was_to_do(bench: Bench) -> None:
    map = bench.map(range(10), chunk=1)
    bench.take()
    bench.report(bench.queue[0])
    bench.dispatcher.losses.engine_lost(bench.lane, "gone")
    bench.take()
    assert map.finished
    assert map.codes[0] == states.COMPLETED
    assert set(map.codes[1:]) == {states.CRASHED}
    assert "engine-lost" in map.messages[5]


@pytest.mark.parametrize("chunk", [1, 4])
def test_a_lost_engine_ends_the_wait_for_a_map_that_was_cancelled_in_flight(bench: Bench, chunk: int) -> None:
    """Its items had ended already; the reports that the waiter waited for will not come."""
    map = bench.map(range(4), chunk=chunk)
    bench.take()
    told: list[str] = []
    bench.dispatcher.readers.wait_for(map, None, lambda: told.append("all"))
    bench.dispatcher.cancelling.cancel_map(map)
    bench.take()
    assert told == []
    bench.dispatcher.losses.engine_lost(bench.lane, "gone")
    bench.take()
    assert told == ["all"]
    assert map.queue.sent == 0
    assert set(map.codes) == {states.CANCELLED}


def test_a_lost_engine_ends_the_wait_for_a_consumer_that_travelled_along(bench: Bench) -> None:
    first = bench.map(range(4), chunk=4)
    second = bench.map(after=first)
    bench.take()
    told: list[str] = []
    for map in (first, second):
        bench.dispatcher.readers.wait_for(map, None, lambda: told.append("all"))
    bench.dispatcher.cancelling.cancel_together([first, second])
    bench.dispatcher.losses.engine_lost(bench.lane, "gone")
    bench.take()
    assert told == ["all", "all"]
