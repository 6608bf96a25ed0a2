"""anabranch: plain Python functions as one program on threads, processes, Dask or Ray.

Public names are loaded when first used, so that `import anabranch` costs next to nothing. So are the public modules
(`from anabranch.states import Completed`); their code lives in rooms, and type checkers find them in the stubs
beside this file.
"""

from __future__ import annotations

import functools
import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anabranch import context as context
    from anabranch import session as session
    from anabranch.clusters.in_allocation import SlurmAllocation as SlurmAllocation
    from anabranch.clusters.kubernetes.cluster import KubernetesCluster as KubernetesCluster
    from anabranch.clusters.kubernetes.ray_cluster import RayOnKubernetes as RayOnKubernetes
    from anabranch.clusters.pbs import PBSCluster as PBSCluster
    from anabranch.clusters.slurm import SlurmCluster as SlurmCluster
    from anabranch.core import policies as cache_policies  # noqa: F401
    from anabranch.core import states as state  # noqa: F401
    from anabranch.core import states as states
    from anabranch.core.annotations import allow_failure as allow_failure
    from anabranch.core.annotations import quote as quote
    from anabranch.core.annotations import unmapped as unmapped
    from anabranch.core.context import tags as tags
    from anabranch.core.future_lists import FutureList as FutureList
    from anabranch.core.futures import Future as Future
    from anabranch.core.options import exponential_backoff as exponential_backoff
    from anabranch.core.policies import task_input_hash as task_input_hash
    from anabranch.core.secrets import Secret as Secret
    from anabranch.core.states import State as State
    from anabranch.core.waiting import as_completed as as_completed
    from anabranch.core.waiting import wait as wait
    from anabranch.diagnosis.explain import explain as explain
    from anabranch.diagnosis.holders import holders as holders
    from anabranch.diagnosis.replay import replay as replay
    from anabranch.diagnosis.reports import report as report
    from anabranch.diagnosis.running import running as running
    from anabranch.engine import triggers as triggers
    from anabranch.engine.hooks import callback_factory as callback_factory
    from anabranch.flows import Flow as Flow
    from anabranch.flows import flow as flow
    from anabranch.flows import set_reference_tasks as set_reference_tasks
    from anabranch.logs import get_run_logger as get_run_logger
    from anabranch.named_limits import concurrency as concurrency
    from anabranch.named_limits import rate_limit as rate_limit
    from anabranch.named_limits import set_tag_limit as set_tag_limit
    from anabranch.runners.dask.runner import DaskRunner as DaskRunner
    from anabranch.runners.inline.runner import InlineRunner as InlineRunner
    from anabranch.runners.process.runner import ProcessRunner as ProcessRunner
    from anabranch.runners.ray.runner import RayRunner as RayRunner
    from anabranch.runners.thread.runner import ThreadRunner as ThreadRunner
    from anabranch.runs.job_steps import run_step as run_step
    from anabranch.scheduling.cron import Cron as Cron
    from anabranch.scheduling.interval import Interval as Interval
    from anabranch.scheduling.rrule import RRule as RRule
    from anabranch.serving.deploying import run_deployment as run_deployment
    from anabranch.serving.serve import serve as serve
    from anabranch.tasks import Task as Task
    from anabranch.tasks import task as task

__version__ = "0.1.0"


def _joblib_backend(**given: Any) -> Any:
    """Make the backend that joblib knows as "anabranch"."""
    return importlib.import_module("anabranch.integrations.joblib").Backend(**given)


class _JoblibHook:
    """Makes the backend known to joblib when that is imported later than this; finds no modules itself."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name != "joblib.parallel":
            return None
        sys.meta_path.remove(self)
        for finder in sys.meta_path:
            spec = finder.find_spec(name, path, target)
            if spec is not None and spec.loader is not None:
                spec.loader.exec_module = functools.partial(_tell_joblib, spec.loader.exec_module)  # type: ignore[method-assign]
                return spec
        return None


def _tell_joblib(run: Any, module: ModuleType) -> None:
    run(module)
    module.register_parallel_backend("anabranch", _joblib_backend)


if "joblib.parallel" in sys.modules:
    sys.modules["joblib.parallel"].register_parallel_backend("anabranch", _joblib_backend)
else:
    sys.meta_path.insert(0, _JoblibHook())

# Where each public name lives: (module, attribute), attribute None for a module itself.
_HOMES: dict[str, tuple[str, str | None]] = {
    "Cron": ("anabranch.scheduling.cron", "Cron"),
    "DaskRunner": ("anabranch.runners.dask", "DaskRunner"),
    "Flow": ("anabranch.flows", "Flow"),
    "Future": ("anabranch.core.futures", "Future"),
    "FutureList": ("anabranch.core.future_lists", "FutureList"),
    "InlineRunner": ("anabranch.runners.inline", "InlineRunner"),
    "Interval": ("anabranch.scheduling.interval", "Interval"),
    "KubernetesCluster": ("anabranch.clusters.kubernetes.cluster", "KubernetesCluster"),
    "PBSCluster": ("anabranch.clusters.pbs", "PBSCluster"),
    "ProcessRunner": ("anabranch.runners.process", "ProcessRunner"),
    "RRule": ("anabranch.scheduling.rrule", "RRule"),
    "RayOnKubernetes": ("anabranch.clusters.kubernetes.ray_cluster", "RayOnKubernetes"),
    "RayRunner": ("anabranch.runners.ray", "RayRunner"),
    "Secret": ("anabranch.core.secrets", "Secret"),
    "SlurmAllocation": ("anabranch.clusters.in_allocation", "SlurmAllocation"),
    "SlurmCluster": ("anabranch.clusters.slurm", "SlurmCluster"),
    "State": ("anabranch.core.states", "State"),
    "Task": ("anabranch.tasks", "Task"),
    "ThreadRunner": ("anabranch.runners.thread", "ThreadRunner"),
    "allow_failure": ("anabranch.core.annotations", "allow_failure"),
    "as_completed": ("anabranch.core.waiting", "as_completed"),
    "cache_policies": ("anabranch.core.policies", None),
    "callback_factory": ("anabranch.engine.hooks", "callback_factory"),
    "concurrency": ("anabranch.named_limits", "concurrency"),
    "context": ("anabranch.context", None),
    "explain": ("anabranch.diagnosis.explain", "explain"),
    "exponential_backoff": ("anabranch.core.options", "exponential_backoff"),
    "flow": ("anabranch.flows", "flow"),
    "get_run_logger": ("anabranch.logs", "get_run_logger"),
    "holders": ("anabranch.diagnosis.holders", "holders"),
    "quote": ("anabranch.core.annotations", "quote"),
    "rate_limit": ("anabranch.named_limits", "rate_limit"),
    "replay": ("anabranch.diagnosis.replay", "replay"),
    "report": ("anabranch.diagnosis.reports", "report"),
    "run_deployment": ("anabranch.serving.deploying", "run_deployment"),
    "run_step": ("anabranch.runs.job_steps", "run_step"),
    "running": ("anabranch.diagnosis.running", "running"),
    "serve": ("anabranch.serving.serve", "serve"),
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

_DEPLOY = ("anabranch.serving.deploying", "anabranch.serving.deployment", "anabranch.serving.ordered_runs")
# Public modules, each with the modules that it takes its names from.
_MODULES: dict[str, tuple[str, ...]] = {
    "cache_policies": ("anabranch.core.policies",),
    "deploy": _DEPLOY,
    "deployments": _DEPLOY,
    "errors": ("anabranch.core.errors",),
    "futures": (
        "anabranch.core.future_lists", "anabranch.core.futures", "anabranch.core.map_states", "anabranch.core.waiting",
    ),
    "schedules": ("anabranch.scheduling.cron", "anabranch.scheduling.interval", "anabranch.scheduling.rrule"),
    "state": ("anabranch.core.states",),
    "states": ("anabranch.core.states",),
    "triggers": ("anabranch.engine.triggers",),
}

__all__ = [*_HOMES, "__version__"]


class _PublicModule(ModuleType):
    """A module of this name to `import`; its attributes are those of the modules that it stands for."""

    def __getattr__(self, name: str) -> Any:
        if name == "__all__":
            return [known for known in dir(self) if not known.startswith("_")]
        if not name.startswith("__"):  # so that code that scans all modules for dunder names loads nothing
            for home in self._homes():
                if hasattr(home, name):
                    return getattr(home, name)
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")

    def __dir__(self) -> list[str]:
        return sorted({name for home in self._homes() for name in vars(home) if _is_of(home, name)})

    def _homes(self) -> list[ModuleType]:
        return [importlib.import_module(home) for home in _MODULES[self.__name__.rpartition(".")[2]]]


def _is_of(home: ModuleType, name: str) -> bool:
    """Whether a module defines this name, and for others."""
    value = getattr(home, name)
    if name.startswith("_") or name == "TYPE_CHECKING" or type(value) is ModuleType:
        return False
    return (getattr(value, "__module__", None) or home.__name__) == home.__name__


sys.modules.update({f"{__name__}.{name}": _PublicModule(f"{__name__}.{name}") for name in _MODULES})


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        if name in _MODULES:
            return sys.modules[f"{__name__}.{name}"]
        raise AttributeError(f"module 'anabranch' has no attribute {name!r}")
    module = importlib.import_module(home[0])
    found = module if home[1] is None else getattr(module, home[1])
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
