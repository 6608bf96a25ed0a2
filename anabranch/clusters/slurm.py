"""Elastic clusters of Slurm jobs: what Slurm has of its own; all else is `batch_queue`.

    SlurmCluster (driver) --pipe, TLS--> holder: scheduler + fleet --SlurmQueue--> sbatch, squeue, scancel
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from anabranch.batch.shared_look import EVERY
from anabranch.batch.slurm import KIND, Slurm
from anabranch.batch.slurm_refusals import job_id
from anabranch.clusters.batch_queue import BatchQueue
from anabranch.clusters.elastic import JobCluster
from anabranch.core import slurm_words

if TYPE_CHECKING:
    from pathlib import Path

    from anabranch.clusters.job_spec import JobSpec


class SlurmQueue(BatchQueue):
    """sbatch, squeue and scancel, for the jobs of one cluster."""

    kind = KIND

    def __init__(self, spec: JobSpec, tls: dict[str, str], home: Path, every: float = EVERY) -> None:
        self._slurm = Slurm()
        super().__init__(spec, tls, home=home, system=self._slurm, every=every)

    def directives(self) -> list[str]:
        return [f"--output={self._spec.logs}/%j.log", "--open-mode=append", "--no-requeue"]

    def size(self) -> dict[str, str]:
        return {"job_mem": f"{-(-self._spec.memory // 2**20)}M"}

    def handing_over(self, script: str) -> list[str]:
        """Options stand on the command line too, where they are stronger than SBATCH_PARTITION."""
        spec = self._spec
        chosen = [f"--partition={spec.queue}"] if spec.queue else []
        paid = [f"--account={spec.account}"] if spec.account else []
        return ["sbatch", "--parsable", *chosen, *paid, script]

    def id_of(self, out: str) -> str:
        return job_id(out)

    def named(self) -> list[str]:
        return [line.job for line in self._slurm.named(self._spec.name) if line.state not in slurm_words.ENDS]

    def log(self, name: str, id: str) -> str:
        return f"{self._spec.logs}/{id.partition(';')[0]}.log"


class SlurmCluster(JobCluster):
    """Dask workers in Slurm jobs: as many as the work asks for, between `minimum` and `maximum`.

    For ``DaskRunner(SlurmCluster(...))``. Nothing is started before it is first used. Jobs that die are replaced, and
    workers leave before their job's walltime. `close`, the end of a ``with`` block and the end of the program end the
    jobs.

    Args:
        cores: of each job.
        memory: of each job, as "16 GiB" or bytes.
        walltime: of each job, as "02:00:00" or seconds.
        minimum: jobs that are there also without work.
        maximum: jobs at most; equal to `minimum`: so many all the time.
        processes: workers of each job, which share its cores and memory; None: one for each core.
        queue: the partition.
        account: that pays.
        directives: further options of sbatch, such as ["--qos=long"].
        skip: texts; lines of the job's head that contain one are left out, as ["--mem"] where a site forbids it.
        prologue: lines of shell before the worker starts, such as ["module load cuda"].
        python: the interpreter on the nodes; None: this one.
        interface: the network between nodes, such as "ib0"; None: each worker takes the one that reaches the scheduler.
        local_directory: for spilled values; None: the node's temporary folder.
        worker_options: further options of ``dask worker``, such as ["--resources", "gpus=1"].
        security: encrypt, and admit only programs with this cluster's certificate; needs the package cryptography.
        patience: seconds without any worker after which flows on it end with the queue's reason; None: they wait.
        idle: seconds of too little work after which jobs end.
        home: the folder for logs and certificates, which the nodes must see; None: anabranch's.
        name: of its jobs in the queue.

    Raises:
        ValueError: a number or text that cannot be.
    """

    kind = "slurm"
