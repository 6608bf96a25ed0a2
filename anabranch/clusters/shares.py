"""What each node gets of an allocation, and the commands that start it: data, nothing runs here.

A *set* is one program on one node that starts workers there: one set a node; where the job asked for tasks of several
processors each (`--cpus-per-task`), one set a task.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from anabranch.core.allocation import Allocation, Node

DASK, RAY = "dask", "ray"
_DRIVERS_PART = 0.1  # of a node's memory, for driver and scheduler; within these bounds
_LEAST, _MOST = 512 << 20, 4 << 30
_SETS_PART = 0.03  # for the program that watches a set's workers
_A_WORKER = 256 << 20  # the least that a worker lives in


class Step(NamedTuple):
    """Sets of one size, started together.

    Attributes:
        nodes: by name.
        sets: on each of them.
        cpus: of a set.
        memory: bytes of a set; 0: what the set finds on its node.
    """

    nodes: tuple[str, ...]
    sets: int
    cpus: int
    memory: int


class Set(NamedTuple):
    """What a set has on its node.

    Attributes:
        memory: bytes; 0: not known.
        devices: its accelerators, as their driver names them.
        beside_driver: whether the flow's driver runs on the same node.
    """

    name: str
    cpus: int
    memory: int
    devices: list[str]
    beside_driver: bool


def sets_on(node: Node, task_cpus: int) -> int:
    """Return how many sets a node has."""
    return node.tasks if task_cpus > 1 else 1


def steps_of(allocation: Allocation, engine: str) -> list[Step]:
    """Return the steps that bring workers to all nodes; Ray's head has the first set of the driver's node itself."""
    found = []
    for node in allocation.nodes:
        sets = sets_on(node, allocation.task_cpus)
        size = (max(1, node.cpus // sets), node.memory // sets)
        if engine == RAY and node.name == allocation.here:
            sets -= 1
        if sets:
            found.append(Step((node.name,), sets, *size))
    alike = groupby(sorted(found, key=lambda step: step[1:]), key=lambda step: step[1:])
    return [Step(tuple(step.nodes[0] for step in steps), *size) for size, steps in alike]


def step_command(step: Step, program: Sequence[str], *, gpus: bool = False) -> list[str]:
    """Return Slurm's command for a step: beside other steps, with the environment, and going on when a node is lost."""
    count = len(step.nodes)
    return [
        "srun", "--overlap", "--export=ALL", *(["--gpu-bind=none"] if gpus else []),
        "--no-kill", "--kill-on-bad-exit=0", "--wait=0", "--input=none", "--job-name=anabranch-workers",
        f"--nodelist={','.join(step.nodes)}", f"--nodes={count}", f"--ntasks={count * step.sets}",
        f"--ntasks-per-node={step.sets}", f"--cpus-per-task={step.cpus}", "--mem=0", *program,
    ]  # fmt: skip


def workers_in(memory: int, cpus: int, *, beside_driver: bool) -> tuple[int, int]:
    """Return how many workers a set has, and the bytes for each, so that they and what watches them fit.

    One a processor, unless memory is too short for so many. 0 bytes: the memory is not known, or too short for one;
    then the batch system's limit is the only one.
    """
    kept = memory * _SETS_PART + (min(_MOST, max(_LEAST, memory * _DRIVERS_PART)) if beside_driver else 0)
    free = int(max(memory - kept, memory / 2))
    workers = max(1, min(cpus, free // _A_WORKER)) if memory else cpus
    each = free // workers
    return workers, each if each >= _A_WORKER else 0


def devices_of(env: Mapping[str, str], told: int, place: int, sets: int) -> list[str]:
    """Return the accelerators of one set of a node.

    Args:
        told: how many the node has, where no variable names them.
        place: of this set among the `sets` of the node.
    """
    seen = env.get("CUDA_VISIBLE_DEVICES") or env.get("ROCR_VISIBLE_DEVICES") or ""
    named = [one.strip() for one in seen.split(",") if one.strip() not in ("", "-1", "NoDevFiles")]
    return (named or [str(n) for n in range(told)])[place::sets]


def one_each(devices: Iterable[str], workers: int) -> list[str | None]:
    """Return which accelerator each worker sees; None: the set has none, and nothing is said to its workers.

    Workers beyond the accelerators see none of them (""), else all of these would work on the first.
    """
    given = list(devices)[:workers]
    return [*given, *[""] * (workers - len(given))] if given else [None] * workers
