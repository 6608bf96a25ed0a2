"""A local Dask cluster outside the driver's process, and the thread of life between the two.

    driver --stdin--> its process: scheduler + nannies --> worker processes
           <--pipe--- {"address": "tcp://127.0.0.1:...", "pages": "/tmp/..."}

The scheduler's memory and its share of the interpreter lock stay out of the driver. The cluster's process reads
its stdin: when that ends, because the driver closed it or died, the process and the workers end. It is a
session of its own, so Ctrl-C in the terminal reaches the driver alone. Meanwhile it looks for workers that
a signal has stopped, of which the scheduler knows nothing.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from typing import Any

from anabranch.core import native_threads
from anabranch.core.errors import RunnerError
from anabranch.core.interpreter import program
from anabranch.core.machine import usable_cpus
from anabranch.core.processes import process_stopped

LOOK_SECONDS = 1.0  # between looks at the workers
STOPPED_LOOKS = 30  # a worker that a signal has stopped at so many of them is ended

# Ours bounds what is queued, and ours sends again what a dead worker had: Dask need do neither. Nor need it end
# workers that are silent for minutes: they compute, without letting go of the interpreter. A worker that has died comes
# back however long that takes: on a busy machine it took longer than the 15 s after which Dask ends its nanny for good,
# and the cluster was left without workers.
CONFIG = {
    "distributed.scheduler.worker-saturation": float("inf"),
    "distributed.scheduler.allowed-failures": 0,
    "distributed.scheduler.worker-ttl": None,
    "distributed.deploy.lost-worker-timeout": "10000 days",
    "distributed.worker.profile.enabled": False,
    "distributed.worker.daemon": False,  # tasks may have child processes: pools, data loaders
    "distributed.admin.low-level-log-length": 100,
}


class LocalCluster:
    """Begins to start a Dask cluster of this machine, on the loopback interface; see `core.clusters.Cluster`.

    Args:
        n_workers: processes.
        threads: of each.
        timeout: seconds until `scheduler_address` gives up.
    """

    def __init__(self, n_workers: int, threads: int = 1, timeout: float = 60.0) -> None:
        self._timeout = timeout
        self._address = ""
        self.pages = ""  # the folder in which workers note what they run, once the address is known
        self._pipe, there = os.pipe()  # stdout stays with the tasks, for what they print
        options = json.dumps(
            {"n_workers": n_workers, "threads": threads, "path": sys.path, "out": there,
             "look_seconds": LOOK_SECONDS, "stopped_looks": STOPPED_LOOKS}
        )  # fmt: skip
        try:
            command = program("anabranch.clusters.local", options)
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=[there], start_new_session=True)
        except BaseException:
            os.close(self._pipe)
            raise
        finally:
            os.close(there)

    @property
    def scheduler_address(self) -> str:
        """Where the scheduler listens, once it is up; raises RunnerError when it does not come up in time."""
        end, data = time.monotonic() + self._timeout, b""
        while not self._address:
            ready, _, _ = select.select([self._pipe], [], [], max(0.0, end - time.monotonic()))
            more = os.read(self._pipe, 4096) if ready else b""
            if not more:
                why = "ended" if ready else f"is not up after {self._timeout:g} s"
                raise RunnerError(f"the local Dask cluster {why}; its messages are on stderr")
            data += more
            if b"\n" in data:
                told = json.loads(data.partition(b"\n")[0])
                self._address, self.pages = str(told["address"]), str(told["pages"])
        return self._address

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def close(self, timeout: float = 10.0) -> None:
        """Let the cluster end; what is left of it after `timeout` seconds is killed."""
        process = self._process
        if self._pipe >= 0:
            os.close(self._pipe)
            self._pipe = -1
        if process.stdin is not None:
            with contextlib.suppress(OSError):
                process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout)
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if self.pages:  # of a process that was killed
            shutil.rmtree(self.pages, ignore_errors=True)


def main(options: dict[str, Any]) -> None:
    """The cluster's process: a cluster until stdin ends."""
    import dask
    import distributed

    local_cluster: Any = distributed.LocalCluster

    threads, workers = options["threads"], options["n_workers"]
    os.environ.update(native_threads.limits(os.environ, usable_cpus(), workers * threads))  # its nannies pass them on
    with dask.config.set(CONFIG):
        cluster = local_cluster(
            n_workers=workers, threads_per_worker=threads, processes=True, host="127.0.0.1",
            dashboard_address="127.0.0.1:0", worker_dashboard_address="127.0.0.1:0",
            scheduler_kwargs={"dashboard": False}, silence_logs=logging.CRITICAL + 1, resources={"cpus": threads},
        )  # fmt: skip
        pages = _pages()
        told = {"address": cluster.scheduler_address, "pages": pages}
        os.write(options["out"], json.dumps(told).encode() + b"\n")
        os.close(options["out"])
        seen: dict[int, int] = {}
        while not select.select([0], [], [], options["look_seconds"])[0] or os.read(0, 4096):
            seen = end_stopped([nanny.pid for nanny in list(cluster.workers.values())], seen, options["stopped_looks"])
        with contextlib.suppress(Exception):
            cluster.close(timeout=5)
        if pages:
            shutil.rmtree(pages, ignore_errors=True)
    os._exit(0)  # nannies that did not answer keep nothing waiting


def _pages() -> str:
    """An empty folder; "" where there is no room for one."""
    try:
        return tempfile.mkdtemp(prefix="anabranch-dask-")
    except OSError:
        return ""


def end_stopped(pids: list[int | None], seen: dict[int, int], looks: int) -> dict[int, int]:
    """Kill the workers that have been seen stopped `looks` times in a row; their nannies start others.

    Looks are counted and not seconds: those while this process was stopped too, with all of its job, do not count.

    Args:
        seen: how often in a row each was seen stopped before.

    Returns:
        The same with this look.
    """
    found = {pid: seen.get(pid, 0) + 1 for pid in pids if pid is not None and process_stopped(pid)}
    for pid in [pid for pid, times in found.items() if times >= looks]:
        del found[pid]
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return found
