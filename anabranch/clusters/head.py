"""The process of a cluster in an allocation, beside the driver: the hub, the engine's own server, and Slurm's steps.

    driver --stdin--> this process: hub + scheduler (Dask) or head (Ray)
           <--pipe--- {"up": address}, {"failed": text}      | srun
                      {"told": a signal of the sets}         |
                                                             v
                      file of the rendezvous  <---------- sets on the nodes

It ends with its stdin: when the driver closed it or died. The hub's lines end then, and with them the sets. It is a
session of its own, so Ctrl-C in the terminal reaches the driver alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import math
import os
import resource
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from anabranch.clusters.addresses import address_of, own_addresses
from anabranch.clusters.certificates import new_certificate
from anabranch.clusters.guests import Guest, Guests
from anabranch.clusters.hub import Hub
from anabranch.clusters.ray_parts import RayHead, new_token
from anabranch.clusters.rendezvous import Rendezvous, both_show
from anabranch.clusters.scratch import scratch
from anabranch.clusters.shares import RAY
from anabranch.core.errors import AnabranchError, RunnerError
from anabranch.core.job_steps import SHARED, step_environment
from anabranch.core.node_folders import outside

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

LOOK_SECONDS = 0.2
LOOPBACK = "127.0.0.1"
END_SECONDS = 10.0  # for Slurm's steps, once their sets have been cut off


class Engine(Protocol):
    """The engine's own server."""

    @property
    def lost(self) -> str: ...
    async def start(self, by: str) -> None: ...
    def address(self, by: str) -> str: ...
    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Plan:
    """What the driver orders.

    Attributes:
        engine: "dask" or "ray".
        file: of the rendezvous; removed at the end.
        job: name for scratch files.
        commands: that start sets; each is a step of the batch system or a child.
        sets: that are to come.
        cpus, gpus: for the set in Ray's head.
        local: whether all sets are on this machine: then nothing listens on a network.
        interface: the network of the nodes; "": by trying.
        patience: seconds for the first worker.
        out: the pipe to the driver.
        pilots: other jobs that may join; only Dask's have a way to leave.
    """

    engine: str
    file: str
    job: str
    commands: Sequence[Sequence[str]]
    sets: int
    cpus: int
    gpus: int
    local: bool
    interface: str
    patience: float
    out: int
    pilots: int = 0


class Head:
    """What runs in this process."""

    def __init__(self, plan: Plan, found: Rendezvous, folder: str) -> None:
        self._plan = plan
        self._found = found
        self._guests: Guests | None = None
        self._hub = Hub(self._go, self._told, lambda: self._tell(told="SIGTERM"), self._welcome)
        self._first: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._up = asyncio.Event()
        self._steps: list[subprocess.Popen[bytes]] = []
        self._troubles: list[str] = []
        self._inside = int(plan.engine == RAY and plan.cpus > 0)  # a set that is the head's own
        self._host = LOOPBACK if plan.local else "0.0.0.0"
        self._context = both_show(found, folder, server=True)
        self._engine: Engine
        if plan.engine == RAY:
            self._engine = RayHead(found, plan.cpus, plan.gpus, folder)
        else:
            dask_parts = importlib.import_module("anabranch.clusters.dask_parts")
            head = self._engine = dask_parts.DaskHead(self._host, found, watched=plan.pilots > 0)
            self._guests = Guests(head, self._tell) if plan.pilots else None

    async def run(self) -> None:
        """Bring the cluster up, say so, and hold it until stdin ends; raises RunnerError."""
        loop = asyncio.get_running_loop()
        over = asyncio.Event()
        loop.add_reader(0, lambda: None if os.read(0, 4096) else over.set())
        try:
            port = await self._hub.listen(self._host, self._context)
            hosts = self._hosts()
            replace(self._found, addresses=tuple(f"{host}:{port}" for host in hosts)).write(Path(self._plan.file))
            env = {**step_environment(os.environ), SHARED: os.environ.get("SLURM_JOB_ID", "")}
            if "TMPDIR" in env:  # other nodes have the job's folder, and none of this program's
                env["TMPDIR"] = outside(env["TMPDIR"])
            for command in self._plan.commands:
                self._steps.append(_started(command, env))
            starting = asyncio.create_task(self._start(hosts))
            ending = asyncio.create_task(over.wait())
            await asyncio.wait({starting, ending}, return_when=asyncio.FIRST_COMPLETED)
            if not over.is_set():
                self._tell(up=starting.result())
                try:
                    await self._hold(over)
                except RunnerError as error:
                    say(str(error))  # the driver hears from its runner only that the cluster is gone
                    raise
            starting.cancel()
        finally:
            loop.remove_reader(0)
            await self._close()

    def _hosts(self) -> list[str]:
        plan = self._plan
        if plan.local:
            return [LOOPBACK]
        return [address_of(plan.interface)] if plan.interface else own_addresses()

    async def _start(self, hosts: Sequence[str]) -> str:
        """Start the engine where the first set came, and wait for its first worker; returns its address."""
        loop = asyncio.get_running_loop()
        end = loop.time() + self._plan.patience
        if not self._plan.commands:
            self._first.set_result(hosts[0])
        while not self._first.done():
            await self._look(end, "no set of workers has reached the driver")
        by = self._first.result()
        await self._engine.start(by)
        self._up.set()
        while not (self._inside or self._hub.up):
            await self._look(end, "no worker has joined")
        return self._engine.address(by)

    async def _look(self, end: float, what: str) -> None:
        """Pass a moment; raises RunnerError when nothing can come any more, or it takes too long."""
        await asyncio.sleep(LOOK_SECONDS)
        codes = [step.poll() for step in self._steps]
        why = f": {self._troubles[-1]}" if self._troubles else ""
        if codes and None not in codes:
            raise RunnerError(
                f"{what}: what was to start them ended with exit code {max(code or 0 for code in codes)}{why}; its own "
                "words are in the job's log"
            )
        if asyncio.get_running_loop().time() >= end:
            listed = ", ".join(self._hosts())
            raise RunnerError(f"{what} within {self._plan.patience:.0f} s{why}; the driver listens on {listed}")

    async def _hold(self, over: asyncio.Event) -> None:
        """Pass the time until stdin ends; raises RunnerError when all workers are gone for good."""
        late = time.monotonic() + self._plan.patience
        while not over.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), LOOK_SECONDS)
            if self._engine.lost:
                raise RunnerError(self._engine.lost)
            if self._guests is not None:
                self._guests.look()
                if self._guests.here:
                    continue
            if not self._inside and all(step.poll() is not None for step in self._steps):
                raise RunnerError("all sets of workers have ended; their own words are in the job's log")
            if time.monotonic() > late:
                late = math.inf
                self._tell_missing()

    def _tell_missing(self) -> None:
        up = self._hub.up + self._inside
        if up < self._plan.sets:
            why = f": {self._troubles[-1]}" if self._troubles else ""
            say(f"{self._plan.sets - up} of {self._plan.sets} sets of workers have not come; the others go on{why}")

    def _welcome(self, hello: dict[str, Any], say: Callable[[dict[str, Any]], None]) -> Guest | None:
        return self._guests.welcome(hello, say) if self._guests is not None else None

    async def _go(self, by: str) -> str:
        if not self._first.done():
            self._first.set_result(by)
        await self._up.wait()
        return self._engine.address(by)

    def _told(self, name: str, text: str) -> None:
        self._troubles.append(f"{name}: {text}")

    def _tell(self, **news: object) -> None:
        with contextlib.suppress(OSError):  # the driver has gone
            os.write(self._plan.out, json.dumps(news).encode() + b"\n")

    async def _close(self) -> None:
        if self._guests is not None:
            self._guests.over = True
        forget(Path(self._plan.file))
        await self._engine.close()
        await self._hub.close()
        end = time.monotonic() + END_SECONDS
        for step in self._steps:
            with contextlib.suppress(subprocess.TimeoutExpired):
                await asyncio.to_thread(step.wait, max(0.0, end - time.monotonic()))
            if step.poll() is None:
                step.kill()
                step.wait()


def forget(file: Path) -> None:
    """Remove the file of the rendezvous; its folders too, unless something else lies in them."""
    with contextlib.suppress(OSError):
        file.unlink()
        file.parent.rmdir()
        file.parent.parent.rmdir()


def _started(command: Sequence[str], env: dict[str, str]) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=sys.stderr, env=env, start_new_session=True
        )
    except FileNotFoundError:
        raise RunnerError(
            f"there is no {command[0]} here to start workers on the nodes (inside of a container, perhaps): start the "
            "pilot itself by it, one task a node: srun --ntasks-per-node=1 ... anabranch pilot ..."
        ) from None


def main(options: dict[str, Any]) -> None:
    """Run the cluster's process until stdin ends."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, lambda number, frame: None)  # the driver decides about the end
    plan = Plan(**options)
    more_files()
    try:
        certificate, key = new_certificate()
        token = new_token() if plan.engine == RAY else ""
        found = Rendezvous((), certificate, key, token, plan.engine)
        os.write(plan.out, json.dumps({"certificate": certificate, "key": key, "token": token}).encode() + b"\n")
        with scratch(plan.job, short=plan.engine == RAY) as folder:
            os.environ["TMPDIR"] = folder
            asyncio.run(_run(plan, found, folder))
    except AnabranchError as error:
        with contextlib.suppress(OSError):
            news = json.dumps({"failed": str(error), "missing": isinstance(error, ImportError)})
            os.write(plan.out, news.encode() + b"\n")
    os._exit(0)  # what did not answer keeps nothing waiting


def say(text: str) -> None:
    """Write into the job's log."""
    print(f"anabranch: {text}", file=sys.stderr, flush=True)  # noqa: T201


async def _run(plan: Plan, found: Rendezvous, folder: str) -> None:
    await Head(plan, found, folder).run()


def more_files() -> None:
    """Let this process have as many connections as the system allows: login nodes hand a small limit on."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard or hard == resource.RLIM_INFINITY:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 1 << 20) if hard > 0 else 1 << 20, hard))
