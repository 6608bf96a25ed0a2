"""More places than the cluster has processors, and a node that brings the rest. Prints what it saw, as JSON."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING

import ray
from ray.cluster_utils import Cluster

from anabranch import RayRunner, flow, task
from anabranch import session as sessions
from anabranch.records.memory import MemoryRecords
from anabranch.session import Session
from anabranch.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

WAIT = 100.0
runner = RayRunner(num_cpus=3)


@task
def one(n: int) -> int:
    return n


def until(check: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT
    while not check():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.05)


def places() -> list[int]:
    """How many each node has that are up."""
    nodes = [place.node for place in runner._pool.workers if place.ready]
    return sorted(nodes.count(node) for node in set(nodes))


def asked_for() -> int:
    """Processors that an autoscaler sees asked for, beyond what there is."""
    table = ray.util.placement_group_table()
    return sum(len(group["bundles"]) for group in table.values() if group["state"] == "PENDING")


def main(folder: str) -> None:
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    ray.init(address=cluster.address, log_to_driver=False, configure_logging=False)
    session = Session(Settings(home=folder, progress=False), records=MemoryRecords())
    sessions.use(session)

    @flow(runner=runner)
    def begin() -> None:
        one.map(range(4)).wait()

    begin()
    saw = {"one node": places(), "asked for": asked_for(), "held": ray.available_resources().get("CPU")}
    cluster.add_node(num_cpus=2)
    until(lambda: runner.slots().now == 3)
    begin()
    saw["two nodes"] = places()
    until(lambda: not asked_for())
    saw["asked for then"] = asked_for()
    session.close()
    ray.shutdown()
    cluster.shutdown()
    print(json.dumps(saw))


if __name__ == "__main__":
    main(sys.argv[1])
