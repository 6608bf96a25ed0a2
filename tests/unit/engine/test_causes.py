"""Each row of what left the happy path has its reason, and what has not ended is told by what it waits for."""

from __future__ import annotations

import json
from typing import Any

import pytest

from anabranch.core import policies, states
from anabranch.core.events import ChunkLost, ItemTimedOut
from anabranch.core.reports import ErrorInfo, Outcome
from anabranch.core.runs import ItemRow
from anabranch.engine import causes, standing, triggers
from tests.unit.engine.bench import Bench, codes, failed


def reasons_of(bench: Bench) -> dict[tuple[int, int], tuple[str, dict[str, Any]]]:
    """By index and attempt."""
    bench.take()
    rows = [row for row in bench.rows if isinstance(row, ItemRow)]
    return {(r.index, r.attempt): (r.reason, json.loads(r.details or "{}")) for r in rows}


def end(bench: Bench, code: int, outcome: Outcome | None = None, **options: Any) -> Any:
    """One item that ends so."""
    bench.map(range(1), **options)
    [chunk] = bench.take()
    bench.report(chunk, codes=codes(1, p0=code), outcomes=[outcome or failed(0, code)])
    return reasons_of(bench)


def test_happy_items_have_none(bench: Bench) -> None:
    bench.map(range(4))
    bench.run()
    assert reasons_of(bench) == {}


def test_failed_and_retried(bench: Bench) -> None:
    found = end(bench, states.AWAITING_RETRY, retries=2)
    assert found[0, 1] == ("budget/user", {"spent": 1, "of": 2})
    bench.dispatcher.tick(1000.0)
    [chunk] = bench.take()
    bench.report(chunk, codes=codes(1, p0=states.AWAITING_RETRY), outcomes=[failed(0, states.AWAITING_RETRY)])
    bench.dispatcher.tick(2000.0)
    [chunk] = bench.take()
    bench.report(chunk, codes=codes(1, p0=states.FAILED), outcomes=[failed(0)])
    assert reasons_of(bench)[0, 3] == ("budget/user", {"spent": 2, "of": 2})


def test_no_retries_and_refused_ones(bench: Bench) -> None:
    assert end(bench, states.FAILED)[0, 1] == ("budget/user", {"spent": 0, "of": 0})
    refused = end(Bench(), states.FAILED, retries=2, retry_on=KeyError)
    assert refused[0, 1] == ("budget/user", {"spent": 0, "of": 2, "refused": "retry_on"})


def test_a_cache_hit_has_its_key_and_what_it_is_made_of(bench: Bench) -> None:
    hit = Outcome(0, 0, states.CACHED, cache_key="k1")
    policy = policies.INPUTS - "verbose" + policies.TASK_SOURCE + policies.FLOW_PARAMETERS
    found = end(bench, states.CACHED, hit, cache_policy=policy)
    parts = ["inputs without verbose", "task source", "flow parameters"]
    assert found[0, 1] == ("cache-hit", {"parts": parts, "key": "k1"})


def test_words_that_workers_tell(bench: Bench) -> None:
    assert end(bench, states.FAILED, failed(0, reason="result-store"))[0, 1][0] == "result-store"
    assert end(Bench(), states.CRASHED, failed(0, states.CRASHED, reason="cancelled/sigterm"))[0, 1][0] == (
        "cancelled/sigterm"
    )
    assert end(Bench(), states.CRASHED)[0, 1][0] == "exit"
    lost = Outcome(0, 0, states.FAILED, error=ErrorInfo("SerializationError", "a lock", ""))
    assert end(Bench(), states.FAILED, lost)[0, 1][0] == "unserializable"


def test_timed_out_and_tried_again(bench: Bench) -> None:
    bench.map(range(1), retries=1, timeout_seconds=2)
    [chunk] = bench.take()
    bench.dispatcher.timeouts.item_timed_out(ItemTimedOut(chunk.id, 0, 0, 2.0))
    bench.dispatcher.losses.chunk_lost(ChunkLost(chunk.id, "stopped"))
    bench.dispatcher.tick(1000.0)
    [chunk] = bench.take()
    bench.dispatcher.timeouts.item_timed_out(ItemTimedOut(chunk.id, 0, 0, 2.0))
    found = reasons_of(bench)
    assert found[0, 1] == ("timeout", {"spent": 1, "of": 1, "seconds": 2.0})
    assert found[0, 2] == ("timeout", {"spent": 1, "of": 1, "seconds": 2.0})


def test_a_lost_worker_spends_crash_retries_up_to_poison(bench: Bench) -> None:
    bench.map(range(1), crash_retries=2)
    for reason in ("out-of-memory", "worker-lost"):
        [chunk] = bench.take()
        bench.dispatcher.losses.chunk_lost(ChunkLost(chunk.id, reason, "gone", (0,), alone=True))
    found = reasons_of(bench)
    assert found[0, 1] == ("budget/out-of-memory", {"spent": 1, "of": 2})
    assert found[0, 2] == ("poison", {"cause": "worker-lost", "spent": 2})


def test_items_beside_the_culprit_say_why_they_run_again() -> None:
    bench = Bench(slots=1)
    bench.map(range(8), chunk=8)
    [chunk] = bench.take()
    bench.dispatcher.losses.chunk_lost(ChunkLost(chunk.id, "worker-lost"))
    found = reasons_of(bench)
    assert {found[index, 1][0] for index in range(8)} == {"budget/worker-lost"}


def test_a_lost_engine(bench: Bench) -> None:
    bench.map(range(3), chunk=1)
    bench.take()
    bench.dispatcher.losses.engine_lost(bench.lane, "the scheduler is gone")
    assert {why[0] for why in reasons_of(bench).values()} == {"budget/engine-lost"}


def test_skipped_for_an_upstream_or_by_a_trigger(bench: Bench) -> None:
    first = bench.map(range(2), chunk=2)
    bench.map(after=first)
    bench.map(after=first, trigger=triggers.all_failed)
    [chunk] = bench.take()
    bench.report(chunk, codes=codes(2, p1=states.FAILED), outcomes=[failed(1)])
    bench.run()
    rows = [row for row in bench.rows if isinstance(row, ItemRow) and row.state == states.TRIGGER_FAILED]
    found = {(row.index, row.reason): json.loads(row.details) for row in rows}
    assert found[1, "upstream"] == {
        "upstream": "work[1]", "task": "work", "index": 1, "map": first.id, "state": "Failed"
    }  # fmt: skip
    assert found[0, "trigger"] == {"trigger": "all_failed", "states": ["Completed"]}
    assert len(found) == 2  # the trigger let the other one pass


@pytest.mark.parametrize("by", ["user", "request", "flow-end", "flow-timeout", "ctrl-c", "sigterm"])
def test_who_cancelled(bench: Bench, by: str) -> None:
    map = bench.map(range(2), chunk=1)
    bench.take()
    bench.dispatcher.cancelling.cancel_together([map], by)
    assert {why for why, _ in reasons_of(bench).values()} == {f"cancelled/{by}"}


def test_what_a_task_submitted_goes_with_it(bench: Bench) -> None:
    outer = bench.map(range(1))
    [chunk] = bench.take()
    inner = bench.map(range(1), parent=f"{outer.id}/0")
    bench.dispatcher.cancelling.cancel_items(outer, (0,))
    bench.take()
    rows = {row.map: row.reason for row in bench.rows if isinstance(row, ItemRow)}
    assert rows == {outer.id: "cancelled/user", inner.id: "cancelled/parent"}
    bench.report(chunk)


def test_lost_values_that_are_made_again() -> None:
    bench = Bench(held=True)
    map = bench.map(range(2), chunk=2)
    [chunk] = bench.take()
    bench.report(chunk)
    bench.take()
    bench.dispatcher.remakes.values_lost(bench.lane, [block.handle for block in map.values.blocks])
    assert {why for why, _ in reasons_of(bench).values()} == {"budget/value-lost"}
    assert len(bench.take() or bench.queue) >= 1


# -- what waits --------------------------------------------------------------------------------------


def stands(bench: Bench, map: Any, index: int) -> tuple[str, dict[str, Any]]:
    bench.take()
    one = standing.of_item(bench.dispatcher.tables, map, index)
    assert one is not None
    assert one.reason is not None
    return one.reason.word, json.loads(one.reason.details or "{}")


def test_running_and_waiting_for_a_slot() -> None:
    bench = Bench(slots=1)
    map = bench.map(range(10), chunk=1)
    assert stands(bench, map, 0)[0] == "running"
    assert stands(bench, map, 9) == ("slots", {"runner": "bench", "busy": 2, "slots": 1})
    bench.run()
    assert standing.of_item(bench.dispatcher.tables, map, 9) is None


def test_waiting_for_an_upstream(bench: Bench) -> None:
    first = bench.map(range(4), chunk=1)
    second = bench.map(after=first, chunk=2)
    word, details = stands(bench, second, 3)
    assert (word, details["upstream"], details["index"], details["map"]) == ("upstream", "work[3]", 3, first.id)


def test_waiting_for_a_limit(bench: Bench) -> None:
    bench.dispatcher.set_limit("task:work", 1)
    map = bench.map(range(4), chunk=1, concurrency_limit=1)
    assert stands(bench, map, 3) == ("limit", {"limit": "task:work", "used": 1, "places": 1})


def test_waiting_for_a_reader(bench: Bench) -> None:
    map = bench.map(range(100), chunk=1, window=2)
    bench.dispatcher.readers.stream_opened(map)
    bench.take()
    for chunk in list(bench.queue):
        bench.report(chunk)
    assert stands(bench, map, 99)[0] == "reader"


def test_waiting_for_the_next_attempt_has_its_time(bench: Bench) -> None:
    map = bench.map(range(1), retries=1)
    [chunk] = bench.take()
    bench.report(chunk, codes=codes(1, p0=states.AWAITING_RETRY), outcomes=[failed(0, states.AWAITING_RETRY, delay=5)])
    one = standing.of_item(bench.dispatcher.tables, map, 0)
    assert one is not None
    assert (one.reason, one.due) == (None, 5.0)


def test_not_taken_from_its_iterator(bench: Bench) -> None:
    map = bench.map(iter(range(10)))
    assert stands(bench, map, 7)[0] == "input"


def test_a_million_waiting_items_are_few_groups() -> None:
    bench = Bench(slots=1)
    first = bench.map(range(1_000_000), chunk=10)
    second = bench.map(after=first, chunk=10)
    bench.take()
    groups = {g.reason.word: (g.first, g.many) for g in standing.of_map(bench.dispatcher.tables, first) if g.reason}
    assert groups == {"running": (0, 20), "slots": (20, 999_980)}
    [group] = standing.of_map(bench.dispatcher.tables, second)
    assert group.reason is not None
    assert (group.reason.word, group.first, group.many) == ("upstream", 0, 1_000_000)


def test_parts_of_a_key_function() -> None:
    map = Bench().map(range(1), cache_key_fn=policies.task_input_hash)
    assert causes.key_parts(map.options) == ["what cache_key_fn task_input_hash answers"]
