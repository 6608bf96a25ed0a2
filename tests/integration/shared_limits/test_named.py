"""Code that names a limit of the record: `concurrency`, `rate_limit`."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING

import pytest

from anabranch import ProcessRunner, concurrency, rate_limit, task
from anabranch.core.errors import OptionError
from tests.integration import test_limits
from tests.integration.shared_limits.here import WAIT, Here, until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.sampled(3, "programs under one limit")


def test_a_block_under_a_limit_of_the_record(here: Here) -> None:
    here.limit("gpu", slots=3)
    with concurrency("gpu", occupy=2):
        assert here.held("gpu") == 2
        with pytest.raises(TimeoutError, match="'gpu'"), concurrency("gpu", occupy=2, timeout_seconds=0.05):
            raise AssertionError
    until(lambda: here.held("gpu") == 0)
    with pytest.raises(OptionError, match="it has 3"), concurrency("gpu", occupy=4):
        raise AssertionError


def test_a_slot_kept_for_a_moment_is_not_missing_to_a_block_that_takes_all(here: Here) -> None:
    """It was held for the block that waited, which asked the record for all of them: neither moved again."""
    here.limit("gpu", slots=2)
    with concurrency("gpu"):
        assert here.held("gpu") == 1
    with concurrency("gpu", occupy=2, timeout_seconds=WAIT):
        assert here.held("gpu") == 2


def test_coroutines_under_a_limit_of_the_record(here: Here) -> None:
    here.limit("gpu", slots=2)
    now = most = 0

    async def one() -> None:
        nonlocal now, most
        async with concurrency("gpu"):
            now += 1
            most = max(most, now)
            await asyncio.sleep(0.005)
            now -= 1

    async def many() -> None:
        await asyncio.gather(*(one() for _ in range(60)))

    asyncio.run(many())
    assert most == 2


def test_what_is_not_in_the_record_counts_within_the_process(here: Here) -> None:
    crowd = test_limits.Crowd()

    @concurrency("local-to-this-test", 3)
    def visit() -> None:
        crowd.visit()

    threads = [threading.Thread(target=visit) for _ in range(9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT)
    assert crowd.most == 3
    assert "acquire" not in here.asked.calls
    with concurrency("local-to-this-test", occupy=3):
        with pytest.raises(TimeoutError), concurrency("local-to-this-test", timeout_seconds=0.01):
            raise AssertionError
        with pytest.raises(OptionError, match="at most 3"), concurrency("local-to-this-test", occupy=4):
            raise AssertionError
    with pytest.raises(OptionError, match="no limit was set yet"), concurrency("nowhere"):
        raise AssertionError


def test_a_limit_turned_off_lets_all_in(here: Here) -> None:
    here.limit("gpu", slots=1, rate=1.0, active=False)
    with concurrency("gpu"), concurrency("gpu", occupy=7):
        rate_limit("gpu")
    assert "acquire" not in here.asked.calls


def test_a_rate_paces_threads_and_wants_a_limit(here: Here) -> None:
    here.limit("api", rate=50.0)
    began = time.monotonic()
    threads = [threading.Thread(target=rate_limit, args=("api",)) for _ in range(11)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT)
    assert time.monotonic() - began >= 0.19
    rate_limit("api", occupy=2)
    with pytest.raises(OptionError, match="limits set nowhere --rate"):
        rate_limit("nowhere")
    here.limit("api", rate=0.01)
    rate_limit("api", timeout_seconds=0.5)
    with pytest.raises(TimeoutError):
        rate_limit("api", timeout_seconds=0.05)


@pytest.mark.parametrize("isasync", [False, True])
def test_tasks_in_other_processes_share_a_limit(on: Callable[..., Here], tmp_path: Path, isasync: bool) -> None:
    here = on(ProcessRunner(max_workers=2))
    here.limit("gpu", slots=1)
    path = str(tmp_path / "inside")

    def visit() -> None:
        with open(path, "x"):
            threading.Event().wait(0.005)
        import os

        os.remove(path)

    @task
    def work(x: int) -> int:
        with concurrency("gpu"):
            visit()
        return x

    @task
    async def later(x: int) -> int:
        async with concurrency("gpu"):
            visit()
        return x

    assert (later if isasync else work).map(range(20)).result() == list(range(20))
    until(lambda: here.held("gpu") == 0)


def test_a_worker_that_dies_inside_leaves_its_slot(on: Callable[..., Here], tmp_path: Path) -> None:
    here = on(ProcessRunner(max_workers=2))
    here.limit("gpu", slots=1)
    mark = str(tmp_path / "died")

    @task
    def work(x: int) -> int:
        import os
        import signal

        with concurrency("gpu"):
            if x == 0 and not os.path.exists(mark):
                open(mark, "x").close()
                os.kill(os.getpid(), signal.SIGKILL)
        return x

    assert work.map(range(4), chunk=1).result() == list(range(4))
    until(lambda: here.held("gpu") == 0)
