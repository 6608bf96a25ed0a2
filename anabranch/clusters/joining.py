"""A set of workers in a job of its own: it finds the driver of its run, and leaves before its job ends.

    file of the rendezvous --> line to the driver's hub --> workers
       ^ looked at for a while    |-- the line breaks: the driver has gone -------------> AGAIN
       |                          |-- the hub lets the set go, or its job is ended -----> LEFT
       '-- no driver so long: ALONE                the workers do not start, or die ----> FAILED
           the file names no engine: OVER

The file has the same name for all starts of the driver, and each replaces it: one that leads nowhere is read again.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import signal
import tempfile
import time
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from anabranch.clusters.hub import Line
from anabranch.clusters.node import END_SECONDS, MEET_SECONDS, place_of
from anabranch.clusters.rendezvous import Rendezvous, both_show, look_again
from anabranch.clusters.scratch import scratch
from anabranch.core.errors import RunnerError
from anabranch.core.machine import granted_cpus, usable_memory
from anabranch.core.processes import host_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from anabranch.clusters.node import Orders
    from anabranch.clusters.shares import Set

PATIENCE = 300.0  # seconds without a driver: one that is requeued comes back after two minutes or so
GRACE = 20.0  # seconds for a set to leave while its job is being ended: Slurm kills after 30
DOUBT_SECONDS = 20.0  # without a driver, after which it is asked whether one is to come; and between two such questions
LOOK_SECONDS, LATEST_LOOK = 0.3, 2.0  # between looks for the driver


class End(Enum):
    """How the time of a set ended."""

    OVER = "over"
    ALONE = "alone"
    AGAIN = "again"
    LEFT = "left"
    FAILED = "failed"


class Departure(NamedTuple):
    """How the time of a set ended, and why."""

    end: End
    why: str = ""


class Guest(NamedTuple):
    """What a set says of itself to the driver.

    Attributes:
        name: no other set of the run has it.
        number: of its job among the pilots.
        job: the id.
        until: Unix seconds; 0: its end is not known.
    """

    name: str
    number: int
    job: str
    until: float = 0.0


def run(
    orders: Orders, guest: Guest, patience: float = PATIENCE, doubt: Callable[[], object] = lambda: None
) -> Departure:
    """Work for the run of the driver that writes the file of `orders`, until one of the ends above.

    Args:
        doubt: called, in another thread, when there was no driver for a while. It may write the file of a run that is
            over.
    """
    place = place_of(orders, os.environ, host_name(), granted_cpus(), usable_memory())._replace(name=guest.name)
    with scratch(orders.job) as folder:
        os.environ["TMPDIR"] = tempfile.tempdir = folder
        try:
            left = guest.until - time.time() - GRACE if guest.until else patience
            return asyncio.run(_Joining(place, guest, Path(orders.file), folder).run(min(patience, left), doubt))
        finally:
            tempfile.tempdir = None


class _Joining:
    """One set, from its start to its end."""

    def __init__(self, place: Set, guest: Guest, file: Path, folder: str) -> None:
        self._place = place
        self._guest = guest
        self._file = file
        self._folder = folder
        self._asked = asyncio.Event()  # to leave

    async def run(self, patience: float, doubt: Callable[[], object]) -> Departure:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._asked.set)
        for number in (signal.SIGUSR1, signal.SIGUSR2):  # the end is near: the driver knows when, and lets the set go
            loop.add_signal_handler(number, lambda: None if self._guest.until else self._asked.set())
        end, wait, why = loop.time() + patience, LOOK_SECONDS, f"there is no {self._file}"
        doubts = loop.time() + DOUBT_SECONDS
        while not self._asked.is_set():
            found = Rendezvous.read(self._file)
            if found is not None and not found.engine:
                return Departure(End.OVER)
            if found is not None:
                try:
                    line = await self._reached(found)
                except RunnerError as error:
                    why = str(error)
                else:
                    return await self._worked(line, found)
            if loop.time() >= end:
                return Departure(End.ALONE, f"no driver was there within {patience:.0f} s: {why}")
            if loop.time() >= doubts:
                await asyncio.to_thread(doubt)
                doubts = loop.time() + DOUBT_SECONDS
            look_again(self._file.parent)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._asked.wait(), wait)
            wait = min(LATEST_LOOK, wait * 1.5)
        return Departure(End.LEFT, "the job was ended before a driver was there")

    async def _reached(self, found: Rendezvous) -> Line:
        context = both_show(found, self._folder, server=False)
        guest, cpus = self._guest, self._place.cpus
        hello = {"number": guest.number, "job": guest.job, "end": guest.until, "cpus": cpus}
        return await Line.reach(guest.name, found.addresses, context, 0.0, MEET_SECONDS, hello)

    async def _worked(self, line: Line, found: Rendezvous) -> Departure:
        """Start workers, and hold them until one of the ends."""
        work = importlib.import_module(f"anabranch.clusters.{found.engine}_parts").work
        working = asyncio.create_task(work(self._place, line, found, self._folder))
        ended = asyncio.create_task(line.ended())
        asked = asyncio.create_task(self._asked.wait())
        try:
            await asyncio.wait({working, ended, asked}, return_when=asyncio.FIRST_COMPLETED)
            if asked.done() and not ended.done():
                line.leaving(GRACE)
                await asyncio.wait({ended}, timeout=GRACE + 2.0)
                return Departure(End.LEFT, "the job was ended")
            if not ended.done():  # workers that are let go may have gone before the word of it came
                why = _why(working)
                if not why:
                    await asyncio.wait({ended}, timeout=2.0)
                if not ended.done():
                    line.trouble(why or "its workers have gone")
                    return Departure(End.FAILED, why or "its workers have gone")
            told = ended.result()
            return Departure(End.LEFT, str(told["leave"])) if told else Departure(End.AGAIN)
        finally:
            for task in (ended, asked, working):
                task.cancel()
            with contextlib.suppress(Exception, asyncio.CancelledError):
                await asyncio.wait({working}, timeout=END_SECONDS)
            await line.close()


def _why(working: asyncio.Task[str]) -> str:
    try:
        return working.result()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
