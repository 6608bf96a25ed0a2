"""Elastic clusters of Slurm jobs, over dask-jobqueue: it writes the job's script; the jobs themselves are ours.

    SlurmCluster (driver) --pipe, TLS--> holder: scheduler + fleet --SlurmQueue--> sbatch, squeue, scancel

dask-jobqueue never asks the queue, counts dead jobs as there, and replaces the handler of SIGINT when it is imported.
So nothing of it but the script is used, and it is imported in the holder's process alone.
"""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING, Any

from anabranch.clusters import job_spec, queues
from anabranch.clusters.elastic import JobCluster
from anabranch.clusters.scaling import Seen
from anabranch.core import slurm_words
from anabranch.core.errors import LaunchError, MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anabranch.clusters.job_spec import JobSpec


def seen(lines: str) -> dict[str, Seen]:
    """Return what `squeue -o '%i|%T|%r'` says of each job; one in a state that is not known is no end."""
    found = {}
    for line in lines.splitlines():
        id, _, rest = line.strip().partition("|")
        state, _, reason = rest.partition("|")
        if state in slurm_words.WAITS:
            found[id] = Seen("queued", slurm_words.waits_for(reason), slurm_words.word_of(reason) in slurm_words.STUCK)
        elif state in slurm_words.ENDS:
            why = f"{state} {reason}" if reason not in ("None", "") else state
            found[id] = Seen("ended", f"{why}: {slurm_words.ENDS[state]}" if slurm_words.ENDS[state] else why)
        elif state:
            found[id] = Seen("running")
    return found


class SlurmQueue:
    """sbatch, squeue and scancel, for the jobs of one cluster; see `queues.Queue`."""

    look_seconds = 30.0

    def __init__(self, spec: JobSpec, tls: dict[str, str]) -> None:
        self._spec = spec
        self._tls = tls

    def render(self, name: str, addresses: Sequence[str]) -> str:
        spec = self._spec
        own = [f"--output={spec.logs}/%j.log", "--open-mode=append", "--no-requeue"]
        kept = [one for one in own if not any(text in one for text in spec.skip)]
        return rendered(
            "SLURM", spec, name, addresses, self._tls,
            job_mem=f"{-(-spec.memory // 2**20)}M", job_extra_directives=[*kept, *spec.directives],
        )  # fmt: skip

    async def submit(self, name: str, addresses: Sequence[str]) -> str:
        with tempfile.NamedTemporaryFile("w", suffix=".sh") as script:
            script.write(self.render(name, addresses))
            script.flush()
            out = await queues.run("sbatch", "--parsable", script.name)
        last = (out.strip().splitlines() or [""])[-1]  # above it a site may greet
        id = last.partition(";")[0].strip()
        if not id.isdigit():
            raise LaunchError(f"sbatch gave no job's number: {out.strip()[-300:]!r}")
        return id

    async def look(self, ids: Sequence[str]) -> Mapping[str, Seen]:
        # By name and user: a question for ids fails as soon as one of them is forgotten.
        return seen(await queues.run("squeue", "-h", "-t", "all", "--me", "-n", self._spec.name, "-o", "%i|%T|%r"))

    def log(self, name: str, id: str) -> str:
        return f"{self._spec.logs}/{id}.log"

    async def cancel(self, ids: Sequence[str]) -> None:
        for first in range(0, len(ids), 100):
            await queues.run("scancel", "--quiet", *ids[first : first + 100], good=(0, 1))


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


def rendered(
    kind: str, spec: JobSpec, name: str, addresses: Sequence[str], tls: dict[str, str], **more: Any
) -> str:
    """Return the script that dask-jobqueue writes for one job; raises MissingExtraError without it."""
    try:
        import dask_jobqueue
    except ImportError:
        raise MissingExtraError("clusters of batch jobs need dask-jobqueue: pip install 'anabranch[hpc]'") from None
    make = getattr(dask_jobqueue, f"{kind}Cluster").job_cls
    job = make(
        ",".join(addresses), name=name, cores=spec.cores, memory=spec.memory, processes=spec.processes,
        queue=spec.queue or None, account=spec.account or None, job_name=spec.name, shebang="#!/bin/bash -l",
        walltime=job_spec.clock_text(spec.walltime), nanny=True, death_timeout=job_spec.DEATH_SECONDS,
        python=job_spec.python_command(spec), worker_command=job_spec.PROGRAM,
        worker_extra_args=job_spec.worker_options(spec, tls), local_directory=spec.local_directory or None,
        job_script_prologue=spec.prologue, job_directives_skip=spec.skip, **more,
    )  # fmt: skip
    script: str = job.job_script()
    return "".join(f"{line}\n" for line in script.splitlines() if line.strip())
