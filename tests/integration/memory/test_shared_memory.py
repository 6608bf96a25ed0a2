"""The process runner's shared memory holds the values that are alive, and no others."""

from __future__ import annotations

import pytest

from anabranch import ProcessRunner, flow, task
from tests.integration.memory.watch import WAIT, until

pytestmark = pytest.mark.sampled(3, "a pool, and many values of a MiB")
MIB = 1 << 20


def test_shared_memory_stays_flat_as_lists_are_dropped() -> None:
    runner = ProcessRunner(max_workers=2)

    @task
    def make(number: int) -> bytes:
        return bytes([number]) * MIB

    @task
    def last(data: bytes) -> int:
        return data[-1]

    def used() -> int:
        sizes = []
        for path in runner._folder.iterdir():
            try:
                sizes.append(path.stat().st_size)
            except FileNotFoundError:
                continue
        return sum(sizes)

    @flow(runner=runner)
    def main() -> None:
        peaks = []
        for _ in range(3):
            made = make.map(range(200))
            made.wait(WAIT)
            assert used() >= 200 * MIB
            assert made.bytes_held >= 200 * MIB
            read = last.map(made)
            del made
            assert read.result(WAIT) == list(range(200))
            del read
            until(lambda: used() < 2 * MIB)
            numbers = last.map(make.map(range(200)))  # the first list is nobody's: each value goes when it was read
            while not numbers.done():
                peaks.append(used())
                numbers.wait(0.02)
            assert numbers.result(WAIT) == list(range(200))
            until(lambda: used() < 2 * MIB)
        assert max(peaks) < 48 * MIB

    main()
