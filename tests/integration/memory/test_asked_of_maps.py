"""What is asked of a map keeps its values as the list does, and lets them go; each map's bytes are its own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from anabranch import InlineRunner, ProcessRunner, ThreadRunner, as_completed, flow, task, wait
from tests.integration.memory.watch import WAIT, Watch, dies

ASKED: dict[str, Any] = {
    "states": lambda several: several.states,
    "wait": lambda several: several.wait(WAIT),
    "one state": lambda several: several.wait(WAIT)[3],
    "a slice": lambda several: several.wait(WAIT)[3:],
    "the set": wait,
    "an iterator": as_completed,
}


@pytest.mark.parametrize("how", ASKED)
def test_it_keeps_the_values_and_lets_them_go(runner: ThreadRunner, watch: Watch, how: str) -> None:
    make = task(watch.make)

    @flow(runner=runner)
    def main() -> None:
        several = make.map(range(10))
        several.wait(WAIT)
        kept = ASKED[how](several)
        del several
        assert watch.alive() == set(range(10))
        del kept
        dies(watch)

    main()


def test_a_future_out_of_it_keeps_its_own_value(runner: ThreadRunner, watch: Watch) -> None:
    make = task(watch.make)

    @flow(runner=runner)
    def main() -> None:
        several = make.map(range(10))
        done = wait(several).done
        kept = [f for f in done if f.result().number in (2, 5)]
        listed = [f for f in as_completed(several) if f.result().number == 7]
        del done, several
        dies(watch, {2, 5, 7})
        del kept, listed
        dies(watch)

    main()


KINDS = {"inline": InlineRunner, "thread": lambda: ThreadRunner(max_workers=2), "process": lambda: ProcessRunner(1)}


@pytest.mark.parametrize("kind", KINDS)
def test_bytes_held_are_those_of_the_map_itself(kind: str) -> None:
    """Stages of several maps travel in one chunk; what one of them made is not the others'."""
    items, size = 300, 80_000

    @task
    def make(i: int) -> Any:
        return np.full(size // 8, i, dtype=float)

    @task
    def total(array: Any) -> float:
        return float(array.sum())

    @flow(runner=KINDS[kind]())
    def main() -> None:
        made = make.map(range(items))
        totals = total.map(made)
        totals.wait(WAIT)
        made.wait(WAIT)
        assert items * size <= made.bytes_held <= 1.1 * items * size
        assert totals.bytes_held <= 100 * items
        del made
        assert totals.result()[3] == 3 * size / 8
        singles = [total.submit(make.submit(i)) for i in range(items)]
        assert [f.result() for f in singles][3] == 3 * size / 8
        assert singles[0]._map.footprint.held <= 100 * items

    main()
