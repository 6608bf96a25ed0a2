"""Elastic clusters of PBS jobs, over dask-jobqueue, as those of Slurm (`slurm.py`).

Made from recorded outputs of PBS 19 to 22: no real PBS has run it. The script is dask-jobqueue's; `qstat` is asked for
JSON, which values of the environment can break, so the lines that name jobs and states are what is read.
"""

from __future__ import annotations

import re
import tempfile
from typing import TYPE_CHECKING

from anabranch.clusters import queues
from anabranch.clusters.elastic import JobCluster
from anabranch.clusters.scaling import Seen
from anabranch.clusters.slurm import rendered
from anabranch.core.errors import LaunchError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anabranch.clusters.job_spec import JobSpec

WAITING = {"Q": "it waits in the queue", "H": "it is held back", "W": "its time to begin has not come", "T": "it moves"}
RUNNING = set("REBSU")
HISTORY, UNKNOWN = 35, 153  # exit codes of qstat: a job that has ended, a job that is not known
_JOB = re.compile(r'^\s*"(\d+[^"]*)"\s*:\s*\{\s*$')
_FIELD = re.compile(r'^\s*"(job_state|comment|Exit_status)"\s*:\s*"?(.*?)"?,?\s*$')


def seen(text: str) -> dict[str, Seen]:
    """Return what `qstat -x -f -F json` says of each job, line by line: its values are not always JSON."""
    fields: dict[str, dict[str, str]] = {}
    job: dict[str, str] = {}
    for line in text.splitlines():
        if named := _JOB.match(line):
            job = fields.setdefault(named[1], {})
        elif found := _FIELD.match(line):
            job.setdefault(found[1], found[2])
    return {id: _seen(found) for id, found in fields.items() if "job_state" in found}


def _seen(fields: dict[str, str]) -> Seen:
    state, comment = fields["job_state"], fields.get("comment", "")
    if state in WAITING:
        return Seen("queued", comment or WAITING[state], hopeless="can never run" in comment.lower())
    if state in RUNNING:
        return Seen("running")
    code = fields.get("Exit_status", "")
    return Seen("ended", f"exit status {code}" if code else comment or "it has ended")


class PBSQueue:
    """qsub, qstat and qdel, for the jobs of one cluster; see `queues.Queue`."""

    look_seconds = 30.0

    def __init__(self, spec: JobSpec, tls: dict[str, str]) -> None:
        self._spec = spec
        self._tls = tls

    def render(self, name: str, addresses: Sequence[str]) -> str:
        spec = self._spec
        own = ["-j oe", f"-o {spec.logs}/", "-r n"]
        kept = [one for one in own if not any(text in one for text in spec.skip)]
        size = f"select=1:ncpus={spec.cores}:mem={-(-spec.memory // 2**20)}mb"
        return rendered(
            "PBS", spec, name, addresses, self._tls, resource_spec=size, job_extra_directives=[*kept, *spec.directives]
        )

    async def submit(self, name: str, addresses: Sequence[str]) -> str:
        with tempfile.NamedTemporaryFile("w", suffix=".sh") as script:
            script.write(self.render(name, addresses))
            script.flush()
            out = await queues.run("qsub", script.name)
        id = (out.strip().splitlines() or [""])[-1].strip()
        if not id[:1].isdigit():
            raise LaunchError(f"qsub gave no job's number: {out.strip()[-300:]!r}")
        return id

    async def look(self, ids: Sequence[str]) -> Mapping[str, Seen]:
        return seen(await queues.run("qstat", "-x", "-f", "-F", "json", *ids, good=(0, HISTORY, UNKNOWN)))

    def log(self, name: str, id: str) -> str:
        return f"{self._spec.logs}/{self._spec.name}.o{id.partition('.')[0]}"

    async def cancel(self, ids: Sequence[str]) -> None:
        for first in range(0, len(ids), 100):
            await queues.run("qdel", *ids[first : first + 100], good=(0, HISTORY, UNKNOWN))


class PBSCluster(JobCluster):
    """Dask workers in PBS jobs: as many as the work asks for, between `minimum` and `maximum`.

    For ``DaskRunner(PBSCluster(...))``; all else, and each argument, is as in `SlurmCluster`, with `queue` and
    `directives` in PBS's words. It is made from PBS's recorded answers, and no real PBS has run it yet.

    Raises:
        ValueError: a number or text that cannot be.
    """

    kind = "pbs"
