"""What becomes of a name of Prefect under `anabranch.compat.prefect`: asked of our own modules, by import."""

from __future__ import annotations

import enum
import importlib
import importlib.util
from dataclasses import fields
from typing import TYPE_CHECKING, Any, NamedTuple

from anabranch.compat.migrate.uses import MADE, Use
from anabranch.compat.prefect.flow_arguments import FlowArguments
from anabranch.compat.prefect.flows import ELSEWHERE, Flow
from anabranch.compat.prefect.task_arguments import TaskArguments
from anabranch.compat.prefect.tasks import Task
from anabranch.compat.prefect1 import flows as graphs
from anabranch.compat.prefect1.older_options import RENAMED
from anabranch.compat.tables import NOT_PREFECT, PREFECT

if TYPE_CHECKING:
    from types import ModuleType

# Methods of tasks that need a task worker of Prefect's.
OF_TASKS = {"serve": "`task.delay(...)` runs in its own program; for another one deploy a flow that calls the task"}
_NOTHING = object()
INTEGRATION = "the package is written for Prefect: call the library that it wraps in a task"


class Fate(enum.StrEnum):
    AS_IT_IS = "as it is"
    CHANGE = "change"
    NONE = "none"


class Verdict(NamedTuple):
    use: Use
    fate: Fate
    why: str = ""


def judge(use: Use) -> Verdict:
    """Return what becomes of a use: it runs as it is, the line is to be changed, or there is nothing for it."""
    name, made, method = use.name.partition(MADE)
    found = _home(name)
    if found is None:
        return _absent(use, name)
    module, rest = found
    lacking = getattr(module, "_LACKING", {})
    if rest and rest[0] in lacking:
        return Verdict(use, Fate.CHANGE, lacking[rest[0]])
    target, left = _reached(module, rest)
    if target is _NOTHING:
        return _absent(use, name)
    kind = _kind(target)
    called = left or [one for one in method.replace(MADE, "").split(".") if one]  # `flow.serve`, `flow().serve`
    if kind is not None and (made or left):
        methods = {**ELSEWHERE, **(OF_TASKS if kind is Task else {})}
        advice = methods.get(called[0], "") if called else ""
        return Verdict(use, Fate.CHANGE if advice else Fate.AS_IT_IS, advice)
    if use.option and not made and kind is not None:
        return _option(use, kind)
    return Verdict(use, Fate.AS_IT_IS)


def _home(name: str) -> tuple[ModuleType, list[str]] | None:
    """Return the module of ours with the longest name, and what is left of the name."""
    parts = name.split(".")
    home = PREFECT.get(parts[0])
    if home is None:
        return None
    for count in range(len(parts), 0, -1):
        ours = ".".join([home, *parts[1:count]])
        try:
            if importlib.util.find_spec(ours) is not None:
                return importlib.import_module(ours), parts[count:]
        except ModuleNotFoundError:
            continue
    return None


def _reached(module: Any, names: list[str]) -> tuple[Any, list[str]]:
    """Return what the names lead to, _NOTHING where that is nothing, and the names behind the first callable.

    Attributes of classes and functions are taken to be there.
    """
    found = module
    for at, name in enumerate(names):
        if callable(found):
            return found, names[at:]
        try:
            found = getattr(found, name)
        except (AttributeError, ImportError):
            return _NOTHING, []
    return found, []


def _kind(target: Any) -> type | None:
    """Return which class of ours a call of it makes, where it makes a flow or a task."""
    if getattr(target, "__name__", "") in ("task", "Task"):
        return Task
    if getattr(target, "__name__", "") in ("flow", "Flow"):
        return Flow
    return None


def _option(use: Use, kind: type) -> Verdict:
    known = {field.name for field in fields(TaskArguments if kind is Task else FlowArguments)}
    known |= set(RENAMED) if kind is Task else set()
    if use.name.endswith(".Flow"):  # of Prefect 1, which takes a name
        known |= graphs.OPTIONS
        if use.option in graphs.ADVICE:
            return Verdict(use, Fate.CHANGE, graphs.ADVICE[use.option])
    if use.option in known:
        return Verdict(use, Fate.AS_IT_IS)
    return Verdict(use, Fate.NONE, f"@{kind.__name__.lower()} has no option {use.option!r}")


def _absent(use: Use, name: str) -> Verdict:
    parts = name.split(".")
    for count in range(len(parts), 1, -1):
        advice = NOT_PREFECT.get(".".join(parts[:count]))
        if advice is not None:
            return Verdict(use, Fate.CHANGE, advice)
    if parts[0] not in PREFECT:
        return Verdict(use, Fate.NONE, INTEGRATION)
    return Verdict(use, Fate.NONE, NOT_PREFECT.get(parts[0], "anabranch has nothing of that name"))
