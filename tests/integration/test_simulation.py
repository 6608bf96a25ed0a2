"""The dispatcher under a virtual clock: a thousand workers in seconds. Its virtual times are the same in each run."""

from __future__ import annotations

import numpy
import pytest

from benchmarks import simulate as program
from benchmarks.simulation.figures import Figures, simulate
from benchmarks.simulation.setup import US, Node, Setup, bound_of, free_of

pytestmark = pytest.mark.sampled(7, "it plays a cluster for seconds")
MANY = Setup(workers=2_000, items=60_000)
LONG = {"workers": 512, "items": 20_000, "mean": 20.0, "sigma": 0.3}  # long against the time until a death is known


def test_many_workers_get_chunks_of_seconds_and_idle_no_more_than_with_a_free_dispatcher() -> None:
    found = simulate(MANY, free=True)
    assert found.completed == MANY.items
    assert found.makespan < 1.02 * found.free
    assert found.sent < MANY.items / 2  # by item of a second there would be 2,000 messages a second
    assert found.reports < 1.2 * found.sent


def test_with_one_item_a_chunk_a_driver_that_needs_time_for_messages_is_what_workers_wait_for() -> None:
    """The knee is seen: a thousand workers with items of a second are too many for a millisecond a message."""
    slow = {"workers": 1_000, "items": 20_000, "message": 0.001}
    by_item, measured = simulate(Setup(**slow, chunk=1)), simulate(Setup(**slow))  # type: ignore[arg-type]
    assert by_item.busy > 0.8
    assert by_item.makespan > 2 * by_item.bound
    assert measured.makespan < 0.7 * by_item.makespan


def test_a_lost_node_late_and_slow_workers_cost_little_and_no_item() -> None:
    found = simulate(Setup(**LONG, lost=0.25, late=0.25, slow=0.01, values="driver"))  # type: ignore[arg-type]
    assert found.completed == LONG["items"]
    assert found.lost == found.again == 128  # chunks of one item
    assert found.idle < 0.07


def test_longest_first_meets_the_bound_that_no_blind_order_can() -> None:
    blind = simulate(Setup(workers=500, items=40_000, sigma=1.5), free=True)
    told = simulate(Setup(workers=500, items=40_000, sigma=1.5, longest_first=True))
    assert blind.idle == pytest.approx(blind.idle_free, abs=0.03)
    assert told.idle < 0.01


# As 10,000 workers and 10 million items, in small: each worker has a thousand seconds of work, in chunks of 40 s.
SMALL = {"workers": 100, "items": 50_000, "mean": 2.0, "node": 1, "chunk_seconds": 40.0}


@pytest.mark.parametrize(
    ("changes", "bar"),
    [
        ({"sigma": 0.8}, 0.05),
        ({"sigma": 1.5, "longest_first": True}, 0.05),
        ({"sigma": 0.8, "lost": 0.01}, 0.08),
        ({"sigma": 1.5, "lost": 0.01, "longest_first": True}, 0.08),
    ],
)
def test_the_bars_of_idle_workers_hold_in_a_small_size(changes: dict[str, float], bar: float) -> None:
    """By the virtual clock alone: no machine is too slow for it."""
    found = simulate(Setup(**SMALL, **changes))  # type: ignore[arg-type]
    assert found.completed == SMALL["items"]
    assert (found.lost > 0) == ("lost" in changes)
    assert found.idle < bar


@pytest.mark.parametrize(
    ("figures", "told"),
    [
        ({}, "pass"),
        ({"makespan": 105.0}, "MISS: idle"),
        ({"makespan": 105.0, "free": 104.0}, "MISS: idle"),
        ({"makespan": 130.0, "free": 130.0}, program.BEYOND),
        ({"makespan": 130.0, "free": 130.0, "cpu": 3.1e-3}, "MISS: CPU, idle"),
        ({"cpu": 3.1e-3}, "MISS: CPU"),
        ({"grown": 16_001}, "MISS: bytes"),
    ],
)
def test_a_row_says_whether_the_bars_hold(figures: dict[str, float], told: str) -> None:
    held = {"items": 1_000, "makespan": 104.9, "bound": 100.0, "free": 0.0, "cpu": 3e-3, "grown": 16_000}
    nothing = dict.fromkeys(("completed", "longest_step", "simulator", "sent", "reports", "lost", "again", "busy"), 0)
    found = Figures(**{**held, **nothing, **figures})  # type: ignore[arg-type]
    assert program.verdict(found, 0.05) == told
    assert program.line("it", found, 0.05).endswith(f"| {told} |")


def test_values_that_lay_on_a_lost_node_are_made_again() -> None:
    found = simulate(Setup(**LONG, lost=0.25, values="workers"))  # type: ignore[arg-type]
    assert found.completed == LONG["items"]
    assert found.again > 2 * found.lost == 2 * 128


def test_all_nodes_cannot_die() -> None:
    with pytest.raises(ValueError, match="all 1 node"):
        simulate(Setup(workers=100, items=100, lost=0.01))


def test_the_bound_counts_workers_only_while_they_live() -> None:
    work = numpy.full(30, US, dtype=numpy.int32)  # 30 s of work
    both = [Node(range(2)), Node(range(2, 4))]
    assert bound_of(work, both, [1] * 4) == 7.5
    assert bound_of(work, both, [1, 1, 2, 2]) == 10.0
    assert bound_of(work, [Node(range(2)), Node(range(2, 4), joins=5.0)], [1] * 4) == 10.0
    assert bound_of(work, [Node(range(2)), Node(range(2, 4), dies=5.0)], [1] * 4) == 10.0
    work[0] = 20 * US
    assert bound_of(work, both, [1] * 4) == 20.0


def test_a_free_dispatcher_gives_out_item_by_item() -> None:
    assert free_of(numpy.array([3 * US, US, US, 2 * US], dtype=numpy.int32), 2) == 4.0


def test_the_program_prints_its_tables(capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main(["one", "--workers", "8", "--items", "200", "--free"]) == 0
    program.main(["--workers", "32", "--node", "8", "--items", "500"])  # so few items miss bars
    head, _, one, *rest = capsys.readouterr().out.splitlines()
    assert head.startswith("| what |")
    assert one.startswith("| one |")
    assert len(rest) == 2 + len(program.BARS)
