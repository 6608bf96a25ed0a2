"""Ctrl-C outside of flows: what is waited for is given up, what has ended stays, and others have the workers."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import Future, FutureList, as_completed, flow, task, wait
from anabranch import session as sessions
from anabranch.core.waiter import Waiter
from anabranch.driver import interrupts, loop_pulse
from anabranch.runs import signals
from tests.acceptance.gates import SOON, Gate, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.acceptance.conftest import Marks

MAIN = threading.main_thread()
ITEMS = 40


@task
def through(x: int, gate: Gate, marks: Marks) -> int:
    """The first item ends at once, the others stand at the gate."""
    marks.add(x)
    if x:
        gate.pass_through()
    return x


@task
def plus_one(x: int) -> int:
    return x + 1


def stands_still() -> bool:
    """Whether the main thread waits."""
    frame = sys._current_frames()[MAIN.ident or 0]
    while frame is not None:
        if frame.f_code is Waiter.wait.__code__:
            return True
        frame = frame.f_back  # type: ignore[assignment]
    return False


@contextmanager
def interrupted(ready: Callable[[], bool]) -> Iterator[None]:
    """Inside, the main thread gets one Ctrl-C: once it waits, and `ready` holds."""

    def tell() -> None:
        until(lambda: ready() and stands_still(), "the wait")
        signal.pthread_kill(MAIN.ident or 0, signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with ThreadPoolExecutor(1) as pool:
            told = pool.submit(tell)
            with pytest.raises(KeyboardInterrupt):
                yield
            told.result()
    finally:
        signal.signal(signal.SIGINT, before)


def read_stream(futures: FutureList) -> None:
    for _ in futures.results():
        pass


def read_ended(futures: FutureList) -> None:
    for _ in as_completed(futures):
        pass


def first_failed(futures: FutureList) -> None:
    wait(futures, return_when="FIRST_EXCEPTION")


@pytest.fixture
def gate(gates: Callable[[str], Gate]) -> Gate:
    return gates("all")


WAITS: dict[str, Callable[[FutureList], Any]] = {
    "result": lambda futures: futures.result(),
    "wait": lambda futures: futures.wait(),
    "wait of several": lambda futures: wait([futures, futures[3]]),
    "the first failed": first_failed,
    "as_completed": read_ended,
    "results": read_stream,
    "an item": lambda futures: futures[ITEMS - 1].result(),
}


def given_up(futures: FutureList) -> dict[str, int]:
    until(futures.done, "the end of the map")
    return futures.counts


@pytest.mark.parametrize("how", WAITS)
def test_a_map_that_is_waited_for_is_given_up(concurrent: str, how: str, gate: Gate, marks: Marks) -> None:
    futures = through.map(range(ITEMS), gate, marks, chunk=1)
    with interrupted(lambda: futures[0].done() and len(marks.read()) > 1):
        WAITS[how](futures)
    began = len(marks.read())
    counts = given_up(futures)
    assert futures[0].state.name == "Completed", "what has ended stays"
    assert counts["Cancelled"] >= ITEMS - began
    assert counts["Cancelled"] + counts["Completed"] == ITEMS
    gate.open()
    assert plus_one.map(range(10)).result(SOON) == list(range(1, 11))
    assert len(marks.read()) <= began + 4, "those on their way when it came, and no more"


@pytest.mark.parametrize("how", ["result", "as_completed"])
def test_engines_elsewhere_go_on_with_what_comes_next(apart: str, how: str, gate: Gate, marks: Marks) -> None:
    futures = through.map(range(ITEMS), gate, marks, chunk=1)
    with interrupted(lambda: len(marks.read()) > 1):
        WAITS[how](futures)
    assert given_up(futures)["Cancelled"] > 0
    gate.open()
    assert plus_one.map(range(10)).result(SOON) == list(range(1, 11))


def test_a_single_run_is_given_up_and_its_neighbours_are_not(threads: str, gate: Gate, marks: Marks) -> None:
    one, other = (through.submit(x, gate, marks) for x in (1, 2))
    with interrupted(lambda: len(marks.read()) == 2):
        one.result()
    assert one.state.name == "Cancelled"
    gate.open()
    assert other.result(SOON) == 2


def test_what_only_that_was_to_read_is_given_up_with_it(threads: str, gate: Gate, marks: Marks) -> None:
    first = through.map(range(ITEMS), gate, marks, chunk=1)
    second = plus_one.map(first)
    single = through.submit(1, gate, marks)
    last = plus_one.submit(plus_one.submit(single))
    with interrupted(lambda: len(marks.read()) > 2):
        wait([second, last])
    assert given_up(first)["Cancelled"] > 0
    assert given_up(second)["Cancelled"] > 0
    assert single.state.name == last.state.name == "Cancelled"


@pytest.mark.parametrize("reader", ["map", "submit"])
def test_what_others_read_as_well_goes_on(threads: str, reader: str, gate: Gate, marks: Marks) -> None:
    first = through.map(range(ITEMS), gate, marks, chunk=1)
    given_away = plus_one.map(first)
    kept: Any = plus_one.map(first) if reader == "map" else plus_one.submit(first[ITEMS - 1])
    with interrupted(lambda: len(marks.read()) > 1):
        given_away.wait()
    assert given_up(given_away)["Cancelled"] > 0
    gate.open()
    assert kept.result(SOON) == (list(range(1, ITEMS + 1)) if reader == "map" else ITEMS)
    assert first.result(SOON) == list(range(ITEMS))


def test_a_submitted_flow_is_given_up(threads: str, gate: Gate, marks: Marks) -> None:
    @flow
    def inner() -> Any:
        return through.map(range(ITEMS), gate, marks, chunk=1).result()

    future: Future = inner.submit()
    with interrupted(lambda: len(marks.read()) > 1):
        future.result()
    until(future.done, "the end of the flow")
    assert future.state.name == "Cancelled"
    gate.open()


def test_an_unsized_input_is_pulled_no_further(threads: str, gate: Gate, marks: Marks) -> None:
    pulled = iter(range(10**9))
    futures = through.map(pulled, gate, marks)
    with interrupted(lambda: len(marks.read()) > 1):
        futures.wait()
    assert given_up(futures)["Cancelled"] > 0
    assert next(pulled) < 10**6
    gate.open()


def test_no_event_is_left_half_done(threads: str) -> None:
    """An interrupt that comes while the main thread takes an event in is heard when that is over."""
    plus_one.submit(1).result(SOON)
    pump = sessions.current().pump
    steps: list[str] = []

    def told() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        steps.append("all of it")

    class Finalized:
        def __del__(self) -> None:
            told()

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        plus_one.submit(1)
        assert interrupts.stands(signal.getsignal(signal.SIGINT))
        for act in (lambda: pump.call_locked(told), lambda: pump.dispatch(told), lambda: pump.inspect(told), Finalized):
            steps.clear()
            with pytest.raises(KeyboardInterrupt):  # noqa: PT012 - it comes behind the event
                act()
                threading.Event().wait(SOON)
            assert steps == ["all of it"]
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_handler_of_the_users_stays(threads: str) -> None:
    def own(*_: object) -> None: ...

    before = signal.signal(signal.SIGINT, own)
    try:
        plus_one.submit(1).result(SOON)
        assert signal.getsignal(signal.SIGINT) is own
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("first", ["the flow", "the other"])
def test_a_flow_beside_a_coroutine_that_waits_leaves_the_handler_of_before(
    concurrent: str, gates: Callable[[str], Gate], marks: Marks, first: str
) -> None:
    """The pulse of the coroutine's loop goes on when the flow ends; a Ctrl-C then is the coroutine's."""
    gate, other_gate = gates("flow"), gates("other")
    handler = signal.getsignal(signal.SIGINT)

    @flow
    async def inside() -> int:
        return await through.submit(1, gate, marks)

    async def outside() -> int:
        return await through.submit(2, other_gate, marks)

    def waiting() -> int:
        return sum(pulse._users for pulse in tuple(loop_pulse._beating.values()))

    async def main() -> None:
        before = signal.getsignal(signal.SIGINT)
        made = [inside, outside] if first == "the flow" else [outside, inside]
        tasks = {}
        for n, begin in enumerate(made, 1):
            tasks[begin] = asyncio.create_task(begin())
            await asyncio.to_thread(until, lambda n=n: waiting() == n, "the wait")
        assert loop_pulse.below(signal.SIGINT) == signals._watch.on_signal
        gate.open()
        assert await tasks[inside] == 1
        assert loop_pulse.below(signal.SIGINT) == before
        os.kill(os.getpid(), signal.SIGINT)
        await tasks[outside]

    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            asyncio.run(main())
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, handler)
        other_gate.open()
