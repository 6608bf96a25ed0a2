"""Elastic clusters of workers in jobs: the user's face, which all kinds of batch systems share.

    JobCluster (driver) --held.py--> holder.py: scheduler, fleet, queue --> jobs --> workers
"""

from __future__ import annotations

import logging
import sys
import uuid
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anabranch.clusters import job_spec
from anabranch.clusters.held import HeldCluster, check_name, clusters_folder
from anabranch.core.login_nodes import signs_here, warning_of
from anabranch.core.option_checks import parse_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

log = logging.getLogger("anabranch.clusters")
LOCAL = "local"  # the kind whose jobs are processes of this machine


class JobCluster(HeldCluster):
    """A Dask cluster with its workers in jobs: for arguments see `SlurmCluster`, for the contract `core.clusters`."""

    def __init__(
        self,
        *,
        cores: int,
        memory: int | str,
        walltime: float | str = "01:00:00",
        minimum: int = 0,
        maximum: int = 4,
        processes: int | None = None,
        queue: str = "",
        account: str = "",
        directives: Sequence[str] = (),
        skip: Sequence[str] = (),
        prologue: Sequence[str] = (),
        python: str | None = None,
        interface: str | None = None,
        local_directory: str | None = None,
        worker_options: Sequence[str] = (),
        security: bool = True,
        patience: float | None = None,
        idle: float = 60.0,
        home: str | Path | None = None,
        name: str = "anabranch",
    ) -> None:
        if cores < 1 or (processes is not None and not 1 <= processes <= cores):
            raise ValueError(f"cores must be 1 or more, and processes from 1 to cores, got {cores} and {processes}")
        check_name(name)
        super().__init__(name, minimum, maximum)
        self._secure = security
        self._patience = patience
        self._idle = idle
        self._spec = job_spec.JobSpec(
            name=f"{name}-{uuid.uuid4().hex[:4]}", cores=cores, memory=parse_bytes(memory) or 0,
            processes=processes or cores, walltime=job_spec.walltime_seconds(walltime), queue=queue, account=account,
            directives=list(directives), skip=list(skip), prologue=list(prologue), python=python or sys.executable,
            interface=interface or "", local_directory=local_directory or "", worker_options=list(worker_options),
        )  # fmt: skip
        if not self._spec.memory:
            raise ValueError(f'memory must be the bytes of a job, such as "16 GiB", got {memory!r}')
        self._home = Path(home) if home is not None else clusters_folder()

    def __repr__(self) -> str:
        size = f"cores={self._spec.cores}, jobs={self._minimum}..{self._maximum}"
        return f"{type(self).__name__}({self.name!r}, {size})"

    def _size(self) -> tuple[tuple[str, str | float | None, str], ...]:
        spec = self._spec
        slots = f"{spec.cores} to a job, {self._maximum * spec.cores} at most"
        return ("slots", slots, ""), ("memory of a job", spec.memory, "B"), ("walltime", spec.walltime, "s")

    def start(self) -> None:
        """Start the scheduler, unless it runs; warns where this machine ends long programs."""
        if self._held is None and self.kind != LOCAL:
            lives = "this program and its scheduler live here as long as the flow takes"
            instead = "run the whole flow in a job (`anabranch submit slurm FILE`), or this program in a small one"
            if words := warning_of(signs_here(), lives, instead):
                log.warning("%s", words)
        super().start()

    def options(self) -> dict[str, Any]:
        """Return what its holder is told; its jobs have a name that no other cluster's have."""
        return {
            "holder": self.holder, "kind": self.kind, "name": self.name, "spec": asdict(self._spec),
            "bounds": [self._minimum, self._maximum], "secure": self._secure, "patience": self._patience,
            "idle": self._idle, "home": str(self._home), "path": sys.path,
        }  # fmt: skip

    def job_script(self) -> str:
        """Return the script of one job, with an address in the place of the scheduler's; starts nothing."""
        return self.render()
