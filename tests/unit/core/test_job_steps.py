"""Which command starts a program of several ranks, and in which environment."""

from __future__ import annotations

import pytest

from anabranch.core.errors import LaunchError
from anabranch.core.job_steps import (
    ITSELF,
    SHARED,
    SRUN,
    Step,
    rank_environment,
    shares,
    starter_of,
    told_end,
)
from anabranch.core.node_folders import outside

JOB = {"SLURM_JOB_ID": "7"}


@pytest.mark.parametrize(
    ("env", "ranks", "asked", "commands", "starter"),
    [
        (JOB, 1, None, "srun mpirun", SRUN),
        (JOB, 16, None, "srun", SRUN),
        (JOB, 16, "mpirun", "srun mpirun", "mpirun"),
        (JOB, 1, ITSELF, "", ITSELF),
        ({}, 1, None, "srun mpirun", ITSELF),
        ({}, 4, None, "srun mpirun", "mpirun"),
        ({}, 4, None, "mpiexec", "mpiexec"),
        ({}, 1, "mpiexec", "mpiexec", "mpiexec"),
    ],
)
def test_slurm_starts_it_inside_of_a_job_and_mpi_elsewhere(
    env: dict[str, str], ranks: int, asked: str | None, commands: str, starter: str
) -> None:
    assert starter_of(env, ranks, asked, commands.split().__contains__) == starter


@pytest.mark.parametrize(
    ("env", "ranks", "asked", "commands", "words"),
    [
        (JOB, 1, None, "mpirun", 'job 7 .* no srun .* launcher="mpirun"'),
        ({}, 4, None, "srun", "4 ranks need srun inside of a Slurm job, or mpirun .* ntasks=1"),
        ({}, 4, "srun", "srun", "needs a Slurm job around it"),
        ({}, 4, "mpirun", "", "no mpirun on the path here"),
    ],
)
def test_where_nothing_starts_it_the_error_says_what_does(
    env: dict[str, str], ranks: int, asked: str | None, commands: str, words: str
) -> None:
    with pytest.raises(LaunchError, match=words):
        starter_of(env, ranks, asked, commands.split().__contains__)


def test_a_step_says_all_of_its_sizes() -> None:
    line = Step(("./solver", "a.nc"), SRUN, 16, 2, 1, options=("--mpi=pmix",)).line()
    assert line[0] == "srun"
    assert line[-3:] == ["--mpi=pmix", "./solver", "a.nc"]
    assert {"--exact", "--ntasks=16", "--cpus-per-task=2", "--gpus-per-task=1", "--mem=0"} <= set(line)
    assert not {"--overlap", "--gres=none"} & set(line)


def test_a_step_without_accelerators_takes_none_from_the_others() -> None:
    assert "--gres=none" in Step(("x",), SRUN).line()


def test_elsewhere_the_line_is_mpis_or_the_programs_own() -> None:
    assert Step(("x", "y"), "mpirun", 4, options=("--oversubscribe",)).line() == [
        "mpirun", "-n", "4", "--oversubscribe", "x", "y",
    ]  # fmt: skip
    assert Step(("x", "y"), ITSELF).line() == ["x", "y"]


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        (JOB, False),  # the job's script
        ({**JOB, "SLURM_STEP_ID": "4294967290"}, False),  # an interactive shell
        ({**JOB, "SLURM_STEP_ID": "0"}, True),  # a step of the user's, which holds its processors
        ({**JOB, "SLURM_STEP_ID": "0", SHARED: "7"}, False),  # ours
        ({**JOB, "SLURM_STEP_ID": "0", SHARED: "6"}, True),  # submitted from ours
        ({}, False),
    ],
)
def test_only_a_step_from_inside_of_a_step_shares_its_processors(env: dict[str, str], expected: bool) -> None:
    assert shares(env) is expected
    assert ("--overlap" in Step(("x",), SRUN, overlap=expected).line()) is expected


def test_the_workers_own_step_is_kept_from_an_inner_one() -> None:
    kept = {
        "SLURM_JOB_ID": "7", "SLURM_CONF": "/x", "SLURM_JOB_NODELIST": "a", "SLURM_MPI_TYPE": "pmix", "PATH": "/bin",
        "CUDA_VISIBLE_DEVICES": "", "SLURM_TASKS_PER_NODE": "4",
    }  # fmt: skip
    gone = {
        "SLURM_STEP_ID": "0", "SLURM_STEP_NODELIST": "a", "SLURM_PROCID": "0", "SLURM_LOCALID": "0",
        "SLURM_CPU_BIND": "mask", "SLURM_MEM_PER_NODE": "9", "SLURM_NNODES": "2", "SLURM_NTASKS": "9", "PMI_RANK": "0",
        "PMIX_RANK": "0", "OMPI_COMM_WORLD_RANK": "0", "SLURM_OVERLAP": "1", SHARED: "7",
    }  # fmt: skip
    step = Step(("x",), SRUN, 2, 3)
    assert rank_environment({**kept, **gone}, step, {}) == {**kept, "OMP_NUM_THREADS": "3"}
    assert rank_environment({"OMP_NUM_THREADS": "1"}, step, {"OMP_NUM_THREADS": "8"}) == {"OMP_NUM_THREADS": "8"}


def test_a_step_with_accelerators_is_not_told_the_workers() -> None:
    env = {"CUDA_VISIBLE_DEVICES": ""}
    assert "CUDA_VISIBLE_DEVICES" not in rank_environment(env, Step(("x",), SRUN, gpus=1), {})
    assert "CUDA_VISIBLE_DEVICES" in rank_environment(env, Step(("x",), ITSELF, gpus=1), {})


def test_ranks_on_other_nodes_do_not_get_this_nodes_folder() -> None:
    env = {"TMPDIR": "/scratch/ab-7.0-x/ab-7.0-y"}
    assert rank_environment(env, Step(("x",), SRUN), {})["TMPDIR"] == "/scratch"
    assert rank_environment(env, Step(("x",), ITSELF), {})["TMPDIR"] == env["TMPDIR"]
    assert outside("/scratch") == "/scratch"


def test_an_end_is_told_with_its_signal_and_its_last_lines() -> None:
    assert told_end(Step(("./s",), SRUN, 4), 137, ["a", "b"]) == (
        "./s (4 ranks by srun) ended with code 137 (ended by signal 9); its last lines:\na\nb"
    )
    assert told_end(Step(("./s",), ITSELF), 3, []) == "./s ended with code 3, without a word"
