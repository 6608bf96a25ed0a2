"""How a whole flow is started elsewhere: the job, what a launcher does with it, and what it sees of it.

    job --render--> text (a dry run)
    job --start---> reference --look--> Sight: pending, running, ended, gone, unknown
                       |------cancel, kill
                       |------logs----> lines

A launcher starts one flow, with its driver and its workers, on an infrastructure. It decides nothing: whether a job
that ended is started again, and what its run's record says, is up to the caller. References are data, so another
process than the one that started a job can look at it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path


WALLTIME_END = "ANABRANCH_WALLTIME_END"  # the end of one job: no other that is submitted from it may have it


@dataclass(frozen=True, slots=True)
class Resources:
    """What a job asks for.

    Attributes:
        nodes: machines.
        cpus: processors on each of them; 0: the infrastructure decides.
        memory: bytes on each of them; 0: the infrastructure decides.
        gpus: accelerators on each of them.
    """

    nodes: int = 1
    cpus: int = 0
    memory: int = 0
    gpus: int = 0


@dataclass(frozen=True, slots=True)
class Job:
    """One run of a flow that is to be started elsewhere.

    Attributes:
        name: of letters, digits, "-", "_" and "."; a second start of a job of this name finds the first, so no two
            jobs have one name.
        command: what the job executes, the program first: a driver that reads `folder`.
        folder: where the job's files are: its script, its log, what the driver and its workers say to each other.
        cwd: the working folder.
        environment: variables, on top of those that the infrastructure sets.
        walltime: seconds; 0: the infrastructure decides.
        options: the infrastructure's own words, such as ("--partition=short", "--account=physics").
        prologue: lines of shell before the command, such as "module load cuda".
        copies: jobs alike, each with a number from 1 on, that are handed over at once; 0: one job, without a number.
    """

    name: str
    command: Sequence[str]
    folder: Path
    cwd: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    resources: Resources = Resources()
    walltime: float = 0.0
    options: Sequence[str] = ()
    prologue: Sequence[str] = ()
    copies: int = 0


class Reference(NamedTuple):
    """A started job, as its infrastructure knows it.

    Attributes:
        kind: of the launcher: "process", "slurm", ...
        id: the infrastructure's own: a process with its start, a job's number.
        name: the job's.
        folder: the job's.
        cluster: that gave the id, where several clusters share a home; "": not known, or the id tells.
    """

    kind: str
    id: str
    name: str
    folder: str
    cluster: str = ""


class Phase(Enum):
    """Where a job is."""

    PENDING = "pending"  # it waits for its infrastructure
    RUNNING = "running"
    ENDED = "ended"
    GONE = "gone"  # its infrastructure knows nothing of it any more
    UNKNOWN = "unknown"  # nobody here can tell: its driver's own signs of life count


class Sight(NamedTuple):
    """What a launcher sees of a job.

    Attributes:
        reason: why it waits or how it ended, in the infrastructure's words and ours; "" while all is well.
        code: the exit code; negative: the signal that ended it; None: not known.
        last: the last lines of its log, once it has ended otherwise than by exit code 0.
        restarts: how often the infrastructure has started it again.
        stuck: whether it waits for what no time and no other job's end will bring.
        taken: whether the infrastructure has taken it away before its flow's end, and no person has.
    """

    phase: Phase
    reason: str = ""
    code: int | None = None
    last: Sequence[str] = ()
    restarts: int = 0
    stuck: bool = False
    taken: bool = False


class Launcher(Protocol):
    """Starts flows on one infrastructure.

    Each method raises `LaunchError` with the infrastructure's answer and the way out when it cannot do what it says; a
    question that fails is never an answer.
    """

    kind: str

    def render(self, job: Job) -> str:
        """Return what `start` would hand over: a script, a command. Starts nothing and asks nobody."""
        ...

    def start(self, job: Job) -> Reference:
        """Start a job; one of the same name that was started before, by a call whose answer was lost, is found."""
        ...

    def look(self, references: Iterable[Reference]) -> dict[Reference, Sight]:
        """Return what is seen of each job, by one question for all of them; one of another cluster is left out."""
        ...

    def cancel(self, reference: Reference) -> None:
        """Ask a job to end; one that has ended, or is not known, is no error."""
        ...

    def kill(self, reference: Reference) -> None:
        """End a job, and what it started, without a grace as far as its infrastructure can; as of `cancel`."""
        ...

    def logs(self, reference: Reference) -> Iterator[str]:
        """The lines that the job and what it started wrote, as far as they are there now."""
        ...
