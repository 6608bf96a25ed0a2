"""ThreadRunner: which chunk runs when and on which thread, and what resources it holds."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from anabranch.core.chunks import Chunk
from anabranch.core.reports import Report
from anabranch.runners.thread import runner as thread_module
from anabranch.runners.thread.runner import ThreadRunner
from tests.unit.runners.thread.chunks import WAIT, Log, call_args, chunk_of, ours

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pytest

    from anabranch.core.events import Event


def test_idle_threads_are_reused(make: Callable[..., ThreadRunner], log: Log) -> None:
    runner = make(4)
    seen = set()
    for n in range(20):
        runner.submit([chunk_of(n, lambda c, p: threading.current_thread().name)])
        log.until(lambda log, n=n: log.ends(n))
        with runner._lock:  # the thread is idle again once it holds no chunk
            pass
        seen.add(log.ends(n)[0].blocks[0].values[0])  # type: ignore[union-attr]
    assert len(seen) <= 2


def test_priority_then_order(make: Callable[..., ThreadRunner], log: Log) -> None:
    runner = make(1)
    gate = threading.Event()
    order: list[int] = []
    runner.submit([chunk_of(0, lambda c, p: gate.wait(WAIT))])
    later = [chunk_of(n, lambda c, p: order.append(c), priority=n % 3) for n in range(1, 10)]
    runner.submit(later)
    gate.set()
    log.until(lambda log: len(log.ends()) == 10)
    assert order == [2, 5, 8, 1, 4, 7, 3, 6, 9]


def test_deep_recursion_on_two_workers(make: Callable[..., ThreadRunner], log: Log) -> None:
    runner = make(2)

    def descend(chunk: int, position: int) -> int:
        if chunk == 200:
            return 0
        child = threading.Event()
        waiters[chunk + 1] = child
        runner.submit([chunk_of(chunk + 1, descend)])
        runner.blocked(chunk, True)
        assert child.wait(WAIT)
        runner.blocked(chunk, False)
        return 1

    waiters: dict[int, threading.Event] = {}

    def wake(events: Sequence[Event]) -> None:
        log(events)
        for event in events:
            if isinstance(event, Report) and event.final and event.chunk in waiters:
                waiters[event.chunk].set()

    runner.close()
    runner = ThreadRunner(2, run_chunk=call_args)
    runner.start(wake)
    runner.submit([chunk_of(1, descend)])
    log.until(lambda log: log.ends(1))
    assert len(log.ends()) == 200
    runner.close()


def test_resources_are_never_overdrawn(log: Log) -> None:
    runner = ThreadRunner(4, resources={"licence": 2.0}, run_chunk=call_args)
    assert dict(runner.start(log).resources) == {"cpus": runner._offers["cpus"], "licence": 2.0}
    lock = threading.Lock()
    now = {"licence": 0.0, "most": 0.0}

    def use(amount: float) -> Callable[[int, int], None]:
        def run(chunk: int, position: int) -> None:
            with lock:
                now["licence"] += amount
                now["most"] = max(now["most"], now["licence"])
            with lock:
                now["licence"] -= amount

        return run

    runner.submit([chunk_of(n, use(1 + n % 2), resources={"licence": 1 + n % 2, "dust": 9}) for n in range(300)])
    runner.submit([chunk_of(1000 + n, lambda c, p: p) for n in range(100)])
    log.until(lambda log: len(log.ends()) == 400)
    assert now["most"] <= 2.0
    runner.close()
    assert runner._queue.free == runner._offers


def test_who_waits_gives_its_resources_back(log: Log) -> None:
    runner = ThreadRunner(2, resources={"licence": 1.0}, run_chunk=call_args)
    runner.start(log)
    inner = threading.Event()

    def outer(chunk: int, position: int) -> None:
        runner.submit([chunk_of(2, lambda c, p: inner.set(), resources={"licence": 1.0})])
        runner.blocked(chunk, True)
        assert inner.wait(WAIT)
        runner.blocked(chunk, False)

    runner.submit([chunk_of(1, outer, resources={"licence": 1.0})])
    log.until(lambda log: len(log.ends()) == 2)
    runner.submit([chunk_of(n, lambda c, p: p, resources={"licence": 1.0}) for n in (3, 4)])
    runner.cancel(3)
    log.until(lambda log: len(log.ends()) == 4)
    runner.close()
    assert runner._queue.free == runner._offers


def test_surplus_threads_leave(make: Callable[..., ThreadRunner], log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thread_module, "LINGER", 0.01)
    runner = make(1)
    inner = threading.Event()

    def outer(chunk: int, position: int) -> None:
        runner.submit([chunk_of(2, lambda c, p: inner.set())])
        runner.blocked(chunk, True)
        assert inner.wait(WAIT)
        runner.blocked(chunk, False)

    runner.submit([chunk_of(1, outer)])
    log.until(lambda log: len(log.ends()) == 2)
    extra = [t for t in ours() if t.name == "anabranch-2"]
    for thread in extra:
        thread.join(WAIT)
        assert not thread.is_alive()
    assert runner._threads == 1
    assert runner._blocked == 0


def test_a_chunk_that_comes_on_a_threads_way_to_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is among the idle already, and gets work before it rests: it must take the wake that goes with it."""
    ended: list[int] = []
    news = threading.Condition()

    def sink(events: Any) -> None:
        with news:
            ended.extend(event.chunk for event in events)
            news.notify_all()

    def until(count: int) -> None:
        with news:
            assert news.wait_for(lambda: len(ended) >= count, 10), f"ended: {ended}"

    runner = ThreadRunner(1, run_chunk=lambda chunk, port: port.report(Report(chunk.id, 0, 1, True)))
    runner.start(sink)
    before = runner._next

    def on_the_way(me: Any, port: Any) -> bool:
        again = before(me, port)
        if port.id == 1:
            runner.submit([Chunk(2, (), range(1), [0])])
        return again

    monkeypatch.setattr(runner, "_next", on_the_way)
    runner.submit([Chunk(1, (), range(1), [0])])
    until(2)
    for number in (3, 4, 5):
        threading.Event().wait(0.05)  # it rests again
        runner.submit([Chunk(number, (), range(1), [0])])
        until(number)
    runner.close()
    assert ended == [1, 2, 3, 4, 5]
