"""What the variables of a job say, with the kernel's limits on this node."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from anabranch.core.allocation import Facts, allocation_of, seconds, unfolded
from anabranch.core.errors import LaunchError

if TYPE_CHECKING:
    from collections.abc import Sequence

GIB = 1 << 30
FACTS = Facts("n2", cpus=64, memory=256 * GIB, now=1000.0)
TWO_NODES = {
    "SLURM_JOB_ID": "14",
    "SLURM_JOB_NODELIST": "n[2-3]",
    "SLURM_JOB_CPUS_PER_NODE": "8,16",
    "SLURM_TASKS_PER_NODE": "1(x2)",
    "SLURM_MEM_PER_NODE": "4096",
    "SLURM_GPUS_ON_NODE": "2",
    "SLURM_RESTART_COUNT": "3",
    "SLURM_JOB_END_TIME": "4600",
    "SLURMD_NODENAME": "n2",
}
# Of `qstat -f 8.h`, as PBS 20 prints it.
QSTAT = """Job Id: 8.h
    Job_Name = n
    resources_used.cput = 00:00:01
    resources_used.walltime = 00:01:50
    job_state = R
    Resource_List.walltime = 04:00:00
    run_count = 2
    comment = Job run at Wed Apr 14 at 23:34 on (h:ncpus=1)
"""


class Answers:
    """Answers a command, and keeps what was asked."""

    def __init__(self, text: str | None = None) -> None:
        self.text = text
        self.asked: list[list[str]] = []

    def __call__(self, command: Sequence[str]) -> str | None:
        self.asked.append(list(command))
        return self.text


def test_slurms_variables() -> None:
    ask = Answers()
    found = allocation_of(TWO_NODES, FACTS, ask)
    assert (found.kind, found.job, found.restarts, found.end, found.here) == ("slurm", "14", 3, 4600.0, "n2")
    assert found.nodes == (("n2", 8, 4 * GIB, 2, 1), ("n3", 16, 4 * GIB, 2, 1))
    assert (found.cpus, found.node.name) == (24, "n2")
    assert (found.rank, found.ranks, ask.asked) == (0, 0, [])


def test_the_kernels_limits_win_on_this_node_alone() -> None:
    found = allocation_of(TWO_NODES, FACTS._replace(cpus=2, memory=GIB), Answers())
    assert [(node.cpus, node.memory) for node in found.nodes] == [(2, GIB), (16, 4 * GIB)]


def test_memory_by_processor_and_memory_that_nobody_told() -> None:
    env = {name: value for name, value in TWO_NODES.items() if name != "SLURM_MEM_PER_NODE"}
    found = allocation_of({**env, "SLURM_MEM_PER_CPU": "512"}, FACTS, Answers())
    assert [node.memory for node in found.nodes] == [4 * GIB, 8 * GIB]
    assert [node.memory for node in allocation_of(env, FACTS, Answers()).nodes] == [256 * GIB, 0]


@pytest.mark.parametrize(
    ("left", "end"), [("59:58\n", 4598.0), ("1-00:00:01", 87401.0), ("UNLIMITED\n", None), ("", None), (None, None)]
)
def test_an_older_slurm_is_asked_once_for_the_time_left(left: str | None, end: float | None) -> None:
    ask = Answers(left)
    env = {name: value for name, value in TWO_NODES.items() if name != "SLURM_JOB_END_TIME"}
    assert allocation_of(env, FACTS, ask).end == end
    assert ask.asked == [["squeue", "-h", "-j", "14", "-o", "%L"]]


def test_of_an_array_the_one_job_is_asked_for() -> None:
    """The number of one of them stands for all."""
    ask = Answers("59:58\n")
    env = {name: value for name, value in TWO_NODES.items() if name != "SLURM_JOB_END_TIME"}
    env |= {"SLURM_ARRAY_JOB_ID": "14", "SLURM_ARRAY_TASK_ID": "3"}
    assert allocation_of(env, FACTS, ask).end == 4598.0
    assert ask.asked == [["squeue", "-h", "-j", "14_3", "-o", "%L"]]


def test_a_task_of_a_step_knows_its_number() -> None:
    found = allocation_of(
        {**TWO_NODES, "SLURM_STEP_ID": "0", "SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "2"}, FACTS, Answers()
    )
    assert (found.rank, found.ranks) == (1, 2)


@pytest.mark.parametrize("rank", [0, 1, 499])
def test_of_all_tasks_of_a_step_the_first_alone_asks_the_queue(rank: int) -> None:
    """Slurm before 23.02 does not tell the end: hundreds of questions at once would hold its server up."""
    env = {name: text for name, text in TWO_NODES.items() if name != "SLURM_JOB_END_TIME"}
    step = {"SLURM_STEP_ID": "0", "SLURM_PROCID": str(rank), "SLURM_STEP_NUM_TASKS": "500"}
    ask = Answers("10:00")
    found = allocation_of(env | step, FACTS, ask)
    assert (found.rank, found.end, len(ask.asked)) == (rank, None if rank else 1600.0, int(not rank))


def test_the_first_start_has_no_count_and_the_node_may_be_named_by_its_host() -> None:
    env = {"SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "n2", "SLURM_JOB_END_TIME": "5"}
    found = allocation_of(env, FACTS._replace(host="n2.cluster.org"), Answers())
    assert (found.restarts, found.here, found.nodes) == (0, "n2", (("n2", 1, 256 * GIB, 0, 1),))


def test_a_login_node_is_no_node_of_the_job_and_its_limits_are_not_the_nodes() -> None:
    env = {name: value for name, value in TWO_NODES.items() if name != "SLURMD_NODENAME"}
    found = allocation_of(env, FACTS._replace(host="login1", cpus=1), Answers())
    assert (found.here, [node.cpus for node in found.nodes]) == ("", [8, 16])


def test_jobs_of_several_shapes_are_refused() -> None:
    with pytest.raises(LaunchError, match="job 14 is heterogeneous"):
        allocation_of({**TWO_NODES, "SLURM_HET_SIZE": "2"}, FACTS, Answers())


def test_a_job_without_nodes_says_so() -> None:
    with pytest.raises(LaunchError, match="job 9 has no list of nodes"):
        allocation_of({"SLURM_JOB_ID": "9"}, FACTS, Answers())


def test_pbs_has_a_line_a_process_and_is_asked_once() -> None:
    ask = Answers(QSTAT)
    env = {"PBS_JOBID": "8.h", "NCPUS": "4", "PBS_NODEFILE": "/var/spool/pbs/aux/8.h"}
    found = allocation_of(env, FACTS._replace(host="n2"), ask, ["n1.org\n", "n1.org\n", "n2.org\n"])
    assert (found.kind, found.job, found.restarts, found.here) == ("pbs", "8.h", 1, "n2.org")
    assert [(node.name, node.cpus, node.tasks) for node in found.nodes] == [("n1.org", 4, 2), ("n2.org", 4, 1)]
    assert found.end == 1000.0 + 4 * 3600 - 110
    assert ask.asked == [["qstat", "-f", "8.h"]]


def test_pbs_that_does_not_answer_leaves_the_end_to_a_variable() -> None:
    env = {"PBS_JOBID": "8.h", "PBS_NUM_PPN": "2", "PBS_WALLTIME": "60"}
    found = allocation_of(env, FACTS, Answers())
    assert (found.restarts, found.end, found.nodes[0].cpus) == (0, 1060.0, 2)
    assert allocation_of({"PBS_JOBID": "8.h"}, FACTS, Answers()).end is None


def test_outside_of_a_job_this_machine_is_the_one_node() -> None:
    found = allocation_of({"CUDA_VISIBLE_DEVICES": "0,3"}, FACTS, Answers())
    assert (found.kind, found.job, found.end) == ("none", "", None)
    assert found.nodes == (("n2", 64, 256 * GIB, 2, 1),)


@pytest.mark.parametrize("devices", ["", "-1", "NoDevFiles"])
def test_no_devices(devices: str) -> None:
    assert allocation_of({"CUDA_VISIBLE_DEVICES": devices}, FACTS, Answers()).node.gpus == 0


@pytest.mark.parametrize(
    ("folded", "names"),
    [
        ("", []),
        ("vm", ["vm"]),
        ("n[01-03,7],gpu-[1-2]x", ["n01", "n02", "n03", "n7", "gpu-1x", "gpu-2x"]),
        ("r[1-2]n[8-10]", ["r1n8", "r1n9", "r1n10", "r2n8", "r2n9", "r2n10"]),
        ("a,b.org,c[5]", ["a", "b.org", "c5"]),
        ("n[098-101]", ["n098", "n099", "n100", "n101"]),
    ],
)
def test_folded_names(folded: str, names: list[str]) -> None:
    assert unfolded(folded) == names


@pytest.mark.parametrize(
    ("text", "value"),
    [("1-02:03:04", 93784.0), ("02:03:04", 7384.0), ("3:04", 184.0), ("60", 60.0), ("NOT_SET", None), ("", None)],
)
def test_times(text: str, value: float | None) -> None:
    assert seconds(text) == value
