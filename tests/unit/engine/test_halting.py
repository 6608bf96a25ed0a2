"""A flow run that is told to end: nothing of it begins, what runs ends, other flow runs go on."""

from __future__ import annotations

from anabranch.core import states
from anabranch.core.instructions import Pull, Shorten
from tests.unit.engine.bench import Bench, codes, failed


def halt(bench: Bench, *runs: str) -> list[str]:
    told: list[str] = []
    bench.dispatcher.halts.halt(runs, lambda: told.append("halted"))
    bench.take()
    return told


def test_what_runs_ends_and_nothing_begins(bench: Bench) -> None:
    map = bench.map(range(40), chunk=4)
    chunks = bench.take()
    told = halt(bench, "")
    assert [one.chunk for one in bench.others if isinstance(one, Shorten)] == [chunk.id for chunk in chunks]
    bench.report(chunks[0], 1)
    for chunk in chunks[1:]:
        assert told == []
        bench.report(chunk, 0)
        assert bench.take() == []
    assert told == ["halted"]
    assert map.done == 1
    bench.dispatcher.cancelling.cancel_map(map)
    bench.take()
    assert map.finished
    assert (map.codes.count(states.COMPLETED), map.codes.count(states.CANCELLED)) == (1, 39)


def test_where_nothing_runs_it_is_told_at_once(bench: Bench) -> None:
    assert halt(bench, "", "another") == ["halted"]
    map = bench.map(range(3))
    assert bench.take() == [], "what is submitted from now on does not begin either"
    assert map.done == 0


def test_retries_and_consumers_do_not_begin(bench: Bench) -> None:
    first = bench.map(range(1), retries=1)
    bench.map(after=first)
    [chunk] = bench.take()
    told = halt(bench, "")
    bench.report(
        chunk, codes=(*codes(1, p0=states.AWAITING_RETRY), bytes([states.PENDING])),
        outcomes=[failed(0, states.AWAITING_RETRY)], blocks=(None, None),
    )  # fmt: skip
    bench.dispatcher.tick(bench.dispatcher.tables.now + 10)
    assert bench.take() == []
    assert told == ["halted"]


def test_an_iterator_is_pulled_no_further(bench: Bench) -> None:
    map = bench.map(iter(range(1000)))
    bench.dispatcher.windows.seal(map)
    halt(bench, "")
    bench.others.clear()
    bench.dispatcher.intake.pulled(map, list(range(8)), False, None)
    assert bench.take() == []
    assert [one for one in bench.others if isinstance(one, Pull)] == []


def test_other_flow_runs_go_on(bench: Bench) -> None:
    told = halt(bench, "another")
    map = bench.map(range(3))
    bench.run()
    assert map.finished
    assert told == ["halted"]


def test_a_task_that_waits_for_what_will_never_begin_is_not_waited_for(bench: Bench) -> None:
    bench.map(range(1))
    [chunk] = bench.take()
    told = halt(bench, "")
    assert told == []
    bench.dispatcher.reports.chunk_waits(chunk.id, 0, True)
    bench.take()
    assert told == ["halted"]


def test_a_run_that_has_ended_is_forgotten(bench: Bench) -> None:
    map = bench.map(range(1))
    bench.run()
    halt(bench, "")
    bench.dispatcher.forget_maps([map])
    assert bench.dispatcher.tables.halted == set()
