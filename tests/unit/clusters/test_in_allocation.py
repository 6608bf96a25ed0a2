"""What the process of a cluster is ordered to do, by where the driver runs; and what a set finds on its node."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import threading
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import SlurmAllocation
from anabranch.cli.pilot import let_sets_go
from anabranch.clusters.in_allocation import hear_all, plan_of
from anabranch.clusters.node import Orders, place_of
from anabranch.core.allocation import Allocation, Node
from anabranch.core.errors import LaunchError

if TYPE_CHECKING:
    from pathlib import Path

GIB = 1 << 30
TWO = (Node("a", 8, 16 * GIB, 2), Node("b", 8, 16 * GIB, 2))


def orders(command: list[str]) -> dict[str, object]:
    found: dict[str, object] = json.loads(command[-1])
    return found


def test_the_script_of_a_job_brings_workers_to_all_its_nodes() -> None:
    plan = plan_of(Allocation("slurm", "7", 1, TWO, "a"), "dask", "/home/f", "", 60.0, 5)
    [command] = plan.commands
    assert command[0] == "srun"
    assert (plan.sets, plan.local, plan.job) == (2, False, "7.1")
    told = orders(list(command))
    assert (told["cpus"], told["memory"], told["gpus"], told["file"]) == (8, 16 * GIB, 2, "/home/f")


def test_on_one_node_nothing_listens_on_a_network() -> None:
    assert plan_of(Allocation("slurm", "7", 0, TWO[:1], "a"), "dask", "/f", "", 60.0, 5).local


def test_where_other_jobs_may_join_it_does() -> None:
    plan = plan_of(Allocation("slurm", "7", 0, TWO[:1], "a"), "dask", "/f", "", 60.0, 5, pilots=3)
    assert (plan.local, plan.pilots, plan.sets) == (False, 3, 1)


def test_beside_the_nodes_all_workers_are_elsewhere() -> None:
    """A shell of `salloc` on a login node."""
    plan = plan_of(Allocation("slurm", "7", 0, TWO[:1], ""), "ray", "/f", "", 60.0, 5)
    assert (plan.cpus, plan.gpus, plan.local) == (0, 0, False)
    assert [command[0] for command in plan.commands] == ["srun"]


def test_under_the_users_own_srun_the_other_tasks_come_by_themselves() -> None:
    allocation = Allocation("slurm", "7", 0, (Node("a", 8, 16 * GIB, 0, 2),), "a", None, 0, 2, 4)
    plan = plan_of(allocation, "dask", "/f", "", 60.0, 5)
    [command] = plan.commands
    assert command[0] != "srun"
    assert (orders(list(command))["cpus"], plan.sets) == (4, 2)
    assert plan_of(allocation, "ray", "/f", "", 60.0, 5).commands == []


def test_pilots_that_joined_before_the_cluster_was_up_are_heard_of_at_once() -> None:
    """What was read together with the word that the cluster is up waits for no further message."""
    heard: queue.Queue[dict[str, Any]] = queue.Queue()
    pipe, other = os.pipe()
    hears = threading.Thread(target=hear_all, args=(pipe, b'{"pilot": 1}\n{"pilot": 2}\n{"pil', heard.put))
    hears.start()
    try:
        assert [heard.get(timeout=30)["pilot"] for _ in range(2)] == [1, 2]
        os.write(other, b'ot": 3}\n{"failed": "all sets of workers have ended", "missing": false}\n')
        assert heard.get(timeout=30) == {"pilot": 3}
        os.write(other, b'{"told": "SIGTERM"}\n')
        assert heard.get(timeout=30) == {"told": "SIGTERM"}
    finally:
        os.close(other)
        hears.join(30)
    assert not hears.is_alive()
    assert heard.empty()


def test_what_fails_where_it_is_heard_is_not_taken_for_the_end_of_the_pipe() -> None:
    def fails(news: dict[str, Any]) -> None:
        raise OSError("the disk quota is exceeded")

    pipe, other = os.pipe()
    os.close(other)
    with pytest.raises(OSError, match="the disk quota is exceeded"):
        hear_all(pipe, b'{"pilot": 1}\n', fails)


def test_a_task_that_the_driver_does_not_use_ends_at_once(tmp_path: Path) -> None:
    """`srun --kill-on-bad-exit` would end the driver along with a task that fails."""
    file = tmp_path / "driver-0.json"
    let_sets_go(file)
    env = {**os.environ, "SLURM_PROCID": "3"}
    done = subprocess.run(
        Orders(str(file), "7.0", 1).program(), env=env, capture_output=True, text=True, timeout=60
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    [line] = done.stderr.splitlines()
    assert line.endswith("-3: the flow's runner uses no other task of this step than the driver's: this one ends")


def test_other_nodes_of_pbs_are_out_of_reach() -> None:
    with pytest.raises(LaunchError, match=r"job 8.h has 2 nodes, and anabranch starts workers .* in Slurm alone"):
        plan_of(Allocation("pbs", "8.h", 0, TWO, "a"), "dask", "/f", "", 60.0, 5)


def test_sets_on_two_nodes_of_one_machine_have_names_of_their_own() -> None:
    """Dask takes no two workers of one name; and the driver is beside the set of its own node alone."""
    plan = plan_of(Allocation("slurm", "7", 0, TWO, "a"), "dask", "/f", "", 60.0, 5)
    told = Orders(**{name: value for name, value in orders(list(plan.commands[0])).items() if name != "path"})  # type: ignore[arg-type]
    first, second = (
        place_of(told, {"SLURMD_NODENAME": node, "SLURM_PROCID": "0"}, "machine", 8, 16 * GIB) for node in "ab"
    )
    assert (first.name, second.name) == ("a-0", "b-0")
    assert (first.beside_driver, second.beside_driver) == (True, False)


def test_what_the_kernel_grants_on_a_node_wins() -> None:
    told = Orders("/f", "7.0", 8, 16 * GIB, 2, 1, driver="a")
    place = place_of(told, {"SLURM_PROCID": "3"}, "b", 2, 4 * GIB)
    assert place == ("b-3", 2, 4 * GIB, ["0", "1"], False)
    assert place_of(told, {}, "a", 64, 0).memory == 16 * GIB


def test_sets_of_one_node_share_its_memory_and_its_accelerators() -> None:
    told = Orders("/f", "7.0", 4, 0, 2, 2)
    env = {"SLURM_LOCALID": "1", "CUDA_VISIBLE_DEVICES": "6,7"}
    place = place_of(told, env, "b", 8, 16 * GIB)
    assert (place.cpus, place.memory, place.devices) == (4, 8 * GIB, ["7"])


def test_outside_of_a_job_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    with pytest.raises(LaunchError, match=r"runs in no Slurm job .*: start it within `salloc` or `sbatch`, or use Sl"):
        SlurmAllocation()
    with pytest.raises(ValueError, match='engine is "dask" or "ray"'):
        SlurmAllocation("spark")
