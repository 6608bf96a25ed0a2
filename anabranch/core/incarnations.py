"""One start of a batch system's job: the job's id, and how often it was started before.

A job that is started again keeps its id. Its earlier start may still run, on a node that was silent, or may only begin:
the one with the higher number is the one that counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Self

if TYPE_CHECKING:
    from collections.abc import Mapping


POD_UID = "ANABRANCH_POD_UID"  # set in the pod of a flow's job


class Incarnation(NamedTuple):
    """See the module's head.

    Attributes:
        job: with the batch system's name, as "slurm:123"; "" outside of jobs. Of Kubernetes it is the pod, as
            "kubernetes:UID": a pod that takes the place of another is no later start of it.
        restarts: how often the job was started before.
    """

    job: str = ""
    restarts: int = 0

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Self:
        """Return the incarnation that a process with these variables is in."""
        job, count = environ.get("SLURM_JOB_ID", ""), environ.get("SLURM_RESTART_COUNT", "")
        if job:
            return cls(f"slurm:{job}", int(count) if count.isdigit() else 0)
        return cls(f"kubernetes:{environ[POD_UID]}") if environ.get(POD_UID) else cls()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the incarnation of a text that `str` has made."""
        job, _, count = text.rpartition(".")
        return cls(job, int(count)) if job and count.isdigit() else cls()

    def __str__(self) -> str:
        return f"{self.job}.{self.restarts}" if self.job else ""

    def supersedes(self, other: Incarnation) -> bool:
        """Return whether this is a later start of the same job."""
        return bool(self.job) and self.job == other.job and self.restarts > other.restarts
