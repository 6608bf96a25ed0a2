"""What a batch system has given to this process: nodes, processors, memory, and until when.

    environment (SLURM_*, PBS_*) --+
    PBS's file of nodes -----------+--> Allocation
    one question, where the end is not among the variables (squeue -o %L, qstat -f)
    the kernel's limits (affinity, control groups): they win on this node

Variables of an allocation travel: a step and a shell inside of a job have them too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

from anabranch.core.errors import LaunchError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_MIB = 1 << 20
_NAME = re.compile(r"((?:[^,\[\]]|\[[^\]]*\])+)(?:,|$)")  # one entry of a folded list
_RANGES = re.compile(r"\[([^\]]*)\]")
_TIMES = re.compile(r"(\d+)(?:\(x(\d+)\))?$")  # "24(x2)"
_CLOCK = re.compile(r"(?:(\d+)-)?(?:(?:(\d+):)?(\d+):)?(\d+)$")  # "1-02:03:04", "03:04", "4"


class Node(NamedTuple):
    """What the job has of one machine.

    Attributes:
        cpus: processors; at least 1.
        memory: bytes; 0: not known.
        gpus: accelerators.
        tasks: processes that a step without further words starts there.
    """

    name: str
    cpus: int = 1
    memory: int = 0
    gpus: int = 0
    tasks: int = 1


class Facts(NamedTuple):
    """What this process finds on its machine.

    Attributes:
        host: the machine's name.
        cpus: as `core.machine.granted_cpus` has it.
        memory: as `core.machine.usable_memory` has it.
        now: the time of day, in seconds since 1970.
    """

    host: str
    cpus: int
    memory: int
    now: float


class Ask(Protocol):
    """Runs a command and returns what it printed; None when it failed."""

    def __call__(self, command: Sequence[str], /) -> str | None: ...


@dataclass(frozen=True, slots=True)
class Allocation:
    """What a batch system has given to this process.

    Attributes:
        kind: "slurm", "pbs", or "none" outside of a job: then this machine is the one node, without an end.
        job: the batch system's id; "" outside of a job.
        restarts: how often the job was started before, under the same id.
        nodes: in the batch system's order; the job's script runs on the first.
        here: the name of the node of this process, as it stands among `nodes`; "" where it runs beside them, as a
            shell of `salloc` on a login node does.
        end: when the batch system ends the job, in seconds since 1970; None: not known, never, or not asked for, by
            any process of a step but its first.
        rank: the number of this process in its step; 0 outside of steps.
        ranks: the processes of its step; 0 outside of steps.
        task_cpus: processors that the job asked for by task (--cpus-per-task); 0: it did not.
    """

    kind: str
    job: str
    restarts: int
    nodes: tuple[Node, ...]
    here: str
    end: float | None = None
    rank: int = 0
    ranks: int = 0
    task_cpus: int = 0

    @property
    def node(self) -> Node:
        """The node of this process, else the first."""
        return next((node for node in self.nodes if node.name == self.here), self.nodes[0])

    @property
    def cpus(self) -> int:
        """Processors of all nodes together."""
        return sum(node.cpus for node in self.nodes)


def allocation_of(env: Mapping[str, str], facts: Facts, ask: Ask, hosts: Iterable[str] = ()) -> Allocation:
    """Read an allocation from the variables of a job.

    Args:
        facts: of this machine; they win over what the variables say of this node.
        ask: runs at most one command: that for the end of the job, where no variable has it.
        hosts: lines of the file that PBS_NODEFILE names.

    Raises:
        LaunchError: the job is one of several parts of different shape (a heterogeneous job), or its variables are
            incomplete.
    """
    if env.get("SLURM_JOB_ID"):
        return _slurm(env, facts, ask)
    if env.get("PBS_JOBID"):
        return _pbs(env, facts, ask, [line.strip() for line in hosts if line.strip()])
    gpus = _devices(env)
    return Allocation("none", "", 0, (Node(facts.host, facts.cpus, facts.memory, gpus),), facts.host)


# -- Slurm -----------------------------------------------------------------------------------------


def _slurm(env: Mapping[str, str], facts: Facts, ask: Ask) -> Allocation:
    job = env["SLURM_JOB_ID"]
    if _number(env.get("SLURM_HET_SIZE")) > 1:
        raise LaunchError(
            f"job {job} is heterogeneous (SLURM_HET_SIZE is set), which is not supported: ask for nodes of one shape, "
            "or for two jobs"
        )
    folded = env.get("SLURM_JOB_NODELIST") or env.get("SLURM_NODELIST") or ""
    names = unfolded(folded)
    if not names:
        raise LaunchError(f"job {job} has no list of nodes (SLURM_JOB_NODELIST): is this a shell inside of the job?")
    cpus = _each(env.get("SLURM_JOB_CPUS_PER_NODE", ""), len(names))
    tasks = _each(env.get("SLURM_TASKS_PER_NODE", ""), len(names))
    gpus = _number(env.get("SLURM_GPUS_ON_NODE")) or _devices(env)
    whole, each = _number(env.get("SLURM_MEM_PER_NODE")), _number(env.get("SLURM_MEM_PER_CPU"))
    nodes = [
        Node(name, cpus[n] or 1, (whole or each * cpus[n]) * _MIB, gpus, tasks[n] or 1) for n, name in enumerate(names)
    ]
    here = _among(names, env.get("SLURMD_NODENAME") or facts.host)
    steps = env.get("SLURM_STEP_ID") is not None
    rank = _number(env.get("SLURM_PROCID")) if steps else 0
    end = None if rank else _slurm_end(env, facts, ask)  # a step of 500 tasks would ask 500 times in the same moment
    return Allocation(
        "slurm", job, _number(env.get("SLURM_RESTART_COUNT")), _limited(nodes, here, facts), here, end, rank,
        _number(env.get("SLURM_STEP_NUM_TASKS")) if steps else 0, _number(env.get("SLURM_CPUS_PER_TASK")),
    )  # fmt: skip


def _slurm_end(env: Mapping[str, str], facts: Facts, ask: Ask) -> float | None:
    """Slurm sets the variable since 23.02; before that the queue is asked once for the time that is left."""
    end = _number(env.get("SLURM_JOB_END_TIME"))
    if end:
        return float(end)
    job = env["SLURM_JOB_ID"]
    if env.get("SLURM_ARRAY_JOB_ID"):  # one of them has the array's own number, which stands for all
        job = f"{env['SLURM_ARRAY_JOB_ID']}_{env.get('SLURM_ARRAY_TASK_ID', '')}"
    left = seconds(ask(["squeue", "-h", "-j", job, "-o", "%L"]) or "")
    return None if left is None else facts.now + left


def unfolded(folded: str) -> list[str]:
    """Return the names in a folded list of hosts: "n[01-03,7],gpu-[1-2]x" has six."""
    found: list[str] = []
    for entry in _NAME.findall(folded):
        part = [""]
        for n, piece in enumerate(_RANGES.split(entry)):
            words = _numbers(piece) if n % 2 else [piece]
            part = [name + word for name in part for word in words]
        found += [name for name in part if name]
    return found


def _numbers(ranges: str) -> list[str]:
    """Return the numbers of "01-03,7", as wide as they are written."""
    found: list[str] = []
    for one in ranges.split(","):
        first, dash, last = one.partition("-")
        if dash and first.isdigit() and last.isdigit():
            found += [str(n).zfill(len(first)) for n in range(int(first), int(last) + 1)]
        else:
            found.append(one)
    return found


def _each(packed: str, count: int) -> list[int]:
    """Return the numbers of "24(x2),16", one a node; 0 where there are too few of them."""
    found: list[int] = []
    for one in packed.split(","):
        match = _TIMES.match(one.strip())
        if match:
            found += [int(match[1])] * int(match[2] or 1)
    return (found + [0] * count)[:count]


# -- PBS -------------------------------------------------------------------------------------------


def _pbs(env: Mapping[str, str], facts: Facts, ask: Ask, hosts: list[str]) -> Allocation:
    """The file has a line a process; NCPUS are the processors of a chunk, if they are more than its processes."""
    job = env["PBS_JOBID"]
    names = list(dict.fromkeys(hosts)) or [facts.host]
    ncpus = _number(env.get("NCPUS") or env.get("PBS_NUM_PPN"))
    lines = {name: max(hosts.count(name), 1) for name in names}
    nodes = [Node(name, max(ncpus, lines[name]), 0, _devices(env), lines[name]) for name in names]
    here = _among(names, facts.host)
    told = ask(["qstat", "-f", job]) or ""
    wall, used = _told(told, "Resource_List.walltime"), _told(told, "resources_used.walltime")
    limit = seconds(wall or env.get("PBS_WALLTIME", ""))
    end = None if limit is None else facts.now + limit - (seconds(used) or 0.0)
    restarts = max(0, _number(_told(told, "run_count")) - 1)
    return Allocation("pbs", job, restarts, _limited(nodes, here, facts), here, end)


def _told(text: str, name: str) -> str:
    """Return what `qstat -f` says of `name`."""
    found = re.search(rf"^\s*{re.escape(name)} = (\S+)\s*$", text, re.MULTILINE)
    return found[1] if found else ""


# -- both ------------------------------------------------------------------------------------------


def seconds(text: str) -> float | None:
    """Return the seconds of "1-02:03:04", "02:03:04", "03:04" or "4"; None for words such as UNLIMITED."""
    match = _CLOCK.match(text.strip())
    if match is None:
        return None
    days, hours, minutes, rest = (int(part or 0) for part in match.groups())
    return float(((days * 24 + hours) * 60 + minutes) * 60 + rest)


def _among(names: Sequence[str], host: str) -> str:
    """Return this machine's name as the batch system writes it, with or without its domain; "" where it is no node."""
    same = [name for name in names if name.partition(".")[0] == host.partition(".")[0]]
    return host if host in names else same[0] if same else ""


def _limited(nodes: Iterable[Node], here: str, facts: Facts) -> tuple[Node, ...]:
    """Apply the kernel's limits to the node of this process."""
    return tuple(_with(node, facts) if node.name == here else node for node in nodes)


def _with(node: Node, facts: Facts) -> Node:
    memory = min((size for size in (node.memory, facts.memory) if size), default=0)
    return node._replace(cpus=max(1, min(node.cpus, facts.cpus)), memory=memory)


def _devices(env: Mapping[str, str]) -> int:
    """Return how many accelerators this process sees."""
    seen = env.get("CUDA_VISIBLE_DEVICES") or env.get("ROCR_VISIBLE_DEVICES") or ""
    return len([one for one in seen.split(",") if one.strip() not in ("", "-1", "NoDevFiles", "none", "void")])


def _number(text: str | None) -> int:
    return int(text) if text and text.isdigit() else 0
