"""Elastic clusters of PBS jobs: what PBS has of its own; all else is `batch_queue`.

Made from recorded outputs of PBS 19 to 22: no real PBS has run it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from anabranch.batch.pbs import KIND, Pbs
from anabranch.batch.pbs_states import job_id
from anabranch.batch.shared_look import EVERY
from anabranch.clusters.batch_queue import BatchQueue
from anabranch.clusters.elastic import JobCluster

if TYPE_CHECKING:
    from pathlib import Path

    from anabranch.clusters.job_spec import JobSpec


class PBSQueue(BatchQueue):
    """qsub, qstat and qdel, for the jobs of one cluster."""

    kind = KIND

    def __init__(self, spec: JobSpec, tls: dict[str, str], home: Path, every: float = EVERY) -> None:
        self._pbs = Pbs()
        super().__init__(spec, tls, home=home, system=self._pbs, every=every)

    def directives(self) -> list[str]:
        return ["-j oe", f"-o {self._spec.logs}/", "-r n"]

    def size(self) -> dict[str, str]:
        return {"resource_spec": f"select=1:ncpus={self._spec.cores}:mem={-(-self._spec.memory // 2**20)}mb"}

    def handing_over(self, script: str) -> list[str]:
        return ["qsub", script]

    def id_of(self, out: str) -> str:
        return job_id(out)

    def named(self) -> list[str]:
        return self._pbs.named(self._spec.name, ended=False)

    def log(self, name: str, id: str) -> str:
        return f"{self._spec.logs}/{self._spec.name}.o{id.partition('.')[0]}"


class PBSCluster(JobCluster):
    """Dask workers in PBS jobs: as many as the work asks for, between `minimum` and `maximum`.

    For ``DaskRunner(PBSCluster(...))``; all else, and each argument, is as in `SlurmCluster`, with `queue` and
    `directives` in PBS's words. It is made from PBS's recorded answers, and no real PBS has run it yet.

    Raises:
        ValueError: a number or text that cannot be.
    """

    kind = "pbs"
