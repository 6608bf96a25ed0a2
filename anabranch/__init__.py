"""anabranch: plain Python functions as one program on threads, processes, Dask or Ray.

Public names are loaded when first used, so that `import anabranch` costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anabranch import context as context
    from anabranch import session as session
    from anabranch.core import policies as cache_policies  # noqa: F401
    from anabranch.core import states as state  # noqa: F401
    from anabranch.core import states as states
    from anabranch.core.annotations import allow_failure as allow_failure
    from anabranch.core.annotations import quote as quote
    from anabranch.core.annotations import unmapped as unmapped
    from anabranch.core.context import tags as tags
    from anabranch.core.futures import Future as Future
    from anabranch.core.futures import FutureList as FutureList
    from anabranch.core.options import exponential_backoff as exponential_backoff
    from anabranch.core.policies import task_input_hash as task_input_hash
    from anabranch.core.secrets import Secret as Secret
    from anabranch.core.states import State as State
    from anabranch.core.waiting import as_completed as as_completed
    from anabranch.core.waiting import wait as wait
    from anabranch.engine import triggers as triggers
    from anabranch.engine.hooks import callback_factory as callback_factory
    from anabranch.explanations import explain as explain
    from anabranch.flows import Flow as Flow
    from anabranch.flows import flow as flow
    from anabranch.flows import set_reference_tasks as set_reference_tasks
    from anabranch.logs import get_run_logger as get_run_logger
    from anabranch.named_limits import concurrency as concurrency
    from anabranch.named_limits import rate_limit as rate_limit
    from anabranch.named_limits import set_tag_limit as set_tag_limit
    from anabranch.replays import replay as replay
    from anabranch.runners.dask import DaskRunner as DaskRunner
    from anabranch.runners.inline import InlineRunner as InlineRunner
    from anabranch.runners.process import ProcessRunner as ProcessRunner
    from anabranch.runners.ray import RayRunner as RayRunner
    from anabranch.runners.thread import ThreadRunner as ThreadRunner
    from anabranch.tasks import Task as Task
    from anabranch.tasks import task as task

__version__ = "0.1.0"

# Where each public name lives: (module, attribute), attribute None for a module itself.
_HOMES: dict[str, tuple[str, str | None]] = {
    "DaskRunner": ("anabranch.runners.dask", "DaskRunner"),
    "Flow": ("anabranch.flows", "Flow"),
    "Future": ("anabranch.core.futures", "Future"),
    "FutureList": ("anabranch.core.futures", "FutureList"),
    "InlineRunner": ("anabranch.runners.inline", "InlineRunner"),
    "ProcessRunner": ("anabranch.runners.process", "ProcessRunner"),
    "RayRunner": ("anabranch.runners.ray", "RayRunner"),
    "Secret": ("anabranch.core.secrets", "Secret"),
    "State": ("anabranch.core.states", "State"),
    "Task": ("anabranch.tasks", "Task"),
    "ThreadRunner": ("anabranch.runners.thread", "ThreadRunner"),
    "allow_failure": ("anabranch.core.annotations", "allow_failure"),
    "as_completed": ("anabranch.core.waiting", "as_completed"),
    "cache_policies": ("anabranch.core.policies", None),
    "callback_factory": ("anabranch.engine.hooks", "callback_factory"),
    "concurrency": ("anabranch.named_limits", "concurrency"),
    "context": ("anabranch.context", None),
    "explain": ("anabranch.explanations", "explain"),
    "exponential_backoff": ("anabranch.core.options", "exponential_backoff"),
    "flow": ("anabranch.flows", "flow"),
    "get_run_logger": ("anabranch.logs", "get_run_logger"),
    "quote": ("anabranch.core.annotations", "quote"),
    "rate_limit": ("anabranch.named_limits", "rate_limit"),
    "replay": ("anabranch.replays", "replay"),
    "session": ("anabranch.session", None),
    "set_reference_tasks": ("anabranch.flows", "set_reference_tasks"),
    "set_tag_limit": ("anabranch.named_limits", "set_tag_limit"),
    "state": ("anabranch.core.states", None),
    "states": ("anabranch.core.states", None),
    "tags": ("anabranch.core.context", "tags"),
    "task": ("anabranch.tasks", "task"),
    "task_input_hash": ("anabranch.core.policies", "task_input_hash"),
    "triggers": ("anabranch.engine.triggers", None),
    "unmapped": ("anabranch.core.annotations", "unmapped"),
    "wait": ("anabranch.core.waiting", "wait"),
}

__all__ = [*_HOMES, "__version__"]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'anabranch' has no attribute {name!r}")
    module = importlib.import_module(home[0])
    found = module if home[1] is None else getattr(module, home[1])
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
