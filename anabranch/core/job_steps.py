"""Slurm's job steps: which command starts a program of several ranks, and in which environment. Nothing runs here.

A variable of the job, or of the step that a worker lives in, is an option to an inner `srun`: left alone, it meets the
options that are given here, and the step is refused, has the wrong size, or waits for ever.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from anabranch.core.errors import LaunchError
from anabranch.core.node_folders import outside

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

SRUN, ITSELF = "srun", "itself"
MPI = ("mpirun", "mpiexec")
STARTERS = (SRUN, *MPI, ITSELF)
SHARED = "ANABRANCH_SHARED_STEP"  # the job, in a step of our own in it whose processors other steps may have
# A step that is told its size would take these for a second, different answer; the binding is that of the script's.
_SIZES = (
    "SLURM_CPU_BIND", "SLURM_CPUS_PER_TASK", "SLURM_EXPORT_ENV", "SLURM_GPU_BIND", "SLURM_MEM_BIND", "SLURM_MEM_PER",
    "SLURM_NTASKS", "SLURM_NPROCS", "SLURM_TRES_PER_TASK", "SLURM_DISTRIBUTION",
)  # fmt: skip
# The place of this process in a step: a program of MPI would take it for its own.
_PLACE = (
    "SLURM_STEP", "SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID", "SLURM_TASK_PID", "SLURM_GTIDS",
    "SLURM_LAUNCH_NODE", "SLURM_SRUN", "SLURM_OVERLAP", "SLURM_EXACT", "SLURM_WHOLE", "SLURM_WAIT", "SLURM_NO_KILL",
    "SLURM_KILL_BAD_EXIT", "SLURM_NNODES", "SLURM_GPUS", "SLURM_THREADS_PER_CORE", "PMI", "OMPI_", SHARED,
)  # fmt: skip
_DEVICES = ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL")
_SPECIAL_STEPS = 4_294_967_280  # of the batch script, an interactive shell and the like: they hold no processors


class Step(NamedTuple):
    """A program of several ranks.

    Attributes:
        starter: one of STARTERS.
        gpus: for each rank.
        overlap: whether it shares the processors of the step that it is started from.
        options: more of `srun` or `mpirun`.
    """

    command: tuple[str, ...]
    starter: str
    ranks: int = 1
    cpus: int = 1
    gpus: int = 0
    overlap: bool = False
    options: tuple[str, ...] = ()

    def __str__(self) -> str:
        by = "" if self.starter == ITSELF else f" ({self.ranks} ranks by {self.starter})"
        return f"{self.command[0]}{by}"

    def line(self) -> list[str]:
        """Return the command that starts it."""
        if self.starter == SRUN:
            return [
                SRUN, "--exact", *(["--overlap"] if self.overlap else []), "--export=ALL", "--input=none",
                "--kill-on-bad-exit=1", f"--ntasks={self.ranks}", f"--cpus-per-task={self.cpus}", "--mem=0",
                f"--gpus-per-task={self.gpus}" if self.gpus else "--gres=none", *self.options, *self.command,
            ]  # fmt: skip
        if self.starter in MPI:
            return [self.starter, "-n", str(self.ranks), *self.options, *self.command]
        return list(self.command)


def starter_of(env: Mapping[str, str], ranks: int, asked: str | None, found: Callable[[str], object]) -> str:
    """Return what starts a program of so many ranks: one of STARTERS.

    Args:
        asked: by the user; None: Slurm inside of its jobs, elsewhere MPI, or the program itself where it is one rank.
        found: whether there is a command of this name.

    Raises:
        LaunchError: there is none for it here; says what to do.
    """
    job = env.get("SLURM_JOB_ID", "")
    if asked is not None:
        if asked == SRUN and not job:
            raise LaunchError("a step by srun needs a Slurm job around it: leave launcher= out, or start it in a job")
        if asked != ITSELF and not found(asked):
            raise LaunchError(f"there is no {asked} on the path here: `module load` may bring it")
        return asked
    if job:
        if not found(SRUN):
            raise LaunchError(
                f"job {job} is Slurm's, and there is no srun on the path here, as in many containers: "
                'launcher="mpirun" or launcher="itself" starts the program on this node, uncounted by Slurm'
            )
        return SRUN
    if ranks == 1:
        return ITSELF
    for command in MPI:
        if found(command):
            return command
    raise LaunchError(
        f"{ranks} ranks need srun inside of a Slurm job, or mpirun on the path, and here is neither: install an MPI "
        "(`module load` may bring one), or take ntasks=1"
    )


def shares(env: Mapping[str, str]) -> bool:
    """Return whether a step from here must share its processors: it is started from a step that holds them."""
    step = env.get("SLURM_STEP_ID", "")
    ours = env.get(SHARED) == env.get("SLURM_JOB_ID")
    return step.isdigit() and int(step) < _SPECIAL_STEPS and not ours


def step_environment(env: Mapping[str, str]) -> dict[str, str]:
    """Return the environment in which a step is started: without what the job's own sizes would say against it."""
    return {name: value for name, value in env.items() if not name.startswith(_SIZES)}


def rank_environment(env: Mapping[str, str], step: Step, given: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a step that is started from a worker.

    Its threads are as many as its processors: Dask's workers have a variable that says one. Its ranks on other nodes
    do not have the worker's folder for temporary files.

    Args:
        given: by the user; it wins.
    """
    gone = (*_SIZES, *_PLACE, *(_DEVICES if step.gpus and step.starter == SRUN else ()))
    kept = {name: value for name, value in env.items() if not name.startswith(gone)}
    if step.starter == SRUN and "TMPDIR" in kept:
        kept["TMPDIR"] = outside(kept["TMPDIR"])
    return {**kept, "OMP_NUM_THREADS": str(step.cpus), **given}


def told_end(step: Step, code: int, lines: Sequence[str]) -> str:
    """Return in words how a step ended."""
    signal = f" (ended by signal {code - 128})" if 128 < code < 160 else ""
    said = "\n".join(lines)
    return f"{step} ended with code {code}{signal}" + (f"; its last lines:\n{said}" if said else ", without a word")
