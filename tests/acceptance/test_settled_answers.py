"""What a thread has asked for is so when the call returns, though another thread steps the dispatcher meanwhile."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import Future, flow, task
from anabranch import session as sessions
from tests.acceptance.gates import SOON, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.acceptance.gates import Gate


@pytest.fixture
def busy() -> Iterator[Callable[[], None]]:
    """Another thread is at the dispatcher when this returns, and leaves it a moment later."""
    threads: list[threading.Thread] = []

    def occupy() -> None:
        lock, at_it = sessions.current().pump._lock, threading.Event()

        def hold() -> None:
            with lock:
                at_it.set()
                threading.Event().wait(0.1)  # nobody can tell when a thread waits for a lock

        threads.append(threading.Thread(target=hold))
        threads[-1].start()
        assert at_it.wait(SOON)

    yield occupy
    for thread in threads:
        thread.join(SOON)


def test_what_was_asked_for_is_so_when_the_call_returns(
    beside: str, busy: Callable[[], None], gates: Callable[[str], Gate]
) -> None:
    gated = task(gates("never").wait)

    @flow
    def main() -> Any:
        future = gated.submit()
        busy()
        assert future.cancel()
        busy()
        futures = gated.map([SOON] * 3)
        assert futures.progress == (0, 3)
        assert len(futures) == 3, "and does not wait for their ends"
        busy()
        futures.cancel()
        assert futures.counts == {"Cancelled": 3}
        return "data"

    assert main() == "data"


def test_a_task_that_goes_on_knows_what_was_taken_back_behind_it(
    threads: str, busy: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else its chunk runs on with what another one has been given meanwhile."""
    ran: list[int] = []
    inner: list[Future] = []
    lent = threading.Event()

    @task
    def gated(x: int) -> int:
        assert lent.wait(SOON)
        return x

    @task
    def waits(x: int) -> Any:
        ran.append(x)
        inner.append(gated.submit(x))
        return inner[-1].result()

    @flow
    def main() -> Any:
        pump = sessions.current().pump
        call = pump.dispatch

        def call_late(move: Callable[..., Any], *args: Any) -> None:
            if move == pump.dispatcher.reports.chunk_waits and not lent.is_set():
                lent.set()
                until(inner[0].done, "the end of the inner task")
                busy()
            call(move, *args)

        monkeypatch.setattr(pump, "dispatch", call_late)
        return waits.map(range(5), chunk=5).result()

    assert main() == [0, 1, 2, 3, 4]
    assert sorted(ran) == [0, 1, 2, 3, 4]
