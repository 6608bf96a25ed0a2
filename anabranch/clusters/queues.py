"""The queues that elastic clusters put jobs into: what each can do, and the table of their kinds.

A queue is used by the process that holds the cluster, and by nothing else: what a library does at its import stays
there.
"""

from __future__ import annotations

import asyncio
import importlib
import os
from typing import TYPE_CHECKING, Protocol

from anabranch.core.errors import LaunchError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anabranch.clusters.elastic import JobCluster
    from anabranch.clusters.job_spec import JobSpec
    from anabranch.clusters.scaling import Seen

# The kinds of elastic clusters: their queues, and what users make of each.
KINDS = {
    "local": ("anabranch.clusters.here:HereQueue", "anabranch.clusters.here:HereCluster"),
    "slurm": ("anabranch.clusters.slurm:SlurmQueue", "anabranch.clusters.slurm:SlurmCluster"),
    "pbs": ("anabranch.clusters.pbs:PBSQueue", "anabranch.clusters.pbs:PBSCluster"),
}
COMMAND_SECONDS = 60.0  # for one command of the queue
OUTER = ("SLURM_", "SBATCH_", "SRUN_", "SALLOC_", "PMI_", "PMIX_", "PBS_")  # of an allocation around the cluster


class Queue(Protocol):
    """Starts and ends jobs; each method raises LaunchError with the queue's answer when it cannot."""

    look_seconds: float  # at least, between two looks

    def render(self, name: str, addresses: Sequence[str]) -> str:
        """Return the script of one job; starts nothing."""
        ...

    async def submit(self, name: str, addresses: Sequence[str]) -> str:
        """Hand one job over; returns its id."""
        ...

    async def look(self, ids: Sequence[str]) -> Mapping[str, Seen]:
        """Return what is known of these jobs, by one question; those that ended long ago are missing."""
        ...

    def log(self, name: str, id: str) -> str:
        """Return the path of a job's log."""
        ...

    async def cancel(self, ids: Sequence[str]) -> None:
        """End jobs, by one command; those that have ended are no error."""
        ...


# What a busy or restarting queue says; the job that was handed over may be there all the same.
_SILENCES = (
    "timed out", "time-out", "did not answer", "unable to contact", "connection refused", "connection reset",
    "temporarily", "try again", "rate limit", "zero bytes", "cannot connect to server",
)  # fmt: skip


def is_silence(why: str) -> bool:
    """Return whether a failed command says nothing about the job, as when the queue's server restarts."""
    return any(words in why.lower() for words in _SILENCES)


def make_queue(kind: str, spec: JobSpec, tls: dict[str, str]) -> Queue:
    """Return the queue of a kind."""
    module, _, name = KINDS[kind][0].partition(":")
    found: Queue = getattr(importlib.import_module(module), name)(spec, tls)
    return found


def cluster_class(kind: str) -> type[JobCluster]:
    """Return what users make of a kind."""
    module, _, name = KINDS[kind][1].partition(":")
    found: type[JobCluster] = getattr(importlib.import_module(module), name)
    return found


def clean_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables without those of an allocation around us: jobs submitted with them inherit its limits."""
    kept = ("SLURM_CONF", "PBS_CONF_FILE", "PBS_EXEC", "PBS_SERVER", "PBS_ACCOUNT")
    return {name: value for name, value in environ.items() if name in kept or not name.startswith(OUTER)}


async def run(*command: str, seconds: float = COMMAND_SECONDS, good: tuple[int, ...] = (0,)) -> str:
    """Return the output of a command; raises LaunchError with what it said, or after so many seconds."""
    try:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            env=clean_environment(os.environ),
        )  # fmt: skip
    except FileNotFoundError:
        raise LaunchError(f"there is no command {command[0]!r} here: start the cluster on a login node") from None
    try:
        out, err = await asyncio.wait_for(process.communicate(), seconds)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise LaunchError(f"{command[0]} did not answer within {seconds:g} s") from None
    if process.returncode not in good:
        said = (err or out).decode(errors="replace").strip()
        raise LaunchError(f"{command[0]} ended with code {process.returncode}: {said[-500:] or 'no message'}")
    return out.decode(errors="replace")
