"""An agent of these settings: its launcher, its place, what it shows."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from anabranch.agents.job import FOLDERS, OVER, Place, time_to_begin
from anabranch.agents.loop import AgentLoop, discard
from anabranch.agents.state import AgentState
from anabranch.core.deployments import DEFAULT
from anabranch.core.ids import Ids
from anabranch.core.orders import Agent
from anabranch.core.processes import host_id, host_name
from anabranch.launch.keeper import EXIT
from anabranch.serving.echo import Echo
from anabranch.serving.kinds import DEFAULT_KIND, kind_of, launcher_of
from anabranch.serving.left_rows import sender

if TYPE_CHECKING:
    from anabranch.core.service import Service
    from anabranch.settings import Settings

KEPT = 7 * 86400.0  # seconds for which the folder of a job that ended badly stays, with its log
_INHERITED = ("results", "records_shared", "profile", "log_level")


@dataclass(frozen=True, slots=True)
class Wanted:
    """An agent as a person asks for it.

    Attributes:
        queues: (): all of its pool.
        deployments: ids of the only ones it serves; (): all.
        limit: drivers at once; 0: as many as this machine has processors, at least four.
        name: "": the machine's name and the process.
        kind: "": the pool's.
        once: it takes what waits now, and ends when that has.
    """

    pool: str = DEFAULT
    queues: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    deployments: tuple[str, ...] = ()
    limit: int = 0
    name: str = ""
    kind: str = ""
    once: bool = False


def agent_of(service: Service, settings: Settings, wanted: Wanted) -> AgentLoop:
    """Return an agent that is ready to run; folders of jobs that ended badly long ago are deleted.

    Raises:
        ServiceError: there is no such kind.
    """
    name = wanted.kind or next((pool.kind for pool in service.pools.all() if pool.name == wanted.pool), DEFAULT_KIND)
    kind, launcher = kind_of(name), launcher_of(name)
    place = place_of(settings)
    sweep(place.home / "jobs", time.time())
    capacity = wanted.limit or max(4, os.cpu_count() or 1)
    agent = Agent(
        Ids().new(), wanted.name or f"{host_name()}-{os.getpid()}", wanted.pool, wanted.queues, wanted.labels,
        wanted.deployments, name, host_id(), getattr(sys.modules.get("anabranch"), "__version__", ""), capacity,
    )  # fmt: skip
    state = AgentState(
        capacity, look=kind.look, once=wanted.once,
        reaches=lambda reference: reference.kind == name and kind.reaches(reference),
        time_to_begin=lambda claim: time_to_begin(claim, name), waits_count=kind.waits_count,
    )  # fmt: skip
    watch = Echo() if kind.logs else lambda _: None
    return AgentLoop(service, launcher, agent, state, place, send=sender(settings), watch=watch, tell=tell)


def tell(text: str) -> None:
    """Tell the person at this agent's terminal."""
    sys.stderr.write(f"anabranch: {text}\n")
    sys.stderr.flush()


def place_of(settings: Settings) -> Place:
    """Return where jobs begin: they find the record that this program has."""
    environment = {"ANABRANCH_HOME": str(settings.home), "PYTHONUNBUFFERED": "1"}
    if settings.records:
        place = settings.records_place
        environment["ANABRANCH_RECORDS"] = str(place.absolute() if isinstance(place, Path) else place)
    for name in _INHERITED:
        if (value := getattr(settings, name)) and value != getattr(type(settings)(), name):
            environment[f"ANABRANCH_{name.upper()}"] = str(value)
    return Place(settings.home, Path.cwd(), environment)


def sweep(jobs: Path, now: float) -> None:
    """Delete the folders of agents' jobs in which nothing was written for as long as they are kept."""
    try:
        folders = [folder for folder in jobs.iterdir() if FOLDERS.fullmatch(folder.name)]
    except OSError:
        return
    for folder in folders:
        try:
            newest = max(file.stat().st_mtime for file in (folder, *folder.iterdir()))
        except OSError:
            continue
        # Without the word of an end the job may wait in a queue, or run and say nothing.
        if now - newest > KEPT and ((folder / EXIT).exists() or (folder / OVER).exists()):
            discard(folder)
