"""The sign that this machine ends long programs, as many login nodes do, and the sentence that says what to do."""

from __future__ import annotations

import os
import resource
from typing import NamedTuple

from anabranch.core.machine import GROUPS, OWN, group_limits

ALWAYS, NEVER, LOOK = "true", "false", "auto"  # of the setting `login_node`
_IN_A_JOB = ("SLURM_JOB_ID", "PBS_JOBID")
_PERSONS = "user.slice/user-"  # control groups with all programs of one person's shells on a machine


class Signs(NamedTuple):
    """What this process finds.

    Attributes:
        said: the setting: ALWAYS, NEVER or LOOK.
        in_job: whether a batch system has started it: then it is on no login node.
        seconds: of processor time, after which the system ends it; 0: there is no such limit.
        cpus: that all of the person's programs have together; 0: not limited.
        memory: the same, in bytes.
    """

    said: str = LOOK
    in_job: bool = False
    seconds: float = 0
    cpus: int = 0
    memory: int = 0


def warning_of(signs: Signs, lives: str, instead: str) -> str:
    """Return one sentence about a program that lives long here; "" where nothing speaks against it.

    Args:
        lives: what lives here, and for how long.
        instead: what to do.
    """
    if signs.said == NEVER or (signs.in_job and signs.said != ALWAYS):
        return ""
    if signs.seconds:
        why = f"this machine ends a program after {_long(signs.seconds)} of processor time (ulimit -t)"
    elif signs.cpus or signs.memory:
        cpus, memory = f"{signs.cpus} processors", f"{signs.memory / (1 << 30):.3g} GiB"
        limit = " and ".join([*[cpus] * bool(signs.cpus), *[memory] * bool(signs.memory)])
        why = f"this machine limits all your programs together to {limit}, as login nodes do"
    elif signs.said == ALWAYS:
        why = "this is a login node (setting login_node)"
    else:
        return ""
    return f"{why}, and {lives}: {instead} (login_node = false silences this)"


def _long(seconds: float) -> str:
    unit, size = ("h", 3600) if seconds >= 7200 else ("min", 60) if seconds >= 120 else ("s", 1)
    return f"{seconds / size:g} {unit}"


class _Told:
    """What the program's settings say; without a session the environment alone."""

    said = ""


told = _Told()


def signs_here(groups: str = GROUPS, own: str = OWN) -> Signs:
    """Look at this process, and at the setting."""
    soft, _ = resource.getrlimit(resource.RLIMIT_CPU)
    quotas = [text.split() for text in _of_the_person("cpu.max", groups, own)]
    cpus = [max(1, int(one[0]) // int(one[1])) for one in quotas if len(one) == 2 and one[0].isdigit()]
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    sizes = [int(text) for text in _of_the_person("memory.max", groups, own) if text.isdigit()]
    return Signs(
        told.said or os.environ.get("ANABRANCH_LOGIN_NODE", LOOK).strip().lower(),
        any(os.environ.get(name) for name in _IN_A_JOB),
        0 if soft == resource.RLIM_INFINITY else soft,
        min(cpus, default=0),
        min((size for size in sizes if size < machine), default=0),
    )


def _of_the_person(name: str, groups: str, own: str) -> list[str]:
    """Return what limits a person's programs here; elsewhere, as in a container, a limit is no sign."""
    try:
        with open(own, encoding="ascii", errors="replace") as file:
            theirs = _PERSONS in file.read()
    except OSError:
        return []
    return list(group_limits(name, groups, own)) if theirs else []
