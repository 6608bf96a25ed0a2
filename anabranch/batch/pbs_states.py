"""What PBS says of a job, as a `Sight`: pure functions over what `qstat -x -f` prints, as JSON or as text."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from anabranch.batch.exits import exit_reason
from anabranch.core.launching import Phase, Sight

if TYPE_CHECKING:
    from collections.abc import Mapping

WAITS = {"Q": "", "H": "it is held: `qrls` lets it go", "W": "it waits for its begin time", "T": "it is being moved",
         "M": "it was moved to another server"}  # fmt: skip
RUNS = {"R": "", "B": "", "E": "", "S": "it is suspended", "U": "it is suspended: its machine is in use"}
ENDS = ("F", "X", "C")  # C: of Torque

# Exit codes of PBS's own.
_OWN = {
    -1: "PBS could not start it: is the home there on the nodes?",
    -2: "PBS could not start it: is the home there on the nodes, and is there room?",
    -3: "PBS could not start it, and would try again",
    -11: "its node was lost, and it starts again",
    -20: "a node of it was lost",
    -24: "it used more processors than it asked for: ask for more with --cpus",
    -25: "it used more processors than it asked for: ask for more with --cpus",
    -26: "it used more memory than it asked for: ask for more with --memory",
    -27: "it used more memory than it asked for: ask for more with --memory",
    -28: "it used more processor time than it may",
    -29: "it ran into its walltime: ask for more with --time",
}
_SIGNALLED = 256  # added to the signal that ended the job's script


def jobs(text: str) -> dict[str, dict[str, Any]]:
    """Return the attributes of each job in an answer as JSON, by id; raises ValueError for one that is none.

    There is no list of jobs in the answer where there is no job.
    """
    found = json.loads(text)
    if not isinstance(found, dict) or not isinstance(found.get("Jobs", {}), dict):
        raise ValueError("no answer of qstat")
    return {str(id): told for id, told in found.get("Jobs", {}).items() if isinstance(told, dict)}


def jobs_of_text(text: str) -> dict[str, dict[str, Any]]:
    """Return the attributes of each job in an answer as text, by id; a value may go on in lines that begin with a tab.

    Asked for where the JSON is broken, as variables with odd values break it.
    """
    found: dict[str, dict[str, Any]] = {}
    now: dict[str, Any] = {}
    for line in re.sub(r"\n\t", "", text).splitlines():
        if begun := re.match(r"Job Id: *(\S+)", line):
            now = found.setdefault(begun[1], {})
        elif pair := re.match(r"    (\w[\w.]*) = (.*)", line):
            now[pair[1]] = pair[2]
    return found


def sight(told: Mapping[str, Any]) -> Sight:
    """Return what the attributes of a job say; the log's last lines are not in it. A letter not known is no end."""
    state = str(told.get("job_state", ""))
    restarts = max(0, _number(told.get("run_count")) or 0) - 1
    comment = str(told.get("comment", "")).strip()
    if state in WAITS:
        why = "; ".join(filter(None, (WAITS[state], _why(comment))))
        stuck = comment.lower().startswith("can never run")
        return Sight(Phase.PENDING, why, restarts=max(0, restarts), stuck=stuck)
    if state in ENDS:
        code = _number(told.get("Exit_status", told.get("exit_status")))
        return Sight(Phase.ENDED, _end(code, comment), _code(code), restarts=max(0, restarts))
    return Sight(Phase.RUNNING, RUNS.get(state, f"PBS calls its state {state!r}"), restarts=max(0, restarts))


def _number(value: Any) -> int | None:
    try:
        return int(value)
    except (TypeError, ValueError):
        return None


def _why(comment: str) -> str:
    """Return why a job waits, in PBS's words, with the way out where it would wait for ever."""
    if comment.lower().startswith("can never run"):
        return f"{comment}: cancel it, and ask for less"
    return comment if comment.lower().startswith("not running") else ""


def _code(code: int | None) -> int | None:
    if code is None or code < 0:
        return None
    return _SIGNALLED - code if code > _SIGNALLED else code


def _end(code: int | None, comment: str) -> str:
    if code is None:  # it never ran
        return comment or "it was deleted before it began"
    if code in _OWN:
        return _OWN[code]
    if code == _SIGNALLED + 15:
        return f"{exit_reason(-15)}: it was cancelled, or ran into its walltime"
    return exit_reason(_code(code) or 0) if code >= 0 else f"PBS ended it with code {code}"


def job_id(out: str) -> str:
    """Return the id in what qsub printed: in the last line that holds one; "" for none."""
    for line in reversed(out.strip().splitlines()):
        if re.fullmatch(r"\d+(\[\])?(\.[\w.-]+)?", line.strip()):
            return line.strip()
    return ""
