"""Tasks and flows that ask Ray for work of their own, while all places of the runner are taken."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from anabranch import flow, task
from tests.integration.ray_runner.running import run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytest.importorskip("ray")

pytestmark = [pytest.mark.ray, pytest.mark.timeout(180), pytest.mark.sampled(5, "a Ray of the file's own", whole=True)]

WAIT = 60.0


def doubling(**options: Any) -> Any:
    import ray

    def double(x: int) -> int:
        return x * 2

    return ray.remote(**options)(double)


def got(x: int) -> int:
    import ray

    return int(ray.get(doubling(num_cpus=1).remote(x), timeout=WAIT))


def got_by_all_processors(x: int) -> int:
    import ray

    return int(ray.get(doubling(num_cpus=2).remote(x), timeout=WAIT))


def waited_for(x: int) -> int:
    import ray

    refs = [doubling(num_cpus=1).remote(x) for _ in range(3)]
    ready, left = ray.wait(refs, num_returns=3, timeout=WAIT)
    assert not left
    return int(ray.get(ready[0]))


def of_an_actor(x: int) -> int:
    import ray

    class Doubler:
        def double(self, x: int) -> int:
            return x * 2

    doubler = ray.remote(num_cpus=1)(Doubler).remote()
    return int(ray.get(doubler.double.remote(x), timeout=WAIT))


def of_a_value_put(x: int) -> int:
    import ray

    return int(ray.get(doubling(num_cpus=1).remote(ray.put(x)), timeout=WAIT))


async def awaited(x: int) -> int:
    return int(await doubling(num_cpus=1).remote(x))


@pytest.mark.usefixtures("on_ray")
@pytest.mark.parametrize("fn", [got, got_by_all_processors, waited_for, of_an_actor, of_a_value_put, awaited])
def test_a_task_gets_what_it_asks_ray_for(fn: Callable[[int], Any]) -> None:
    """Twice as many tasks as there are processors, each of which wants one or more."""

    @flow
    def main() -> Any:
        return task(fn).map(range(4), chunk=1).result(WAIT)

    assert main() == [0, 2, 4, 6]


@pytest.mark.usefixtures("on_ray")
def test_a_flow_gets_what_it_asks_ray_for_beside_warm_workers() -> None:
    @task
    def one(x: int) -> int:
        return x

    @flow
    def main() -> int:
        one.map(range(4)).wait()
        return got_by_all_processors(3)

    assert main() == 6


def test_places_are_one_a_processor_on_every_node(tmp_path: Path) -> None:
    saw = run("places.py", str(tmp_path))
    assert saw["one node"] == [1]
    assert saw["asked for"] == 3
    assert saw["held"] == 1.0
    assert saw["two nodes"] == [1, 2]
    assert saw["asked for then"] == 0
