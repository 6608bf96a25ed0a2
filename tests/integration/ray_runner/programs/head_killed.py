"""Ray's head is killed in mid-flow. Prints what the flow and the program's record made of it, as JSON."""

from __future__ import annotations

import json
import os
import signal
import sys
import time

from ray.cluster_utils import Cluster

from anabranch import RayRunner, flow, task
from anabranch import session as sessions
from anabranch.core.errors import CrashedRun
from anabranch.records.memory import MemoryRecords
from anabranch.session import Session
from anabranch.settings import Settings

WAIT = 100.0


@task
def endless(n: int, begun: str) -> int:
    open(begun, "w").close()
    time.sleep(10 * WAIT)
    return n


def main(folder: str) -> None:
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    head = cluster.head_node.all_processes["gcs_server"][0].process.pid
    records = MemoryRecords()
    session = Session(Settings(home=folder, progress=False), records=records)
    sessions.use(session)
    begun = os.path.join(folder, "begun")

    @flow(runner=RayRunner(address=cluster.address))
    def waiting() -> list[int]:
        futures = endless.map(range(4), begun)
        end = time.monotonic() + WAIT
        while not os.path.exists(begun) and time.monotonic() < end:
            time.sleep(0.02)
        os.kill(head, signal.SIGKILL)
        return futures.result(WAIT)  # type: ignore[no-any-return]

    error = ""
    try:
        waiting()
    except CrashedRun as crashed:
        error = str(crashed)
    session.close()
    [run] = records.flow_runs()
    saw = {"error": error, "state": run.state_name, "hook": sys.excepthook is sys.__excepthook__}
    for processes in cluster.head_node.all_processes.values():  # they would end on their own, in time
        for process in processes:
            process.process.kill()
    print(json.dumps(saw), flush=True)
    os._exit(0)  # without its head Ray's own end takes its time, and makes an error of it


if __name__ == "__main__":
    main(sys.argv[1])
