"""A set of workers on a node of an allocation: a program that starts them, and ends them with the driver.

    file of the rendezvous --> line to the hub --go--> workers, until the line breaks or they have gone
    SIGTERM --told--> the driver, which decides what it means

Slurm's step, or a task of the user's own `srun`, runs it.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import os
import signal
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anabranch.clusters.hub import Line
from anabranch.clusters.rendezvous import Rendezvous, awaited, both_show
from anabranch.clusters.scratch import scratch
from anabranch.clusters.shares import DASK, RAY, Set, devices_of
from anabranch.core.errors import AnabranchError, RunnerError
from anabranch.core.interpreter import program
from anabranch.core.machine import granted_cpus, usable_memory
from anabranch.core.processes import host_name

if TYPE_CHECKING:
    from collections.abc import Mapping

MEET_SECONDS = 300.0  # for the driver's file, and again for one of its addresses
LOOK_SECONDS = 1.0  # between looks for a signal
END_SECONDS = 20.0  # for workers to end once the driver has gone; then they are killed


@dataclass(frozen=True, slots=True)
class Orders:
    """What a set is told by those that start it.

    Attributes:
        file: of the rendezvous, which says the engine.
        job: name for scratch files.
        cpus, memory, gpus: of the set, of the set, of the node; what the kernel grants there may be less.
        sets: on the node.
        driver: the name of the driver's node, as the batch system has it, else that of its machine.
    """

    file: str
    job: str
    cpus: int
    memory: int = 0
    gpus: int = 0
    sets: int = 1
    driver: str = ""

    def program(self) -> list[str]:
        """Return the command that runs a set under these orders."""
        return program("anabranch.clusters.node", json.dumps({**asdict(self), "path": sys.path}))


def place_of(orders: Orders, env: Mapping[str, str], host: str, cpus: int, memory: int) -> Set:
    """Return what a set has, given what the kernel grants to its process.

    Args:
        host: the name of this machine.
        cpus: that this process may use; a step binds none of its tasks, so all sets of the node may use them.
        memory: bytes that all sets of the node may use together.
    """
    node = env.get("SLURMD_NODENAME") or host  # two nodes may be one machine: its name is that of both
    number = int(env.get("SLURM_LOCALID") or 0) % orders.sets
    sizes = [size for size in (orders.memory, memory // orders.sets) if size]
    return Set(
        f"{node}-{env.get('SLURM_PROCID') or os.getpid()}",
        max(1, min(orders.cpus, cpus)),
        min(sizes, default=0),
        devices_of(env, orders.gpus, number, orders.sets),
        node == orders.driver,
    )


def main(orders: dict[str, Any]) -> None:
    """Run a set to its end and leave the process."""
    sys.exit(run(Orders(**orders)))


def run(orders: Orders) -> int:
    """Run a set until the driver has gone, or says that it has no use for one; returns an exit code."""
    heard: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    for number in (signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, lambda number, frame: None)  # the driver decides about the end
    place = place_of(orders, os.environ, host_name(), granted_cpus(), usable_memory())
    try:
        found = awaited(Path(orders.file), MEET_SECONDS)
        if found.engine not in (DASK, RAY):
            say(place, "the flow's runner uses no other task of this step than the driver's: this one ends")
            return 0
        with scratch(orders.job, short=found.engine == RAY) as folder:
            os.environ["TMPDIR"] = folder
            why = asyncio.run(_work(place, found, folder, heard))
    except AnabranchError as error:
        why = str(error)
    if why:
        say(place, why)
    return 1 if why else 0


def say(place: Set, text: str) -> None:
    """Write into the job's log."""
    print(f"anabranch: {place.name}: {text}", file=sys.stderr, flush=True)  # noqa: T201


async def _work(place: Set, found: Rendezvous, folder: str, heard: list[int]) -> str:
    context = both_show(found, folder, server=False)
    line = await Line.reach(place.name, found.addresses, context, MEET_SECONDS, MEET_SECONDS)
    work = importlib.import_module(f"anabranch.clusters.{found.engine}_parts").work
    working = asyncio.create_task(work(place, line, found, folder))
    ended = asyncio.create_task(line.ended())
    try:
        while not (working.done() or ended.done()):
            if heard:
                heard.clear()
                line.signalled()
            await asyncio.wait({working, ended}, timeout=LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            return ""
        why = str(working.result())
        if why:
            line.trouble(why)
        return why
    except RunnerError as error:
        line.trouble(str(error))
        return str(error)
    finally:
        ended.cancel()
        working.cancel()
        with contextlib.suppress(Exception, asyncio.CancelledError):
            await asyncio.wait({working}, timeout=END_SECONDS)
        await line.close()
