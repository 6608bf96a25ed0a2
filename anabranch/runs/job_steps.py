"""`run_step`: a task starts a program of several ranks, as a step of its Slurm job or by MPI, and waits for it.

    task: run_step --> step_watch --> srun --> ranks on the nodes of the job
          lines to the log of the run <-- what they write
"""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from anabranch.core import job_steps
from anabranch.core.errors import StepError
from anabranch.runs.programs import PATIENCE, Lines, Log, Program

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SRUNS_PATIENCE = 60.0  # for srun, which ends the ranks on all nodes before itself: killed, it would leave them there


def run_step(
    command: Sequence[str | os.PathLike[str]],
    *,
    ntasks: int = 1,
    cpus_per_task: int = 1,
    gpus_per_task: int = 0,
    launcher: str | None = None,
    options: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    cwd: str | os.PathLike[str] | None = None,
) -> str:
    """Run a program of several ranks to its end, as a step of the Slurm job around this code, and return its output.

        @task(cpus=16)
        def solve(case: str) -> None:
            run_step(["./solver", case], ntasks=16)

    Inside of a Slurm job `srun` starts it, on processors that no other step has; where they are taken, Slurm lets it
    wait. Elsewhere ``ntasks=1`` runs the program itself, and more ranks are started by `mpirun`. Its lines go to the
    log of the run, and it ends with the run: after a cancel, at a time limit, with a worker that dies.

    Args:
        command: the program and its arguments; no shell reads them.
        ntasks: ranks.
        cpus_per_task: processors of a rank, and OMP_NUM_THREADS.
        gpus_per_task: accelerators of a rank; Slurm alone gives them out.
        launcher: "srun", "mpirun", "mpiexec" or "itself", where it is not to be chosen.
        options: more options of `srun` or `mpirun`, such as "--mpi=pmix".
        env: variables that are added to this program's.
        cwd: the working folder; None: this program's.

    Returns:
        What it has written to its standard output, as it has written it; of more than 64 KiB the last lines.

    Raises:
        StepError: it ended with a code other than 0, or could not be started; has the code and the last lines.
        LaunchError: nothing here starts so many ranks; says what does.
        CancelledRun: the run was cancelled meanwhile, or has ended by its time limit.
        ValueError: an argument is out of range.

    Not promised: that other tasks of the flow leave its processors alone. `cpus=` of the task sees to that on one node.
    """
    words = tuple(os.fspath(word) for word in command) if not isinstance(command, str) else ()
    _check(words, ntasks, cpus_per_task, gpus_per_task, launcher)
    starter = job_steps.starter_of(os.environ, ntasks, launcher, shutil.which)
    step = job_steps.Step(
        words, starter, ntasks, cpus_per_task, gpus_per_task, job_steps.shares(os.environ), tuple(options)
    )
    log = Log.here()
    written = Lines(log.line)
    with Program(
        str(step), step.line(), job_steps.rank_environment(os.environ, step, env or {}),
        None if cwd is None else os.fspath(cwd), log, written, Lines(written.beside),
        SRUNS_PATIENCE if starter == job_steps.SRUN else PATIENCE,
    ) as started:  # fmt: skip
        code = started.run()
    if code:
        raise StepError(job_steps.told_end(step, code, written.last), code, written.text)
    return written.text


def _check(words: tuple[str, ...], ntasks: int, cpus: int, gpus: int, launcher: str | None) -> None:
    if not words:
        raise ValueError('a step must be a list of a program and its arguments, such as ["./solver", "case.nc"]')
    for name, value, least in (("ntasks", ntasks, 1), ("cpus_per_task", cpus, 1), ("gpus_per_task", gpus, 0)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"{name} must be {least} or more, got {value!r}")
    if launcher is not None and launcher not in job_steps.STARTERS:
        raise ValueError(f"launcher is one of {', '.join(job_steps.STARTERS)}, got {launcher!r}")
    if launcher == job_steps.ITSELF and ntasks > 1:
        raise ValueError(f'launcher="itself" is for one rank, got ntasks={ntasks}')
