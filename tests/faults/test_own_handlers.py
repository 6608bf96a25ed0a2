"""Signal handlers: put up for the outermost flow run alone, never over somebody else's, and taken down after it."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import ThreadRunner, flow, task
from anabranch import session as sessions
from anabranch.core.runs import FlowRunRow
from anabranch.driver import interrupts
from anabranch.runs import shutdown, signals

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.sampled(3, "a program for each")
NUMBERS = [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1]


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    given = [signal.getsignal(number) for number in NUMBERS]
    before: list[Any] = [signal.default_int_handler, signal.SIG_DFL, signal.SIG_DFL]
    for number, handler in zip(NUMBERS, before, strict=True):
        signal.signal(number, handler)
    yield
    handlers = [signal.getsignal(number) for number in NUMBERS]
    for number, handler in zip(NUMBERS, given, strict=True):
        signal.signal(number, handler)
    assert handlers == before


@pytest.fixture
def rays_handler() -> Iterator[Any]:
    """As `ray.init` leaves one."""

    def sigterm_handler(number: int, frame: Any) -> None:
        sys.exit(number)

    sigterm_handler.__module__ = "ray._private.worker"
    signal.signal(signal.SIGTERM, sigterm_handler)
    yield sigterm_handler
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


@task
def add(x: int) -> int:
    return x + 1


def test_rays_own_handler_makes_way_meanwhile(rays_handler: Any) -> None:
    seen: list[Any] = []

    @flow(runner="inline")
    def main() -> None:
        seen.append(signal.getsignal(signal.SIGTERM))

    main()
    assert seen == [signals._watch.on_signal]
    assert signal.getsignal(signal.SIGTERM) is rays_handler


def test_they_are_up_while_the_outermost_flow_runs() -> None:
    seen: list[Any] = []

    @flow(runner="inline")
    def inner() -> None:
        seen.append([signal.getsignal(number) for number in NUMBERS])

    @flow(runner="inline")
    def outer() -> None:
        inner()
        seen.append([signal.getsignal(number) for number in NUMBERS])

    outer()
    assert seen[0] == seen[1] == [signals._watch.on_signal] * 3


def test_a_handler_of_the_users_hears_it_alone() -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    mine = signal.getsignal(signal.SIGTERM)

    @flow(runner=ThreadRunner(max_workers=1))
    def main() -> int:
        os.kill(os.getpid(), signal.SIGTERM)
        return add.submit(1).result()  # type: ignore[no-any-return]

    try:
        assert main() == 2
        assert heard == [signal.SIGTERM]
        assert signal.getsignal(signal.SIGTERM) is mine
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_flow_in_another_thread_leaves_them_alone() -> None:
    seen: list[Any] = []

    @flow(runner="inline")
    def main() -> None:
        seen.append([signal.getsignal(number) for number in NUMBERS])

    before = [signal.getsignal(number) for number in NUMBERS]
    thread = threading.Thread(target=main)
    thread.start()
    thread.join(20)
    assert seen == [before]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGUSR1, 75)])
def test_the_program_is_left_with_the_signals_code(number: signal.Signals, code: int) -> None:
    @flow(runner=ThreadRunner(max_workers=1))
    def main() -> None:
        os.kill(os.getpid(), number)
        add.submit(1).result()

    with pytest.raises(SystemExit) as left:
        main(return_state=True)
    assert left.value.code == code


@pytest.mark.parametrize("number", NUMBERS)
def test_a_task_on_the_inline_runner_is_interrupted(number: signal.Signals) -> None:
    ran: list[int] = []

    @task
    def work(x: int) -> int:
        ran.append(x)
        if x == 1:
            os.kill(os.getpid(), number)
            threading.Event().wait(60)
        return x

    @flow(runner="inline")
    def main() -> None:
        work.map(range(5), chunk=1).wait()

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt if number == signal.SIGINT else SystemExit):
        main()
    assert time.monotonic() - began < 50, "it was waited for, though nothing ran"
    assert ran == [0, 1]


def test_a_signal_in_the_midst_of_a_read_is_not_put_off_for_ever() -> None:
    """On the inline runner tasks may run below `Pump.inspect`, which has given its lock back by then."""
    told: list[bool] = []

    @task
    def work(x: int) -> int:
        frame = sys._getframe()
        told.append(interrupts._must_go_on(frame))
        return x

    @flow(runner="inline")
    def main() -> int:
        pump = sessions.current().pump
        future = work.submit(1)
        map = future._map
        pump.enqueue(pump.dispatcher.intake.append_item, map, next(map.inputs.append_index), ((2,), {}), ())
        pump.inspect(lambda: told.append(interrupts._must_go_on(sys._getframe())))
        return future.result()  # type: ignore[no-any-return]

    assert main() == 1
    assert told == [False, True, False], "only while it looks"


def test_who_catches_ctrl_c_goes_on() -> None:
    @flow(runner=ThreadRunner(max_workers=1))
    def main() -> int:
        try:
            os.kill(os.getpid(), signal.SIGINT)
            threading.Event().wait(20)
        except KeyboardInterrupt:
            return add.submit(1).result()  # type: ignore[no-any-return]
        return 0

    assert main() == 2


def test_how_to_go_on_is_said_of_resumable_runs_alone() -> None:
    row = FlowRunRow("id", "flow", "merry-heron", 13)
    assert shutdown.how_to_go_on(row) == ""
    row.resumable = True
    assert shutdown.how_to_go_on(row) == "go on with: anabranch resume merry-heron"
