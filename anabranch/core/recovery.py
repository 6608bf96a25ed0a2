"""Whether the driver of an order is dead, and what becomes of the order then: pure functions of what is known."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from anabranch.core.launching import Phase

if TYPE_CHECKING:
    from anabranch.core.deployments import Recover

SILENCE = 60.0  # seconds without a sign of life after which a driver is dead, unless its kind says that it runs
LONGEST_SILENCE = 600.0  # seconds, whatever its kind says
RECOVER_LIMIT = 3
UNREACHED = 75  # exit code of a driver that could not reach the service to begin: a temporary failure, of sysexits.h
BACK_OFF = 10.0  # seconds before the first recovery, doubled with each
_MEMORY = re.compile(r"OOM|out of memory|more memory than", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a begun order, its run not ended.

    Attributes:
        begun: Unix seconds.
        seen: Unix seconds of the driver's last sign of life; 0.0: none yet.
        heard_since: Unix seconds from which on a sign of life would have been heard: a silence begins no earlier.
        phase: of its job, a value of `launching.Phase`, by a recent word of its agent; "": none is known.
        reason: how the job ended, in its kind's words.
        code: its exit code, where it has ended and one is known.
        suspended: whether the driver ended the run because its walltime was over, for another one to go on.
        buried: why the driver is dead, by somebody's word in the record; "": nobody says so.
        recover: of the deployment.
        recoveries: so far.
    """

    now: float
    begun: float
    seen: float = 0.0
    heard_since: float = 0.0
    phase: str = ""
    reason: str = ""
    code: int | None = None
    suspended: bool = False
    buried: str = ""
    recover: Recover = "resume"
    recoveries: int = 0


@dataclass(frozen=True, slots=True)
class Alive:
    """The driver is not known to be dead."""


@dataclass(frozen=True, slots=True)
class Again:
    """The order waits again from `due` on; `counts`: as a recovery."""

    due: float
    reason: str
    counts: bool = True


@dataclass(frozen=True, slots=True)
class Over:
    """The run is Crashed for this reason."""

    reason: str


Decision = Alive | Again | Over


def recover(facts: Facts) -> Decision:
    """Decide about a begun order: a failure of the user's code ends its run in the record, and never comes here."""
    if facts.suspended:
        if facts.recover == "no":
            return Over("its walltime was over, and its deployment is not to be recovered")
        return Again(facts.now, "it goes on after its walltime was over", counts=False)
    reason = death(facts)
    if not reason:
        return Alive()
    if facts.recover == "no":
        return Over(reason)
    if facts.recoveries and _MEMORY.search(reason):
        return Over(f"{reason}; it is not recovered again for want of memory")
    if facts.recoveries >= RECOVER_LIMIT:
        return Over(f"gave up after {RECOVER_LIMIT} recoveries: {reason}")
    return Again(facts.now + BACK_OFF * 2**facts.recoveries, reason)


def death(facts: Facts) -> str:
    """Return why a driver is dead; "" where it is not known to be.

    A job that has ended well may have told the record so in rows that are under way, so its driver is dead after a
    silence alone.
    """
    if facts.buried:
        return facts.buried
    if facts.phase == Phase.ENDED.value and facts.code != 0:
        return f"its job ended: {facts.reason}" if facts.reason else "its job ended before its flow did"
    if facts.phase == Phase.GONE.value:
        return "its job is gone" + (f": {facts.reason}" if facts.reason else "")
    # Where nobody can tell, its own signs of life decide, as where nobody looks.
    silence = facts.now - max(facts.seen, facts.begun, facts.heard_since)
    if silence <= (LONGEST_SILENCE if facts.phase == Phase.RUNNING.value else SILENCE):
        return ""
    since = "its last sign of life" if facts.seen > facts.begun else "it began, without any sign of life"
    if facts.heard_since > max(facts.seen, facts.begun):
        since = "signs of life are heard again"
    ended = "its job ended with exit code 0, and " if facts.phase == Phase.ENDED.value else ""
    return f"{ended}its driver is silent: {silence:.0f} s since {since}"


_ENDS = {Phase.GONE.value: "its job is gone", Phase.UNKNOWN.value: "its job is out of sight"}
LAUNCH_LIMIT = 3  # claims of one order in a row that may go without a driver that begins


def unbegun(now: float, phase: str, code: int | None, reason: str, launches: int, overdue: float = 0.0) -> Decision:
    """Decide about a claimed order: its driver never began, and its job is over or, after `overdue` seconds, given up.

    A job that ran and ended with an exit code does so again the next time: its program is missing, its image is broken;
    but for the code `UNREACHED`.
    One that its infrastructure lost, or ended by a signal or without a code, may begin elsewhere, up to `LAUNCH_LIMIT`
    launches in a row.
    """
    said = f": {reason}" if reason else f": exit {code}" if code is not None else ""
    told = f"{_ENDS.get(phase, 'its job ended')} before its flow began{said}"
    if overdue:
        told = f"its job did not begin within {overdue:.0f} s{said}"
    if phase == Phase.ENDED.value and code is not None and code >= 0 and code != UNREACHED:
        return Over(told)
    if launches >= LAUNCH_LIMIT:
        return Over(f"gave up after {launches} launches: {told}")
    return Again(now + BACK_OFF * 2 ** max(0, launches - 1), told, counts=False)
