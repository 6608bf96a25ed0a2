"""What will hurt on this machine, from what was found on it: small checks, each a pure function.

    cli/probing.py --looks--> Found --checks--> Finding: a sentence and what to do
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

FAIL, WARN, NOTE = "fail", "warn", "note"  # certainly fails; will hurt; good to know
MIB, GIB = 1 << 20, 1 << 30
OLDEST_PYTHON = (3, 11)
OLDEST = {"dask": (2024, 8), "distributed": (2024, 8), "ray": (2, 30)}
STALE = 60.0  # seconds: a driver on another host counts as gone after so long without a sign of life


class Finding(NamedTuple):
    """Something that will hurt, or is good to know.

    Attributes:
        level: "fail", "warn" or "note".
        subject: a word for what it is about.
        sentence: what is so.
        remedy: what to do; "" where nothing need be done.
    """

    level: str
    subject: str
    sentence: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """A folder that is written to.

    Attributes:
        where: in words.
        kind: of its file system, such as "ext4"; "" where it is not known.
        shared: whether several machines may use that file system.
        locks: whether files can be locked there.
        trouble: why it cannot be written; "" if it can.
        free: bytes; None where it is not known.
        foreign: whether it belongs to another user.
    """

    where: str = ""
    kind: str = ""
    shared: bool = False
    locks: bool = True
    trouble: str = ""
    free: int | None = None
    foreign: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """What was found on this machine.

    Attributes:
        python: its version.
        versions: of packages, by name; "" for one that is not installed.
        missing: by extra, the packages of it that are not installed; nothing where all are.
        home, results, temporary: folders; `results` is None at an address.
        record: in words.
        record_kind: "file", "folder", "node" or "address".
        record_trouble: why it cannot be opened; "" if it can.
        runs, open_runs: how many the record has; None where it was not read.
        left_on_node: records of killed drivers, on this node's disk.
        shared_memory: of /dev/shm, bytes; None where there is none.
        open_files, processes: the soft limits; 0: none.
        group_memory: the control groups' limit of memory, bytes; 0: none.
        memory: of the machine, bytes; 0: not known.
        cpus, machine_cpus: that this process may use, and that there are.
        monotonic: whether the clock that nobody sets is one.
        skew: seconds that the record's file server is ahead of this machine; None where there is none.
        login: a sentence on signs of a login node; "" for none.
        threads: variables that set how many threads native libraries start, by name.
        memory_budget: the setting, bytes; 0: a quarter of the memory.
    """

    python: tuple[int, int, int] = (3, 11, 0)
    versions: dict[str, str] = field(default_factory=dict)
    missing: dict[str, list[str]] = field(default_factory=dict)
    home: Place = field(default_factory=Place)
    results: Place | None = None
    temporary: Place = field(default_factory=Place)
    record: str = ""
    record_kind: str = "file"
    record_trouble: str = ""
    runs: int | None = None
    open_runs: int = 0
    left_on_node: tuple[str, ...] = ()
    shared_memory: int | None = None
    open_files: int = 0
    processes: int = 0
    group_memory: int = 0
    memory: int = 0
    cpus: int = 1
    machine_cpus: int = 1
    monotonic: bool = True
    skew: float | None = None
    login: str = ""
    threads: dict[str, str] = field(default_factory=dict)
    memory_budget: int = 0


# -- software ------------------------------------------------------------------------------------------


def python(found: Found) -> Finding | None:
    if found.python[:2] < OLDEST_PYTHON:
        said = ".".join(map(str, found.python))
        return Finding(FAIL, "python", f"Python {said} is too old.", "Install Python 3.11 or newer.")
    return None


def engines(found: Found) -> Finding | None:
    for name, oldest in OLDEST.items():
        version = found.versions.get(name, "")
        if version and _numbers(version) < oldest:
            needed = ".".join(map(str, oldest))
            extra = "ray" if name == "ray" else "dask"
            return Finding(
                FAIL, name, f"{name} {version} is too old; anabranch needs {needed} or newer.",
                f"pip install -U 'anabranch[{extra}]'",
            )  # fmt: skip
    return None


def dask_pair(found: Found) -> Finding | None:
    ours, theirs = found.versions.get("dask", ""), found.versions.get("distributed", "")
    if ours and theirs and _numbers(ours)[:2] != _numbers(theirs)[:2]:
        return Finding(
            WARN, "dask", f"dask {ours} and distributed {theirs} are of different releases.",
            "pip install -U 'anabranch[dask]'",
        )  # fmt: skip
    return None


def extras(found: Found) -> Finding | None:
    if not found.missing:
        return None
    names = ", ".join(sorted(found.missing))
    said = f"Extras that are not installed: {names}."
    return Finding(NOTE, "extras", said, "pip install 'anabranch[NAME]' adds one.")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version.partition("+")[0])[:3])


# -- the record and what is stored -----------------------------------------------------------------------


def home(found: Found) -> Finding | None:
    if found.home.trouble:
        remedy = "Set ANABRANCH_HOME to a folder that you can write to."
        return Finding(FAIL, "home", f"Cannot write to {found.home.where}: {found.home.trouble}.", remedy)
    if found.home.foreign:
        remedy = "Set ANABRANCH_HOME to a folder of your own."
        return Finding(WARN, "home", f"{found.home.where} belongs to another user.", remedy)
    return None


def record(found: Found) -> Finding | None:
    if found.record_trouble:
        remedy = "Set another record (`anabranch config set records PLACE`), or mend this one."
        return Finding(FAIL, "record", f"Cannot open the record: {found.record_trouble}.", remedy)
    return None


def network(found: Found) -> Finding | None:
    place = found.home
    if not place.shared or found.record_kind == "address":
        return None
    if found.record_kind == "file":
        return Finding(
            WARN, "record", f"{place.where} is on a network file system ({place.kind}), where one SQLite file for all "
            "programs can be damaged.", "anabranch config set records_shared auto",
        )  # fmt: skip
    if not place.locks and found.record_kind == "folder":
        return Finding(
            FAIL, "record", f"Files on {place.where} ({place.kind}) cannot be locked.",
            "anabranch config set records_shared node",
        )  # fmt: skip
    return Finding(NOTE, "record", f"The record is on a network file system ({place.kind}): {found.record}.")


def results(found: Found) -> Finding | None:
    if found.results is not None and found.results.trouble:
        remedy = "anabranch config set results PLACE"
        return Finding(FAIL, "results", f"Cannot write to {found.results.where}: {found.results.trouble}.", remedy)
    return None


def space(found: Found) -> Finding | None:
    for subject, place in (("record", found.home), ("results", found.results), ("temporary", found.temporary)):
        if place is None or place.free is None or place.free >= GIB:
            continue
        level = FAIL if place.free < MIB else WARN
        least = {"record": "Rows then wait in memory", "results": "Values then cannot be stored"}
        why = least.get(subject, "Values that do not fit into memory then have no place")
        return Finding(
            level, subject, f"Only {_size(place.free)} are free at {place.where}. {why}.",
            "Free some space, or choose another place.",
        )  # fmt: skip
    return None


def temporary(found: Found) -> Finding | None:
    if found.temporary.trouble:
        return Finding(
            FAIL, "temporary", f"Cannot write to {found.temporary.where}: {found.temporary.trouble}.",
            "Set TMPDIR to a folder that you can write to.",
        )  # fmt: skip
    return None


def old_records(found: Found) -> Finding | None:
    if not found.left_on_node:
        return None
    places = ", ".join(found.left_on_node[:3])
    return Finding(
        WARN, "record", f"Killed drivers have left {len(found.left_on_node)} record(s) on this node: {places}.",
        "Move each .db over its copy in the record's folder (see docs/records.md), or delete it.",
    )  # fmt: skip


def many_runs(found: Found) -> Finding | None:
    if found.runs is None:
        return None
    said = f"The record has {found.runs:,} flow runs, {found.open_runs:,} of them not ended."
    return Finding(NOTE, "record", said)


# -- the machine -----------------------------------------------------------------------------------------


def shared_memory(found: Found) -> Finding | None:
    if found.shared_memory is None:
        remedy = "None is needed for threads."
        return Finding(WARN, "/dev/shm", "There is no /dev/shm: workers pass large values through files.", remedy)
    if found.shared_memory < 256 * MIB:
        return Finding(
            WARN, "/dev/shm", f"/dev/shm has {_size(found.shared_memory)}: large values of processes, Dask and Ray go "
            "through files.", "In a container: docker run --shm-size=2g, or an emptyDir with medium: Memory.",
        )  # fmt: skip
    return None


def open_files(found: Found) -> Finding | None:
    if not found.open_files or found.open_files >= 1024:
        return None
    level = FAIL if found.open_files < 64 else WARN
    said = f"This process may open {found.open_files} files; workers, sockets and the record need more."
    return Finding(level, "limits", said, "ulimit -n 4096")


def processes(found: Found) -> Finding | None:
    needed = 8 * found.cpus + 64
    if not found.processes or found.processes >= needed:
        return None
    said = f"You may have {found.processes} processes and threads; {found.cpus} workers may need {needed}."
    return Finding(WARN, "limits", said, f"ulimit -u {max(needed, 1024)}")


def memory(found: Found) -> Finding | None:
    usable = min(filter(None, (found.group_memory, found.memory)), default=0)
    if usable and found.memory_budget > usable:
        return Finding(
            WARN, "memory", f"memory_budget is {_size(found.memory_budget)}, and this process may use {_size(usable)}.",
            "anabranch config unset memory_budget",
        )  # fmt: skip
    if usable and usable < GIB:
        said = f"This process may use {_size(usable)} of memory; each worker process takes about 60 MiB."
        return Finding(WARN, "memory", said, "Ask for more memory, or use threads.")
    return None


def cpus(found: Found) -> Finding | None:
    if found.cpus < found.machine_cpus:
        said = f"This process may use {found.cpus} of {found.machine_cpus} processors (affinity, control group, Slurm)."
        return Finding(NOTE, "cpus", said)
    return None


def clock(found: Found) -> Finding | None:
    if not found.monotonic:
        remedy = "Set the machine's clock source to tsc or hpet, or restart the machine."
        return Finding(FAIL, "clock", "The monotonic clock of this machine goes back: no time-out is right.", remedy)
    if found.skew is not None and abs(found.skew) > STALE / 2:
        return Finding(
            WARN, "clock", f"The clock of the record's file server differs by {found.skew:+.0f} s, and drivers count "
            f"as gone after {STALE:.0f} s without a sign of life.", "Let NTP (chrony) set both clocks.",
        )  # fmt: skip
    return None


def login_node(found: Found) -> Finding | None:
    if found.login:
        return Finding(WARN, "login node", f"{found.login[:1].upper()}{found.login[1:]}.", "Run it in a batch job.")
    return None


def native_threads(found: Found) -> Finding | None:
    for name, value in sorted(found.threads.items()):
        if value.isdigit() and int(value) > found.cpus:
            said = f"{name}={value}: each worker starts so many threads, and {found.cpus} processors may be used."
            return Finding(WARN, "threads", said, f"unset {name}, or set it to 1.")
    return None


CHECKS: tuple[Callable[[Found], Finding | None], ...] = (
    python, engines, dask_pair, home, record, network, results, temporary, space, old_records, shared_memory,
    open_files, processes, memory, clock, login_node, native_threads, cpus, many_runs, extras,
)  # fmt: skip
_ORDER = {FAIL: 0, WARN: 1, NOTE: 2}


def findings(found: Found) -> list[Finding]:
    """Return what the checks find, the worst first."""
    told = [one for check in CHECKS if (one := check(found)) is not None]
    return sorted(told, key=lambda one: _ORDER[one.level])


def _size(nbytes: int) -> str:
    return f"{nbytes / GIB:.3g} GiB" if nbytes >= GIB else f"{nbytes / MIB:.3g} MiB"
