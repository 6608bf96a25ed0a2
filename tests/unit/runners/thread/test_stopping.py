"""ThreadRunner: time-outs, cancelling and shortening."""

from __future__ import annotations

import random
import threading
from typing import TYPE_CHECKING

import pytest

from anabranch.core.events import ChunkLost, ItemTimedOut, SlotsChanged
from anabranch.runners.thread.runner import ThreadRunner
from tests.unit.runners.thread.chunks import WAIT, Log, call_args, chunk_of, ours

if TYPE_CHECKING:
    from collections.abc import Callable


def test_time_out_writes_the_thread_off(make: Callable[..., ThreadRunner], log: Log) -> None:
    runner = make(1)
    stuck = threading.Event()
    ran: list[int] = []
    quick = lambda c, p: ran.append(p)  # noqa: E731
    runner.submit([chunk_of(1, quick, lambda c, p: stuck.wait(WAIT), quick, timeout=0.05)])
    runner.submit([chunk_of(2, quick)])
    log.until(lambda log: log.ends(2))  # the replacement went on
    assert log.of(ItemTimedOut) == [ItemTimedOut(1, 0, 1, 0.05)]
    [lost] = log.ends(1)
    assert isinstance(lost, ChunkLost)
    assert lost.reason == "stopped"
    before = len(log.events)
    assert runner._lost == 1
    stuck.set()  # the late report is refused, the thread comes back or leaves
    runner.submit([chunk_of(3, quick)])
    log.until(lambda log: log.ends(3))
    for thread in [t for t in ours() if t.name == "anabranch-1"]:
        thread.join(WAIT)
    assert runner._lost == 0
    assert [e for e in log.events[before:] if getattr(e, "chunk", 0) == 1] == []
    assert ran == [0, 0, 0]  # position 2 of chunk 1 was left alone


def test_time_outs_beyond_the_cap_shrink_the_pool(make: Callable[..., ThreadRunner], log: Log) -> None:
    runner = make(2)
    runner._cap = 1
    stuck = threading.Event()
    runner.submit([chunk_of(n, lambda c, p: stuck.wait(WAIT), timeout=0.02) for n in range(3)])
    log.until(lambda log: len(log.of(ItemTimedOut)) == 3)
    assert [e.now for e in log.of(SlotsChanged)] == [1, 0]
    runner.submit([chunk_of(9, lambda c, p: 9)])
    assert runner.slots() == SlotsChanged(0, 2)
    stuck.set()
    log.until(lambda log: log.ends(9))
    log.until(lambda log: log.of(SlotsChanged)[-1].now == 2)


def test_items_in_time_are_left_alone(make: Callable[..., ThreadRunner], log: Log) -> None:
    runner = make(2)
    for n in range(200):
        runner.submit([chunk_of(n, *[lambda c, p: p] * 10, timeout=5.0)])
    log.until(lambda log: len(log.ends()) == 200)
    assert log.of(ItemTimedOut) == []
    runner.close()
    assert runner._watch.ports == set()
    assert runner._ports == {}


def test_shorten_and_cancel_of_queued_chunks_answer_at_once(make: Callable[..., ThreadRunner], log: Log) -> None:
    runner = make(1)
    gate, begun = threading.Event(), threading.Event()
    runner.submit([chunk_of(1, lambda c, p: (begun.set(), gate.wait(WAIT)))])
    assert begun.wait(WAIT)
    runner.submit([chunk_of(n, *[lambda c, p: p] * 3) for n in (2, 3, 4)])
    runner.shorten(2, 0)
    runner.cancel(3)
    runner.shorten(4, 1)
    log.until(lambda log: log.ends(2) and log.ends(3))
    assert log.ends(2)[0].count == 0  # type: ignore[union-attr]
    assert log.ends(3)[0].blocks[0].values == [None] * 3  # type: ignore[union-attr]
    assert log.ends(1) == []
    gate.set()
    log.until(lambda log: log.ends(4))
    assert log.ends(4)[0].count == 1  # type: ignore[union-attr]
    runner.shorten(4, 0)  # it has ended: of no effect
    runner.cancel(77)
    assert runner._queue.waiting == {}


@pytest.mark.parametrize("seed", range(9))
def test_everything_at_once_ends_every_chunk_once(seed: int, log: Log) -> None:
    """Four threads submit, cancel, shorten and block at random, with time-outs: nothing is lost or counted twice."""
    pause = threading.Event()
    draw = random.Random(seed)
    runner = ThreadRunner((1, 2, 8)[seed % 3], resources={"x": 3.0}, run_chunk=call_args)
    runner._cap = (0, 2, 32)[seed // 3]
    runner.start(log)
    ids = iter(range(400))

    def work(mine: random.Random) -> None:
        for _ in range(100):
            with lock:
                n = next(ids)
            naps = [mine.choice([0, 0, 0, 0.001, 0.004 if mine.random() < 0.2 else 0]) for _ in range(3)]
            chunk = chunk_of(
                n,
                *[lambda c, p, nap=nap: pause.wait(nap) if nap else None for nap in naps],
                timeout=mine.choice([None, None, 0.002]),
                resources=mine.choice([{}, {}, {"x": 2.0}]),
                priority=mine.choice([0, 0, 1]),
            )
            runner.submit([chunk])
            other, what = mine.randrange(n + 1), mine.random()
            if what < 0.1:
                runner.cancel(other)
            elif what < 0.2:
                runner.shorten(other, mine.randrange(3))
            elif what < 0.3:
                runner.cancel(other, [1])
            elif what < 0.4:
                runner.blocked(other, True)
                runner.blocked(other, False)

    lock = threading.Lock()
    threads = [threading.Thread(target=work, args=(random.Random(draw.random()),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT)
    log.until(lambda log: len({e.chunk for e in log.ends()}) == 400)  # type: ignore[union-attr]
    assert len(log.ends()) == 400
    for _ in range(1000):  # the threads' last steps after their reports
        if not (runner._lost or runner._running or runner._ports):
            break
        pause.wait(0.005)
    assert (runner._lost, runner._running, runner._blocked, runner._ports) == (0, 0, 0, {})
    assert runner._queue.free == runner._offers
    runner.close()
    assert len(log.ends()) == 400
