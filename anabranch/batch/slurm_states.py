"""What Slurm says of a job, as a `Sight`: pure functions over the lines of `squeue`.

    RUNNING ----------> COMPLETING ------> COMPLETED, FAILED, TIMEOUT, ...      an end
                             |
                             '------> REQUEUED, PENDING (BeginTime)             no end: it runs once more

In text a flag hides the state below it: COMPLETING may turn out as either, so it counts as running.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from anabranch.batch.exits import exit_reason
from anabranch.core.launching import Phase, Sight
from anabranch.core.slurm_words import ENDS as ENDS
from anabranch.core.slurm_words import MEANINGS, STUCK, word_of
from anabranch.core.slurm_words import RUNS as RUNS
from anabranch.core.slurm_words import WAITS as WAITS
from anabranch.core.slurm_words import waits_for as waits_for

if TYPE_CHECKING:
    from collections.abc import Iterable

# Sizes: older versions cut a field at 20 characters unless there is one. The separator is in no name of ours.
FORMAT = "JobArrayID:.60|,Name:.110|,State:.30|,Reason:.200|,RestartCnt:.10|,exit_code:.12|"

_SIGNALS = range(1, 65)  # above them Slurm puts numbers of its own, such as 125 for out of memory
_NOT_STARTED = 53  # Slurm's own, together with the reason JobLaunchFailure


class Line(NamedTuple):
    """One line of squeue."""

    id: str  # with the part of an array: 14, 14_3, 14_[5-9%2], 17+0
    name: str
    state: str
    reason: str = "None"
    restarts: int = 0
    status: int | None = None  # as wait(2) gives it

    @property
    def job(self) -> str:
        """The id without the part of an array."""
        found = re.match(r"\d+", self.id)
        return found.group() if found else self.id

    @property
    def parts(self) -> list[int]:
        """The numbers in an array that the line stands for; none for a job that is no array."""
        ranges = re.fullmatch(r"\d+_\[?([\d,-]+)(?:%\d+)?\]?", self.id)
        found: list[int] = []
        for one in ranges[1].split(",") if ranges else ():
            first, _, last = one.partition("-")
            found += range(int(first), int(last or first) + 1)
        return found


def lines(text: str) -> list[Line]:
    """Return the lines of an answer to `FORMAT`; others, such as the name of a cluster above them, are left out."""
    found = []
    for text_line in text.splitlines():
        fields = [field.strip() for field in text_line.split("|")]
        if len(fields) >= 6 and fields[0][:1].isdigit():
            # A reason may hold the separator; nothing else does.
            id, name, state, *reason, restarts, status = fields[: len(fields) - (fields[-1] == "")]
            found.append(Line(id, name, state, "|".join(reason), _number(restarts) or 0, _status(status)))
    return found


def _number(text: str) -> int | None:
    return int(text) if re.fullmatch(r"\d+", text) else None


def _status(text: str) -> int | None:
    """Read an exit code: as one number of wait(2), or as code:signal."""
    if pair := re.fullmatch(r"(\d+):(\d+)", text):
        return int(pair[1]) << 8 | int(pair[2])
    return _number(text)


def sight(line: Line) -> Sight:
    """Return what a line says; the log's last lines are not in it.

    A state that is not known is no end: the job is asked for again, until Slurm forgets it.
    """
    state = line.state.partition(" ")[0].rstrip("+").upper()  # sacct: CANCELLED by 1000
    if state in WAITS:
        stuck = word_of(line.reason) in STUCK
        return Sight(Phase.PENDING, waits_for(line.reason), restarts=line.restarts, stuck=stuck)
    if state in ENDS:
        code = _code(state, line)
        return Sight(Phase.ENDED, _end(state, line, code), code, restarts=line.restarts)
    return Sight(Phase.RUNNING, RUNS.get(state, f"Slurm calls its state {state!r}"), restarts=line.restarts)


def whole(found: Iterable[Line]) -> Sight | None:
    """Return what the lines of one job say together: it has ended when all of its parts have."""
    order = (Phase.RUNNING, Phase.PENDING, Phase.ENDED)
    sights = sorted(map(sight, found), key=lambda seen: (order.index(seen.phase), not seen.code))
    return sights[0] if sights else None


def _code(state: str, line: Line) -> int | None:
    """Return an exit code, or a negative signal; None for numbers of Slurm's own, and 0 of a job that was stopped."""
    if line.status is None:
        return None
    signal, code = line.status & 0x7F, line.status >> 8
    if signal == _NOT_STARTED and line.reason == "JobLaunchFailure":
        return None
    if signal:
        return -signal if signal in _SIGNALS else None
    return code if code or state == "COMPLETED" else None


def _end(state: str, line: Line, code: int | None) -> str:
    if state == "COMPLETED":
        return ""
    if state != "FAILED":
        return f"{state}: {ENDS[state]}"
    if line.reason == "JobLaunchFailure" and code is None:
        return (
            "FAILED JobLaunchFailure: its node could not open the log or begin in the working folder: is the home "
            "there on the nodes, and is there room?"
        )
    if line.reason == "BadConstraints":
        return f"FAILED BadConstraints: {MEANINGS['BadConstraints']}"
    if code:
        return exit_reason(code)
    return f"FAILED {line.reason}: {ENDS['FAILED']}"
