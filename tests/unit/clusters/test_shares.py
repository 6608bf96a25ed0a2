"""Who gets what of an allocation, and Slurm's command for it."""

from __future__ import annotations

import pytest

from anabranch.clusters.shares import (
    Step,
    devices_of,
    one_each,
    step_command,
    steps_of,
    workers_in,
)
from anabranch.core.allocation import Allocation, Node
from anabranch.core.job_steps import step_environment

GIB = 1 << 30


def allocation(*nodes: Node, here: str = "a", task_cpus: int = 0) -> Allocation:
    return Allocation("slurm", "7", 0, nodes, here, task_cpus=task_cpus)


def test_a_set_a_node_and_nodes_alike_in_one_step() -> None:
    nodes = (Node("a", 8, GIB, 0, 8), Node("b", 16, GIB, 0, 16), Node("c", 8, GIB, 0, 8))
    assert steps_of(allocation(*nodes), "dask") == [Step(("a", "c"), 1, 8, GIB), Step(("b",), 1, 16, GIB)]


def test_rays_head_has_a_set_itself_where_the_driver_runs_on_a_node() -> None:
    nodes = (Node("a", 8), Node("b", 8))
    assert steps_of(allocation(*nodes), "ray") == [Step(("b",), 1, 8, 0)]
    assert steps_of(allocation(*nodes, here=""), "ray") == [Step(("a", "b"), 1, 8, 0)]


def test_tasks_of_several_processors_are_sets() -> None:
    nodes = (Node("a", 8, GIB, 0, 2), Node("b", 8, GIB, 0, 2))
    found = allocation(*nodes, task_cpus=4)
    assert steps_of(found, "dask") == [Step(("a", "b"), 2, 4, GIB // 2)]
    assert steps_of(found, "ray") == [Step(("a",), 1, 4, GIB // 2), Step(("b",), 2, 4, GIB // 2)]


def test_the_step_overlaps_with_others_and_its_sizes_are_said() -> None:
    command = step_command(Step(("a", "b"), 2, 4, 0), ["python", "x"], gpus=True)
    assert command[0] == "srun"
    assert command[-2:] == ["python", "x"]
    assert {
        "--overlap", "--export=ALL", "--nodelist=a,b", "--nodes=2", "--ntasks=4", "--ntasks-per-node=2",
        "--cpus-per-task=4", "--mem=0", "--no-kill", "--kill-on-bad-exit=0", "--gpu-bind=none",
    } <= set(command)  # fmt: skip


def test_what_the_job_says_of_its_own_sizes_is_kept_from_the_step() -> None:
    """Slurm ends a step whose --mem meets SLURM_MEM_PER_CPU, and gives it no PATH by SLURM_EXPORT_ENV=NONE."""
    kept = {"SLURM_JOB_ID": "7", "SLURM_CONF": "/x", "SLURM_JOB_NODELIST": "a", "PATH": "/bin"}
    gone = {
        "SLURM_MEM_PER_CPU": "1", "SLURM_MEM_PER_NODE": "1", "SLURM_EXPORT_ENV": "NONE", "SLURM_CPU_BIND": "mask",
        "SLURM_CPU_BIND_TYPE": "mask_cpu:", "SLURM_CPUS_PER_TASK": "3", "SLURM_NTASKS": "9",
        "SLURM_NTASKS_PER_NODE": "9", "SLURM_TRES_PER_TASK": "cpu:1",
    }  # fmt: skip
    assert step_environment({**kept, **gone}) == kept


@pytest.mark.parametrize("memory", [GIB, 4 * GIB, 64 * GIB, 1 << 41])
@pytest.mark.parametrize("beside", [True, False])
@pytest.mark.parametrize("workers", [1, 7, 128])
def test_workers_and_driver_fit_into_the_nodes_memory(memory: int, beside: bool, workers: int) -> None:
    workers, each = workers_in(memory, workers, beside_driver=beside)
    assert each >= 256 << 20
    assert each * workers <= memory * 0.97
    if beside and memory >= 4 * GIB:
        assert memory - each * workers >= 512 << 20


def test_memory_that_is_not_known_is_no_limit() -> None:
    assert workers_in(0, 4, beside_driver=True) == (4, 0)


def test_where_memory_is_short_there_are_fewer_workers() -> None:
    assert workers_in(GIB, 128, beside_driver=False) == (3, int(GIB * 0.97) // 3)
    assert workers_in(100 << 20, 128, beside_driver=False) == (1, 0)


def test_each_accelerator_goes_to_one_worker() -> None:
    assert devices_of({"CUDA_VISIBLE_DEVICES": "4,5,6,7"}, 4, 1, 2) == ["5", "7"]
    assert devices_of({}, 2, 0, 1) == ["0", "1"]
    assert devices_of({"CUDA_VISIBLE_DEVICES": "NoDevFiles"}, 0, 0, 1) == []
    assert one_each(["4", "5"], 4) == ["4", "5", "", ""]
    assert one_each(["4", "5"], 1) == ["4"]
    assert one_each([], 2) == [None, None]
