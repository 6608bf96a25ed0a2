"""The queue of an elastic cluster in a batch system: what Slurm and PBS have in common.

    holder --submit--> the script that dask-jobqueue writes --> sbatch, qsub
           --look----> one look for all programs of the user on this host (`batch.shared_look`)
           --cancel--> scancel, qdel

dask-jobqueue never asks the queue, counts dead jobs as there, and replaces the handler of SIGINT when it is imported.
So nothing of it but the script is used, and it is imported in the holder's process alone.
"""

from __future__ import annotations

import asyncio
import tempfile
from typing import TYPE_CHECKING, Any, Protocol

from anabranch.batch.shared_look import EVERY, SharedLook, file_of
from anabranch.batch.silences import is_silence
from anabranch.clusters import job_spec
from anabranch.clusters.scaling import Seen
from anabranch.core.errors import LaunchError, MissingExtraError
from anabranch.core.launching import Phase, Reference, Sight

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from anabranch.batch.commands import Ran
    from anabranch.clusters.job_spec import JobSpec


class System(Protocol):
    """A batch system, asked by its commands."""

    def ask(self, argv: Sequence[str]) -> Ran: ...
    def cluster(self) -> str: ...
    def look(self, references: Iterable[Reference]) -> dict[Reference, Sight]: ...
    def cancel(self, references: Sequence[Reference]) -> None: ...


class BatchQueue:
    """The jobs of one cluster; see `queues.Queue`.

    Args:
        home: of anabranch, where programs share their looks.
        system: asked by its commands.
        every: seconds between two questions to the batch system, by any program.
    """

    kind = ""
    look_seconds = 5.0  # at a file: the batch system is asked less often

    def __init__(
        self, spec: JobSpec, tls: dict[str, str], *, home: Path, system: System, every: float = EVERY
    ) -> None:
        self._spec = spec
        self._tls = tls
        self._system = system
        self._home = home
        self._every = every
        self._cluster: str | None = None

    # -- what each system has of its own ------------------------------------------------------------

    def directives(self) -> list[str]:
        """Return the lines of a job's head that dask-jobqueue does not write."""
        raise NotImplementedError

    def size(self) -> dict[str, str]:
        """Return the job's size, as an argument of dask-jobqueue's."""
        raise NotImplementedError

    def handing_over(self, script: str) -> list[str]:
        """Return the command that hands a script over."""
        raise NotImplementedError

    def id_of(self, out: str) -> str:
        """Return the id in what that command printed; "" for none."""
        raise NotImplementedError

    def named(self) -> list[str]:
        """Return the ids of jobs of the cluster's name that have not ended."""
        raise NotImplementedError

    def log(self, name: str, id: str) -> str:
        raise NotImplementedError

    # -- what they have in common -------------------------------------------------------------------

    def render(self, name: str, addresses: Sequence[str]) -> str:
        spec = self._spec
        kept = [one for one in self.directives() if not any(text in one for text in spec.skip)]
        more: dict[str, Any] = {**self.size(), "job_extra_directives": [*kept, *spec.directives]}
        return _rendered(self.kind.upper(), spec, name, addresses, self._tls, more)

    async def submit(self, name: str, addresses: Sequence[str]) -> str:
        if self._cluster is None:  # before there is a job
            self._cluster = await asyncio.to_thread(self._system.cluster)
        with tempfile.NamedTemporaryFile("w", suffix=".sh") as script:
            script.write(self.render(name, addresses))
            script.flush()
            command = self.handing_over(script.name)
            answer = await asyncio.to_thread(self._system.ask, command)
        if answer.code == 0 and (id := self.id_of(answer.out)):
            return id
        if answer.code == 0:
            raise LaunchError(f"{command[0]} gave no job's number: {answer.out.strip()[-300:]!r}")
        said = "did not answer" if answer.code is None or is_silence(answer.told) else "does not take the job"
        raise LaunchError(f"{command[0]} {said}: {answer.told[-500:]}")

    async def look(self, ids: Sequence[str]) -> Mapping[str, Seen]:
        file = file_of(self._home, self.kind)
        shared = SharedLook(self._system, file, every=self._every)

        def look() -> dict[Reference, Sight]:
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            return shared.look([self._reference(id) for id in ids])

        return {one.id: seen_of(sight) for one, sight in (await asyncio.to_thread(look)).items()}

    async def strays(self, ids: Sequence[str]) -> Sequence[str]:
        known = {id.partition(";")[0] for id in ids}
        return [id for id in await asyncio.to_thread(self.named) if id not in known]

    async def cancel(self, ids: Sequence[str]) -> None:
        await asyncio.to_thread(self._system.cancel, [self._reference(id) for id in ids])

    def _reference(self, id: str) -> Reference:
        return Reference(self.kind, id, self._spec.name, "", self._cluster or "")


def seen_of(sight: Sight) -> Seen:
    """Return what a look at a job means for the cluster."""
    if sight.phase is Phase.PENDING:
        return Seen("queued", sight.reason, sight.stuck)
    if sight.phase is Phase.RUNNING:
        return Seen("running")
    return Seen("ended", sight.reason or "it has come to its end")


def _rendered(
    kind: str, spec: JobSpec, name: str, addresses: Sequence[str], tls: dict[str, str], more: dict[str, Any]
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
