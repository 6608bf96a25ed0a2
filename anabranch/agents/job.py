"""The job that an agent starts for a claim; and the job variables, by which people say what it asks for.

Variables of the pool's template, of the deployment and of the order go over each other in this order; those called
`env` are put together.
"""

from __future__ import annotations

import math
import re
import shlex
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anabranch.core.errors import DeploymentError
from anabranch.core.launching import Job, Resources
from anabranch.core.nearest import hint
from anabranch.core.option_checks import parse_bytes, parse_walltime

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from anabranch.core.orders import Claim, Order

FOLDERS = re.compile(r"[0-9a-f-]{32,36}-[0-9]+")  # the names of folders of such jobs
OVER = "over"  # a file in the folder of a job that ended badly, once the service has heard of that
TIME_TO_BEGIN = {"process": 300.0}  # seconds, by kind
_TIME_TO_BEGIN = 900.0  # seconds, of any other kind
COMMAND = (sys.executable, "-P", "-m", "anabranch")


@dataclass(frozen=True, slots=True)
class Place:
    """Where an agent's jobs begin.

    Attributes:
        home: of their files.
        cwd: the working folder of those that name none.
        environment: variables of all of them: where the record is.
    """

    home: Path
    cwd: Path
    environment: Mapping[str, str] = field(default_factory=dict)

    def folder(self, run: str, token: int) -> Path:
        return self.home / "jobs" / name_of(run, token)


def name_of(run: str, token: int) -> str:
    """Return the job's name: the same for a start that is repeated, another for each claim."""
    return f"{run}-{token}"


def job_of(claim: Claim, kind: str, place: Place) -> Job:
    """Return the job of a claim.

    Raises:
        DeploymentError: a job variable is unknown or refused; names the nearest.
    """
    order = claim.order
    given = variables_of(claim.template, document_variables(claim.deployment.document), order.job)
    asked = checked(kind, given)
    words = asked.pop("command", None) or (COMMAND if kind != "kubernetes" else ("python", *COMMAND[1:]))
    environment = {**place.environment, **asked.pop("env", {})}
    if claim.key:
        environment["ANABRANCH_API_KEY"] = claim.key
    return Job(
        name_of(order.run, order.token),
        (*words, "drive", order.run, "--token", str(order.token)),
        place.folder(order.run, order.token),
        Path(asked.pop("working_dir", None) or place.cwd),
        environment,
        Resources(*(asked.pop(name, least) for name, least in (("nodes", 1), ("cpus", 0), ("memory", 0), ("gpus", 0)))),
        asked.pop("walltime", 0.0),
        (*asked.pop("options", ()), *(f"{name}={asked.pop(name)}" for name in _PODS if name in asked)),
        asked.pop("prologue", ()),
    )


def folder_of(order: Order, place: Place) -> Path:
    return place.folder(order.run, order.token)


def document_variables(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the job variables in a deployment's document."""
    found: Mapping[str, Any] = (document.get("work_pool") or {}).get("job_variables") or {}
    return found


def variables_of(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Put job variables together; a later layer goes over an earlier one."""
    found: dict[str, Any] = {}
    for layer in layers:
        env = {**(found.get("env") or {}), **(layer.get("env") or {})}
        found |= layer
        if env:
            found["env"] = env
    return found


def time_to_begin(claim: Claim, kind: str) -> float:
    """Return the seconds that the driver of a claim has to begin once its job runs; infinite: any."""
    given = variables_of(claim.template, document_variables(claim.deployment.document), claim.order.job)
    try:
        found = checked(kind, {name: given[name] for name in given if name == "start_timeout"})
    except DeploymentError:
        return math.inf  # the job is refused for it
    return found.get("start_timeout", TIME_TO_BEGIN.get(kind, _TIME_TO_BEGIN)) or math.inf


# -- the variables -----------------------------------------------------------------------------------


def checked(kind: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return job variables as a job takes them; those that are None are left out.

    Raises:
        DeploymentError: one is unknown to this kind, the nearest is named; or its value is refused.
    """
    known = VARIABLES.get(kind, _COMMON)
    found = {}
    for name, value in given.items():
        if name not in known:
            raise DeploymentError(f"a job of kind {kind!r} has no variable {name!r}; {hint(name, sorted(known))}")
        if value is None:
            continue
        try:
            found[name] = known[name](value)
        except (ValueError, TypeError, AttributeError) as error:
            raise DeploymentError(f"job variable {name!r}: {error}") from None
    return found


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"must be text, got {value!r}")
    return value


def _lines(value: Any) -> tuple[str, ...]:
    lines = [value] if isinstance(value, str) else value
    if not isinstance(lines, list | tuple) or not all(isinstance(one, str) for one in lines):
        raise ValueError(f"must be text, or a list of texts, got {value!r}")
    return tuple(lines)


def _words(value: Any) -> tuple[str, ...]:
    """Return the words of a command, which a shell would read so."""
    return tuple(shlex.split(value)) if isinstance(value, str) else _lines(value)


def _environment(value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        raise ValueError(f"must be names with values, got {value!r}")
    return {str(name): str(each) for name, each in value.items()}


def _count(value: Any) -> int:
    if not isinstance(value, int) or value < 0:
        raise ValueError(f"must be a number of 0 or more, got {value!r}")
    return value


def _time(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else parse_walltime(value)


def _seconds(value: Any) -> float:
    if (found := _time(value)) < 0:
        raise ValueError(f"must be 0 or more seconds, got {value!r}")
    return found


def _size(value: Any) -> int:
    return parse_bytes(value) or 0


_PODS = ("image", "namespace", "service_account", "user", "template", "ttl")
_COMMON: dict[str, Callable[[Any], Any]] = {
    "env": _environment,  # variables of the environment
    "working_dir": _text,
    "command": _words,  # what stands for `python -m anabranch`, such as "conda run -n team python -m anabranch"
    "prologue": _lines,  # lines of shell before it, such as "module load cuda"
    "walltime": _time,  # seconds, or text such as "2h"
    "start_timeout": _seconds,  # in which the driver has to begin; 0: any
}
_BATCH: dict[str, Callable[[Any], Any]] = {
    "nodes": _count, "cpus": _count, "memory": _size, "gpus": _count, "options": _lines,
}  # fmt: skip
VARIABLES: dict[str, dict[str, Callable[[Any], Any]]] = {
    "process": _COMMON,
    "slurm": _COMMON | _BATCH,
    "pbs": _COMMON | _BATCH,
    "kubernetes": _COMMON | _BATCH | dict.fromkeys(_PODS, _text),
}
