"""The variables that a batch system's commands get, and with them the jobs that they hand over."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from anabranch.core.launching import WALLTIME_END

if TYPE_CHECKING:
    from collections.abc import Mapping

_KEPT = re.compile(
    r"SLURM_(CONF|CLUSTERS)|SBATCH_(ACCOUNT|PARTITION|QOS|CONSTRAINT|RESERVATION|CLUSTERS|WCKEY)|"
    r"PBS_(CONF_FILE|EXEC|DEFAULT|SERVER|ACCOUNT)"
)
_OF_COMMANDS = re.compile(r"SBATCH_|SQUEUE_|SCANCEL_|SLURM_TIME_FORMAT$")
_OF_A_JOB = re.compile(
    r"SLURM_|SRUN_|SALLOC_|PBS_|PMI|TMPDIR$|CUDA_VISIBLE_DEVICES$|ROCR_VISIBLE_DEVICES$|GPU_DEVICE_ORDINAL$"
)


def scrubbed(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables for a batch system's commands, and so for a job.

    Variables that change what the commands do or print are left out, and so is the end of a walltime. Inside a job
    those are left out too that tell of that job: the new one would take them for its own. What a site or a user chooses
    by a variable stays.
    """
    inside = "SLURM_JOB_ID" in environ or "PBS_JOBID" in environ

    def goes(name: str) -> bool:
        return name == WALLTIME_END or bool(_OF_COMMANDS.match(name)) or (inside and bool(_OF_A_JOB.match(name)))

    return {name: value for name, value in environ.items() if _KEPT.fullmatch(name) or not goes(name)}
