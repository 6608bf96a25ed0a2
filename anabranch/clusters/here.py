"""Elastic clusters whose jobs are processes of this machine: all else as with a batch system."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from dataclasses import replace
from typing import TYPE_CHECKING

from anabranch.clusters import job_spec
from anabranch.clusters.elastic import JobCluster
from anabranch.clusters.scaling import Seen

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from anabranch.clusters.job_spec import JobSpec

END_SECONDS = 5.0  # for a job to end by itself


class HereQueue:
    """Children of the holder, each with a session of its own; see `queues.Queue`."""

    look_seconds = 1.0

    def __init__(self, spec: JobSpec, tls: dict[str, str], home: Path) -> None:
        self._spec = replace(spec, walltime=0.0)  # nothing ends a process at a time
        self._tls = tls
        self._children: dict[str, asyncio.subprocess.Process] = {}

    def render(self, name: str, addresses: Sequence[str]) -> str:
        spec = self._spec
        command = job_spec.worker_command(spec, addresses, name, self._tls)
        return "".join(f"{line}\n" for line in ("#!/bin/bash", *spec.prologue, command))

    async def submit(self, name: str, addresses: Sequence[str]) -> str:
        script = self.render(name, addresses)
        out = os.open(self.log(name, ""), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            child = await asyncio.create_subprocess_exec(
                "/bin/bash", "-c", script, stdin=asyncio.subprocess.DEVNULL, stdout=out, stderr=out,
                start_new_session=True,
            )  # fmt: skip
        finally:
            os.close(out)
        self._children[str(child.pid)] = child
        return str(child.pid)

    async def look(self, ids: Sequence[str]) -> Mapping[str, Seen]:
        return {id: self._seen(self._children[id]) for id in ids if id in self._children}

    async def strays(self, ids: Sequence[str]) -> Sequence[str]:
        return [id for id, child in self._children.items() if child.returncode is None and id not in ids]

    def _seen(self, child: asyncio.subprocess.Process) -> Seen:
        return Seen("running") if child.returncode is None else Seen("ended", f"exit {child.returncode}")

    def log(self, name: str, id: str) -> str:
        return os.path.join(self._spec.logs, f"{name}.log")

    async def cancel(self, ids: Sequence[str]) -> None:
        await asyncio.gather(*(self._end(self._children[id]) for id in ids if id in self._children))

    async def _end(self, child: asyncio.subprocess.Process) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(child.wait(), END_SECONDS)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)


class HereCluster(JobCluster):
    """Dask workers in processes of this machine, as many as the work asks for; the arguments are `SlurmCluster`'s."""

    kind = "local"
