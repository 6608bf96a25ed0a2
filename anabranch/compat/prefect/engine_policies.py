"""Prefect's cache policies as the engine asks them for keys."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from anabranch.compat.prefect.cache_policies import (
    NO_CACHE,
    CacheKeyFnPolicy,
    CachePolicy,
    CompoundCachePolicy,
    Inputs,
)
from anabranch.compat.prefect.runs import view
from anabranch.compat.prefect.settings import setting
from anabranch.core.owners import task_of
from anabranch.core.policies import EVERYTHING

if TYPE_CHECKING:
    from anabranch.compat.prefect.kept import Kept
    from anabranch.core.context import TaskRun
    from anabranch.core.task_spec import TaskSpec


class EnginePolicy:
    """A policy of Prefect's; where it reads a call's arguments alone, different tasks never share a key.

    Args:
        policy: a `CachePolicy`, or any object with its `compute_key`.
        store: where its values are kept; None: in the result store of the program.
    """

    caches = True
    reads = EVERYTHING

    def __init__(self, policy: Any, store: Kept | None = None) -> None:
        self.policy = policy
        self.result_store = store

    @property
    def cache_key_fn(self) -> Any:
        """The policy; its being there says that it wants the Task."""
        return self.policy

    def compute_key(
        self, spec: TaskSpec, run: TaskRun, inputs: dict[str, Any], flow_parameters: dict[str, Any] | None = None
    ) -> str | None:
        task = task_of(spec)
        context = SimpleNamespace(task=task, task_run=view(run), parameters=dict(inputs))
        found = self.policy.compute_key(task_ctx=context, inputs=dict(inputs), flow_parameters=flow_parameters or {})
        if found is not None and self.result_store is None and _by_arguments(self.policy):
            return f"{spec.name}-{found}"
        return found  # type: ignore[no-any-return]


def _by_arguments(policy: Any) -> bool:
    parts = policy.policies if isinstance(policy, CompoundCachePolicy) else [policy]
    return any(type(part) is Inputs for part in parts) and not any(isinstance(p, CacheKeyFnPolicy) for p in parts)


class StorageKey:
    """The key of `result_storage_key`: a template over parameters and runs."""

    def __init__(self, template: str) -> None:
        self.template = template

    def compute_key(self, task_ctx: Any, inputs: Any, flow_parameters: Any, **kwargs: Any) -> str:
        flow_run = SimpleNamespace(id=task_ctx.task_run.flow_run_id)
        return self.template.format(parameters=inputs, task_run=task_ctx.task_run, flow_run=flow_run)


def caches(policy: Any) -> bool:
    """Return whether a policy ever gives a key."""
    return isinstance(policy, CachePolicy) and type(policy) is not type(NO_CACHE)


def refreshed(given: bool | None) -> bool:
    """Return whether cached values are made anew: what the task says, else the setting."""
    return bool(setting("PREFECT_TASKS_REFRESH_CACHE")) if given is None else given
