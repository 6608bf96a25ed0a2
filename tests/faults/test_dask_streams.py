"""What a Dask runner's driver keeps to make lost values again: no more than there are values, and enough of it."""

from __future__ import annotations

import os
import signal

import pytest

from anabranch import DaskRunner, flow, task
from tests.faults.workers import until, until_values_are_told

pytestmark = [pytest.mark.dask, pytest.mark.sampled(7, "a cluster for each")]

WAIT = 60.0
MIB = 1 << 20


@pytest.fixture
def dask() -> DaskRunner:
    return DaskRunner(n_workers=2)  # the session starts and closes it


@task
def add(x: int) -> int:
    return x + 1


def test_a_stream_that_is_read_leaves_no_arguments_behind(dask: DaskRunner) -> None:
    @flow(runner=dask)
    def main() -> int:
        futures = add.map(iter(range(300_000)))
        most = 0
        for k, value in enumerate(futures.results()):
            assert value == k + 1
            most = max(most, len(futures._map.inputs.args)) if k % 1000 == 0 else most
        return most

    assert main() < 100_000


def test_a_lost_value_whose_input_was_released_has_its_input_made_again(dask: DaskRunner) -> None:
    """The item runs again with what it ran with, not with nothing in its place."""

    @task
    def make(x: int) -> bytes:
        return bytes([x + 1]) * MIB

    @task
    def copy(data: bytes) -> tuple[int, bytes]:
        assert isinstance(data, bytes), f"called with {data!r}"
        return os.getpid(), data

    @flow(runner=dask)
    def main() -> None:
        made = make.map(range(8), chunk=1)
        copies = copy.map(made, chunk=1)
        copies.wait(WAIT)
        made.release()
        first, _ = copies[0].result()
        until_values_are_told(dask)
        os.kill(first, signal.SIGKILL)
        until(lambda: any(state.attempt > 1 for state in copies.states))
        copies.wait(WAIT)
        assert [value[1][:1] for value in copies.result()] == [bytes([x + 1]) for x in range(8)]

    main()


def test_a_value_that_is_lost_while_it_is_asked_for_is_waited_for(dask: DaskRunner) -> None:
    @task
    def make(x: int) -> tuple[int, bytes]:
        return os.getpid(), bytes([x]) * MIB

    @flow(runner=dask)
    def main() -> None:
        made = make.map(range(8), chunk=1)
        made.wait(WAIT)
        first, _ = made[0].result()
        until_values_are_told(dask)
        os.kill(first, signal.SIGKILL)
        assert [data[:1] for _, data in made.result()] == [bytes([x]) for x in range(8)]

    main()
