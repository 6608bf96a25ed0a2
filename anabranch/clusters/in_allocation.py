"""A Dask or Ray cluster inside of an allocation, started from the driver: `with SlurmAllocation() as cluster:`.

    driver: SlurmAllocation --> process of the cluster (head) --srun--> a set of workers on each node (node)
                            <-- address, certificate, token
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from anabranch.clusters.head import Plan
from anabranch.clusters.node import Orders
from anabranch.clusters.ray_parts import variables
from anabranch.clusters.rendezvous import Rendezvous
from anabranch.clusters.shares import DASK, RAY, sets_on, step_command, steps_of
from anabranch.core.errors import LaunchError, MissingExtraError, RunnerError
from anabranch.core.interpreter import program
from anabranch.core.own_job import own_allocation
from anabranch.core.processes import host_name
from anabranch.core.showing import Facts, Shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from anabranch.core.allocation import Allocation

START_SECONDS = 300.0  # for the first worker: a parallel file system may be slow at a hundred Pythons


class AllocationCluster(Shown):
    """A cluster of the nodes of an allocation; see `core.clusters.Cluster`. It begins to start at once.

    Args:
        allocation: whose nodes.
        engine: "dask" or "ray".
        file: where the nodes find the driver, on a file system that all of them have.
        interface: the network between the nodes, such as "ib0"; "": the one over which they reach the driver.
        timeout: seconds for the first worker.
        pilots: other jobs that may join with their workers.
        hear: takes what is told of them, and that SIGTERM has reached workers, in a thread of its own.

    Attributes:
        pages: always "": workers live elsewhere.

    Raises:
        LaunchError: the batch system has no command here that starts workers on nodes.
    """

    pages = ""

    def __init__(
        self, allocation: Allocation, engine: str, file: Path, *, interface: str = "", timeout: float = START_SECONDS,
        pilots: int = 0, hear: Callable[[dict[str, Any]], object] = lambda news: None,
    ) -> None:  # fmt: skip
        self.engine = engine
        self._hear = hear
        self._timeout = timeout
        self._found: Rendezvous | None = None
        self._security: Any = None
        self._address = ""
        self._pipe, there = os.pipe()
        self._data = b""
        self._before: dict[str, str | None] = {}
        plan = plan_of(allocation, engine, str(file), interface, timeout, there, pilots)
        options = json.dumps({**{name: getattr(plan, name) for name in plan.__slots__}, "path": sys.path})
        try:
            command = program("anabranch.clusters.head", options)
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=[there], start_new_session=True)
        except BaseException:
            os.close(self._pipe)
            raise
        finally:
            os.close(there)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(engine={self.engine!r}, address={self._address!r})"

    def facts(self) -> Facts:
        """Return what a notebook shows of it, without asking its nodes."""
        status = "ended" if not self.alive else "running" if self._address else "starting"
        rows = (("engine", self.engine, ""), ("address", self._address, ""))
        return Facts(type(self).__name__, status=status, rows=rows)

    @property
    def scheduler_address(self) -> str:
        """Where the scheduler listens, or Ray's head, once a worker is up; raises RunnerError when none comes."""
        end = time.monotonic() + self._timeout + 30.0
        while not self._address:
            news = self._news(end)
            if "key" in news:
                self._found = Rendezvous((), news["certificate"], news["key"], news["token"], self.engine)
            elif "failed" in news:
                raise (MissingExtraError if news["missing"] else RunnerError)(news["failed"])
            elif "up" not in news:
                self._hear(news)
            else:
                self._address = str(news["up"])
                self._hear_on()
        return self._address

    def _hear_on(self) -> None:
        """Let a thread hear what comes later; it has a pipe of its own, since `close` may come before it begins."""
        own = os.dup(self._pipe), self._data, self._hear
        threading.Thread(target=hear_all, args=own, name="anabranch-cluster", daemon=True).start()

    @property
    def address(self) -> str:
        """The same, as `RayRunner(address=...)` takes it; Ray's token is in this program's environment then."""
        found = self.scheduler_address
        if self.engine == RAY and not self._before and self._found is not None:
            given = variables(self._found.token)
            self._before = {name: os.environ.get(name) for name in given}
            os.environ.update(given)
        return found

    @property
    def security(self) -> Any:
        """The certificate of the cluster, as Dask's client wants it."""
        if self._security is None and self.scheduler_address and self._found is not None:
            self._security = importlib.import_module("anabranch.clusters.dask_parts").security_of(self._found)
        return self._security

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def _news(self, end: float) -> dict[str, Any]:
        while b"\n" not in self._data:
            ready, _, _ = select.select([self._pipe], [], [], max(0.0, end - time.monotonic()))
            more = os.read(self._pipe, 1 << 16) if ready else b""
            if not more:
                why = "ended" if ready else "says nothing"
                raise RunnerError(f"the cluster's process {why}; its words are on stderr")
            self._data += more
        line, _, self._data = self._data.partition(b"\n")
        found: dict[str, Any] = json.loads(line)
        return found

    def close(self, timeout: float = 30.0) -> None:
        """Let the workers and the scheduler end; what is left here after `timeout` seconds is killed. Idempotent."""
        if self._pipe >= 0:
            os.close(self._pipe)
            self._pipe = -1
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout)
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        for name, value in self._before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})
        self._before = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def hear_all(pipe: int, rest: bytes, hear: Callable[[dict[str, Any]], object]) -> None:
    """Hand on what comes, until the cluster's process has ended: it alone has the other end of the pipe.

    Args:
        pipe: closed here.
        rest: what was read from it and not handed on: whole lines among it are handed on at once.
    """
    with open(pipe, "rb") as file:
        while True:
            *lines, rest = rest.split(b"\n")
            for news in map(json.loads, lines):
                if "pilot" in news or "told" in news:  # not that the cluster has failed: its runner tells that
                    hear(news)
            if not (more := file.read1(1 << 16)):
                return
            rest += more


def plan_of(
    allocation: Allocation, engine: str, file: str, interface: str, timeout: float, out: int, pilots: int = 0
) -> Plan:
    """Return what the cluster's process is to do; raises LaunchError where the nodes cannot be reached."""
    job = f"{allocation.job or os.getpid()}.{allocation.restarts}"
    nodes, node = allocation.nodes, allocation.node
    alone = [one.name for one in nodes] == [allocation.here]
    ranks = allocation.ranks > 1
    here = sets_on(node, allocation.task_cpus)
    driver = (allocation.here if allocation.kind == "slurm" else "") or host_name()
    commands: list[list[str]] = []
    if allocation.kind == "slurm" and not ranks:
        for step in steps_of(allocation, engine):
            orders = Orders(file, job, step.cpus, step.memory, node.gpus, step.sets, driver=driver)
            commands.append(step_command(step, orders.program(), gpus=node.gpus > 0))
        mine = max(1, node.cpus // here) if allocation.here else 0
        sets = sum(sets_on(one, allocation.task_cpus) for one in nodes)
    elif alone or ranks:
        mine = rank_cpus(allocation)
        sets = allocation.ranks or 1
        if engine == DASK:
            own = Orders(file, job, mine, node.memory // node.tasks if ranks else node.memory, node.gpus,
                         node.tasks if ranks else 1, driver=driver)  # fmt: skip
            commands.append(own.program())
    else:
        raise LaunchError(
            f"job {allocation.job} has {len(nodes)} nodes, and anabranch starts workers on other nodes in Slurm alone: "
            "take one node, or a runner with an address"
        )
    gpus = node.gpus // here if mine else 0
    local = alone and not pilots
    return Plan(engine, file, job, commands, sets, mine, gpus, local, interface, timeout, out, pilots)


def rank_cpus(allocation: Allocation) -> int:
    """Return the processors of this process, one of several tasks of a step."""
    if allocation.ranks < 2:
        return allocation.node.cpus
    return allocation.task_cpus or max(1, allocation.node.cpus // allocation.node.tasks)


class SlurmAllocation(AllocationCluster):
    """A cluster on the nodes of the Slurm job that this program runs in: a shell under `salloc`, a notebook.

        with SlurmAllocation() as cluster:
            study.with_options(runner=DaskRunner(cluster=cluster))(100_000)

    Args:
        engine: "dask", or "ray": then ``RayRunner(address=cluster.address)``.
        interface: the network between the nodes, such as "ib0"; "": the one over which they reach this program.
        folder: on a file system that all nodes have; None: a folder of anabranch's home.
        timeout: seconds for the first worker.

    Raises:
        LaunchError: this program runs in no Slurm job.

    Each node has a worker a processor. Workers end with the block, or with this program, however it ends.
    """

    def __init__(
        self, engine: str = DASK, *, interface: str = "", folder: str | os.PathLike[str] | None = None,
        timeout: float = START_SECONDS,
    ) -> None:  # fmt: skip
        if engine not in (DASK, RAY):
            raise ValueError(f'engine is "dask" or "ray", got {engine!r}')
        allocation = own_allocation()
        if allocation.kind != "slurm":
            raise LaunchError(
                "this program runs in no Slurm job (SLURM_JOB_ID is not set): start it within `salloc` or `sbatch`, or "
                "use SlurmCluster, which asks Slurm for jobs"
            )
        home = Path(os.environ.get("ANABRANCH_HOME", "~/.anabranch")).expanduser()
        place = Path(folder) if folder is not None else home / "jobs"
        start = f"{allocation.job}.{allocation.restarts}"
        file = place / f"slurm-{allocation.job}-{os.getpid()}" / start / "driver.json"
        super().__init__(allocation, engine, file, interface=interface, timeout=timeout)
