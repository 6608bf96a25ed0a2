"""A cluster whose nodes come, go and die under a runner. Prints what it saw, as JSON."""

from __future__ import annotations

import json
import os
import signal
import time
from typing import TYPE_CHECKING, Any

import ray
from ray.cluster_utils import Cluster

from anabranch import RayRunner, flow, task, wait
from anabranch import session as sessions
from anabranch.core.errors import ResourceError, RunnerError
from anabranch.records.memory import MemoryRecords
from anabranch.session import Session
from anabranch.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

WAIT = 100.0
SAW: dict[str, Any] = {}
STORE = 150 << 20


def until(check: Callable[[], Any]) -> None:
    end = time.monotonic() + WAIT
    while not check():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.05)


@task(resources={"licence": 1})
def licensed(n: int) -> tuple[int, str]:
    return n, ray.get_runtime_context().get_node_id()


@task(resources={"GPU": 1})
def on_gpu(n: int) -> tuple[int, str, str]:
    return n, ray.get_runtime_context().get_node_id(), os.environ.get("CUDA_VISIBLE_DEVICES", "")


@task(resources={"licence": 1})
def outer(n: int) -> int:
    """Waits with a licence for others that need one: there are two in all."""
    return sum(value for value, _ in licensed.map([n, n + 1, n + 2]).result())


@task(gpus=7)
def on_seven(n: int) -> int:
    return n


@task
def made(n: int) -> bytes:
    time.sleep(0.02)
    return bytes([n]) * 300_000


@task
def head(found: bytes) -> int:
    return found[0]


@task
def slowly(n: int, gate: str) -> int:
    end = time.monotonic() + WAIT
    while n % 20 == 7 and not os.path.exists(gate) and time.monotonic() < end:
        time.sleep(0.02)
    return n * n


@task(crash_retries=2)
def deadly(n: int) -> tuple[int, str]:
    if n == 5:
        os._exit(3)
    return n, ray.get_runtime_context().get_node_id()


runner = RayRunner()


def read(future: Any) -> bytes:
    """The value; one that is found lost is made again."""
    try:
        return bytes(future.result(WAIT))
    except RunnerError as error:
        if "ask for it once more" not in str(error):
            raise
        until(lambda: future.state.name != "Completed" or future.state.attempt > 1)
        return bytes(future.result(WAIT))


@flow(runner=runner)
def resources(node: str) -> None:
    found = licensed.map(range(6)).result(WAIT)
    SAW["licensed"] = [n for n, where in found if where == node]
    SAW["on gpu"] = [(n, where == node, device) for n, where, device in on_gpu.map(range(2)).result(WAIT)]
    SAW["nested"] = outer.map([0, 10]).result(WAIT)


@flow(runner=runner)
def never() -> str:
    future = on_seven.submit(1)
    state = future.get_state()
    try:
        future.result(WAIT)
    except ResourceError as error:
        return f"{state.type.value} | {error}"
    return "it ran"


@flow(runner=runner)
def far_from_the_driver() -> None:
    """The item that kills its worker runs on the other node: its page is read there."""
    runner_nodes = runner._pool.nodes
    here = [place for place in runner._pool.workers if place.node == runner_nodes.here]
    for place in here:  # so that it can only run on the other node
        ray.kill(place.actor)
    runner._pool._size = 1
    until(lambda: not any(place.node == runner_nodes.here for place in runner._pool.workers))
    futures = deadly.map(range(12))
    wait(futures)
    SAW["deadly"] = [(i, state.name, state.attempt) for i, state in enumerate(futures.states) if state.attempt > 1]
    SAW["lived"] = sum(state.name == "Completed" for state in futures.states)
    futures[5].exception()
    runner._pool._size = None


@flow(runner=runner)
def a_node_dies(node: Any, gate: str) -> None:
    values = made.map(range(40))
    wait(values)
    [gone] = [n for n in runner._pool.nodes._alive if n != runner._pool.nodes.here]
    on_it = sum(kept.node == gone for kept in runner._values._kept.values())
    squares = slowly.map(range(200), gate)
    squares[0].wait()
    os.kill(node.all_processes["raylet"][0].process.pid, signal.SIGKILL)
    open(gate, "w").close()
    SAW["read again"] = [read(future)[0] for future in values] == list(range(40))
    until(lambda: gone not in runner._pool.nodes)
    SAW["heads"] = head.map(values).result(WAIT) == list(range(40))
    SAW["squares"] = squares.result(WAIT) == [n * n for n in range(200)]
    SAW["made there"] = on_it
    SAW["made again"] = sum(state.attempt > 1 for state in values.states)
    until(lambda: runner.slots().now == 1)
    SAW["slots after"] = runner.slots().now


def main(folder: str) -> None:
    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 1, "include_dashboard": False, "object_store_memory": STORE},
    )
    ray.init(address=cluster.address, log_to_driver=False, configure_logging=False)
    session = Session(Settings(home=folder, progress=False, capacity_timeout=2.0), records=MemoryRecords())
    sessions.use(session)

    @flow(runner=runner)
    def begin() -> int:
        return runner.slots().now

    SAW["slots before"] = begin()
    node = cluster.add_node(num_cpus=1, num_gpus=1, resources={"licence": 2}, object_store_memory=STORE)
    until(lambda: runner.slots().now == 2)
    SAW["slots grown"] = runner.slots().now
    [joined] = [n for n in runner._pool.nodes._alive if n != runner._pool.nodes.here]
    resources(joined)
    SAW["never"] = never()
    far_from_the_driver()
    until(lambda: runner.slots().now == 2)
    a_node_dies(node, os.path.join(folder, "gate"))
    session.close()
    SAW["left open"] = ray.is_initialized()
    ray.shutdown()
    cluster.shutdown()


if __name__ == "__main__":
    import sys

    main(sys.argv[1])
    print(json.dumps(SAW))
