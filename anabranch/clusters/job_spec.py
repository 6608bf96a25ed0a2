"""What a job of an elastic cluster asks for, and the command of its workers: data, no queue."""

from __future__ import annotations

import math
import shlex
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from anabranch.core.option_checks import parse_walltime

if TYPE_CHECKING:
    from collections.abc import Sequence

PROGRAM = "anabranch.clusters.join"
DEATH_SECONDS = 60  # for a worker that finds no scheduler
LEAST_MARGIN, MOST_MARGIN = 5.0, 300.0  # seconds


@dataclass(slots=True)
class JobSpec:
    """One job: its size, and what its script says.

    Attributes:
        name: of the jobs; the same for all of a cluster, so that one question finds them.
        cores: of the job.
        memory: bytes of the job.
        processes: workers; each has its share of cores and memory.
        walltime: seconds; 0: no limit.
        queue: partition or queue; "": the site's default.
        account: "": the site's default.
        directives: further lines of the job's head, such as "--qos=long".
        skip: texts; lines of the head that contain one are left out.
        prologue: lines of shell before the worker.
        python: the interpreter on the nodes.
        interface: the network of the nodes; "": the one by which the scheduler is reached.
        local_directory: for spilled values; "": a folder in the node's temporary one.
        worker_options: further options of `dask worker`.
        logs: the folder of the jobs' logs.
    """

    name: str
    cores: int
    memory: int
    processes: int
    walltime: float
    queue: str = ""
    account: str = ""
    directives: list[str] = field(default_factory=list)
    skip: list[str] = field(default_factory=list)
    prologue: list[str] = field(default_factory=list)
    python: str = sys.executable
    interface: str = ""
    local_directory: str = ""
    worker_options: list[str] = field(default_factory=list)
    logs: str = ""


def margin(walltime: float) -> float:
    """Return the seconds before a job's end in which its workers are to be gone."""
    return min(MOST_MARGIN, max(LEAST_MARGIN, walltime / 8))


def leaves_after(walltime: float, draw: float) -> float:
    """Return after how many seconds a job takes nothing new any more.

    Args:
        draw: from 0 to 1, so that jobs which began together do not leave together.
    """
    return walltime - (2.5 - draw) * margin(walltime) if walltime else math.inf


def worker_memory(spec: JobSpec) -> int:
    """Return the bytes of each worker; their sum is not above the job's."""
    return spec.memory // spec.processes


def worker_options(spec: JobSpec, tls: dict[str, str]) -> list[str]:
    """Return the options of the worker's command that a job library does not give, quoted for a shell."""
    found = ["--memory-limit", str(worker_memory(spec)), "--nworkers", str(spec.processes), "--nanny"]
    # A worker's server of figures asks for no certificate: it is there for its own machine alone.
    found += ["--no-dashboard", "--dashboard-address", "127.0.0.1:0"]
    if spec.walltime:
        near = margin(spec.walltime)
        found += ["--lifetime", f"{spec.walltime - near:.0f}s", "--lifetime-stagger", f"{near / 3:.0f}s"]
    if spec.interface:
        found += ["--interface", spec.interface]
    if tls:
        found += ["--tls-ca-file", tls["ca"], "--tls-cert", tls["cert"], "--tls-key", tls["key"]]
    return [shlex.quote(word) for word in [*found, *spec.worker_options]]


def worker_command(spec: JobSpec, addresses: Sequence[str], name: str, tls: dict[str, str]) -> str:
    """Return the line that starts a job's workers; the program takes the shell's place, so that signals reach it."""
    head = [python_command(spec), "-m", PROGRAM, shlex.quote(",".join(addresses)), "--name", shlex.quote(name)]
    threads = ["--nthreads", str(spec.cores // spec.processes), "--death-timeout", str(DEATH_SECONDS)]
    directory = ["--local-directory", shlex.quote(spec.local_directory)] if spec.local_directory else []
    return " ".join([*head, *threads, *directory, *worker_options(spec, tls)])


def python_command(spec: JobSpec) -> str:
    return f"exec {shlex.quote(spec.python)} -P"


def job_of(worker: object, processes: int) -> str:
    """Return the job's name of a worker's: several workers of one job have a number each behind it."""
    return str(worker).rpartition("-")[0] if processes > 1 else str(worker)


def walltime_seconds(given: Any) -> float:
    """Return the seconds of a walltime: a number of them, or text as "30" (minutes), "2:00:00", "1-12:00:00".

    Raises:
        ValueError: it is neither, or less than a minute.
    """
    if isinstance(given, str):
        try:
            seconds = parse_walltime(given.strip())
        except ValueError as error:
            raise ValueError(f"walltime {error}") from None
    elif isinstance(given, (int, float)) and not isinstance(given, bool):
        seconds = float(given)
    else:
        raise ValueError(f'walltime must be seconds, or a text such as "02:00:00" or "1-12:00:00", got {given!r}')
    if seconds < 60:
        raise ValueError(f"walltime must be at least a minute, got {given!r}: a batch system counts in minutes")
    return seconds


def clock_text(seconds: float) -> str:
    """Return a walltime as batch systems read it; parts of a minute are rounded up."""
    minutes = math.ceil(seconds / 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:00"
