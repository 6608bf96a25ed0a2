"""The arguments of Prefect's `@task`: checked as Prefect checks them, and turned into ours."""

from __future__ import annotations

import dataclasses
import inspect
import logging
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from anabranch.compat.prefect.cache_policies import DEFAULT, NO_CACHE, CachePolicy
from anabranch.compat.prefect.changes import changed
from anabranch.compat.prefect.engine_policies import EnginePolicy, StorageKey, caches, refreshed
from anabranch.compat.prefect.hooks import Hook, checked, engine_hooks
from anabranch.compat.prefect.kept import OwnKey, asked_store
from anabranch.compat.prefect.settings import setting
from anabranch.compat.prefect.utilities.annotations import NotSet
from anabranch.compat.prefect.utilities.calls import raise_for_reserved_arguments
from anabranch.compat.prefect.utilities.hashing import hash_objects
from anabranch.compat.prefect1.handlers import handlers
from anabranch.compat.prefect1.triggers import engine_trigger

if TYPE_CHECKING:
    from collections.abc import Callable

_HOOKS = ("on_completion", "on_failure", "on_running")
_CLEARED = frozenset(  # by None, in `with_options`
    {"retries", "persist_result", "refresh_cache", "log_prints", "task_run_name", "cache_policy",
     "retry_delay_seconds", "retry_jitter_factor", "result_storage", "result_serializer", "result_storage_key"}
)  # fmt: skip
_logger = logging.getLogger("prefect.tasks")


@dataclass
class TaskArguments:
    """What `@task(...)` was given, and how Prefect reads it."""

    name: str | None = None
    description: str | None = None
    tags: Any = None
    version: str | None = None
    cache_policy: Any = NotSet
    cache_key_fn: Callable[..., Any] | None = None
    cache_expiration: timedelta | None = None
    task_run_name: Any = None
    retries: Any = None
    retry_delay_seconds: Any = None
    retry_jitter_factor: float | None = None
    persist_result: bool | None = None
    result_storage: Any = None
    result_serializer: Any = None
    result_storage_key: str | None = None
    cache_result_in_memory: bool = True
    timeout_seconds: float | None = None
    log_prints: bool | None = False
    refresh_cache: bool | None = None
    on_completion: Any = None
    on_failure: Any = None
    on_running: Any = None
    on_rollback: Any = None
    on_commit: Any = None
    retry_condition_fn: Any = None
    viz_return_value: Any = None
    asset_deps: Any = None
    # Prefect 1's
    trigger: Any = None
    state_handlers: Any = None
    retry_on: Any = None
    skip_on_upstream_skip: bool = True
    nout: int | None = None
    slug: str | None = None
    cache_validator: Any = None
    checkpoint: bool | None = None
    result: Any = None
    target: Any = None

    def with_changes(self, given: dict[str, Any]) -> TaskArguments:
        """Return the arguments with others laid over; None and NotSet leave one as it is."""
        return changed(self, "Task", given, _CLEARED)

    def attributes(self, fn: Callable[..., Any]) -> dict[str, Any]:
        """Return the public attributes of the task; raises TypeError and ValueError as Prefect does."""
        raise_for_reserved_arguments(fn, ["return_state", "wait_for"])
        found = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        hooks = {f"{name}_hooks": checked(found.pop(name), "Task", name) for name in _HOOKS}
        name = self.task_run_name
        if name is not None and not isinstance(name, str) and not callable(name):
            raise TypeError(
                f"Expected string or callable for 'task_run_name'; got {type(name).__name__} instead."
            )
        if self.retry_condition_fn is not None and not callable(self.retry_condition_fn):
            kind = type(self.retry_condition_fn).__name__
            raise TypeError(f"Expected `retry_condition_fn` to be callable, got {kind} instead.")
        policy, persist = self._caching()
        del found["name"]
        return {
            **found,
            **hooks,
            **self._retrying(),
            "on_rollback_hooks": list(found.pop("on_rollback") or []),
            "on_commit_hooks": list(found.pop("on_commit") or []),
            "asset_deps": list(self.asset_deps or []),
            "cache_policy": policy,
            "description": self.description or inspect.getdoc(fn),
            "persist_result": persist,
            "source_code": _source(fn),
            "tags": set(self.tags or ()),
            "task_key": _task_key(fn),
            "timeout_seconds": float(self.timeout_seconds) if self.timeout_seconds else None,
        }

    def _retrying(self) -> dict[str, Any]:
        retries = self.retries if self.retries not in (None, NotSet) else setting("PREFECT_TASK_DEFAULT_RETRIES")
        delay = self.retry_delay_seconds
        if delay is None or delay is NotSet:
            delay = setting("PREFECT_TASK_DEFAULT_RETRY_DELAY_SECONDS") or None
        if callable(delay):
            delay = delay(retries)
        elif not isinstance(delay, (list, int, float, type(None))):
            raise TypeError(
                "Invalid `retry_delay_seconds` provided; must be an int, float, list or callable. "
                f"Received type {type(delay)}"
            )
        if isinstance(delay, list) and len(delay) > 50:
            raise ValueError("Can not configure more than 50 retry delays per task.")
        if self.retry_jitter_factor is not None and self.retry_jitter_factor < 0:
            raise ValueError("`retry_jitter_factor` must be >= 0.")
        return {"retries": retries, "retry_delay_seconds": delay}

    def _caching(self) -> tuple[Any, bool | None]:
        """Return the policy in effect, and whether values persist (None: as the run around)."""
        policy, persist = self.cache_policy, self.persist_result
        if policy is NotSet and setting("PREFECT_TASKS_DEFAULT_NO_CACHE"):
            policy = NO_CACHE
        if self.cache_key_fn is not None:
            if policy is not NotSet:
                _logger.warning(
                    "Both `cache_policy` and `cache_key_fn` are set on task %s. `cache_key_fn` will be used.", self.name
                )
            policy = CachePolicy.from_cache_key_fn(self.cache_key_fn)
        asked = policy is not NotSet and policy is not None and policy != NO_CACHE
        stored = any(one is not None for one in (self.result_storage_key, self.result_storage, self.result_serializer))
        if persist is None and (asked or stored):
            persist = True
        if setting("PREFECT_TASKS_DISABLE_CACHING"):
            policy = NO_CACHE
        if persist is False:
            if asked and policy != NO_CACHE:
                _logger.warning("Ignoring `cache_policy` because `persist_result` is False")
            return (None if policy is None else NO_CACHE), persist
        if policy is NotSet and self.result_storage_key is None:
            return DEFAULT, persist
        if policy != NO_CACHE and self.result_storage_key:
            return None, persist
        return policy, persist


def engine_options(given: dict[str, Any]) -> dict[str, Any]:
    """Return our options for the attributes of a task."""
    persists = given["persist_result"]
    if persists is None:
        persists = setting("PREFECT_TASKS_DEFAULT_PERSIST_RESULT")
    if persists is None:
        persists = setting("PREFECT_RESULTS_PERSIST_BY_DEFAULT")
    policy = given["cache_policy"]
    if given["result_storage_key"]:
        policy = StorageKey(given["result_storage_key"])
    store = asked_store(given["result_storage"], given["result_serializer"], policy) if persists else None
    if store is not None and not isinstance(policy, StorageKey) and not caches(policy):
        policy = OwnKey()
    cached = bool(persists) and (isinstance(policy, (OwnKey, StorageKey)) or caches(policy))
    condition = given["retry_condition_fn"]
    return {
        "cache_expiration": _not_before_now(given["cache_expiration"]),
        "cache_policy": EnginePolicy(policy, store) if cached else None,
        "description": given["description"],
        "log_prints": given["log_prints"] or None,
        "on_commit": tuple(given["on_commit_hooks"]),
        "on_rollback": tuple(given["on_rollback_hooks"]),
        "on_completion": engine_hooks(given["on_completion_hooks"]),
        "on_failure": engine_hooks(given["on_failure_hooks"]),
        "on_running": engine_hooks(given["on_running_hooks"]),
        "persist_result": bool(persists) if given["persist_result"] is not None else None,
        # Each run has a key of its own, so a look for its value finds none.
        "refresh_cache": isinstance(policy, OwnKey) or refreshed(given["refresh_cache"]),
        "retries": given["retries"],
        "retry_condition_fn": None if condition is None else Hook(condition),
        "retry_delay_seconds": given["retry_delay_seconds"],
        "retry_jitter_factor": given["retry_jitter_factor"],
        "retry_on": given["retry_on"] or (),
        "state_handlers": handlers(given["state_handlers"]),
        "tags": sorted(given["tags"]),
        "task_run_name": given["task_run_name"],
        "timeout_seconds": given["timeout_seconds"],
        "trigger": engine_trigger(given["trigger"]),
        "version": given["version"],
    }


def _not_before_now(expiration: Any) -> Any:
    """Return how long a value counts; one that is over before it begins never does."""
    return type(expiration)(0) if isinstance(expiration, timedelta) and expiration < timedelta(0) else expiration


def _source(fn: Callable[..., Any]) -> str | None:
    try:
        return inspect.getsource(fn)
    except (TypeError, OSError):
        return None


def _task_key(fn: Any) -> str:
    """Return the name of a function with digits of its code."""
    if not hasattr(fn, "__qualname__"):
        return f"{type(fn).__qualname__}-{_digits(fn)}"
    name = fn.__qualname__.rpartition(".")[2]
    return f"{name}-{_digits(fn)}"


def _digits(fn: Any) -> str:
    try:
        found = hash_objects(fn.__code__)
    except AttributeError:
        found = hash_objects(_source(type(fn)))
    return (found or "unknown")[:8]
