"""The queues that elastic clusters put jobs into: what each can do, and the table of their kinds.

A queue is used by the process that holds the cluster, and by nothing else: what a library does at its import stays
there.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from anabranch.clusters.job_spec import JobSpec
    from anabranch.clusters.scaling import Seen

# The queues, by the kind of cluster; what users make of each: `kinds.py`.
QUEUES = {
    "local": "anabranch.clusters.here:HereQueue",
    "slurm": "anabranch.clusters.slurm:SlurmQueue",
    "pbs": "anabranch.clusters.pbs:PBSQueue",
}


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
        """Return what is known of these jobs; those of which nothing is known yet are missing."""
        ...

    async def strays(self, ids: Sequence[str]) -> Sequence[str]:
        """Return the ids of jobs of this cluster's name that have not ended, beside these."""
        ...

    def log(self, name: str, id: str) -> str:
        """Return the path of a job's log."""
        ...

    async def cancel(self, ids: Sequence[str]) -> None:
        """End jobs, by one command; those that have ended are no error."""
        ...


def make_queue(kind: str, spec: JobSpec, tls: dict[str, str], home: Path) -> Queue:
    """Return the queue of a kind.

    Args:
        home: of anabranch, where programs share their looks at a batch system.
    """
    module, _, name = QUEUES[kind].partition(":")
    found: Queue = getattr(importlib.import_module(module), name)(spec, tls, home)
    return found
