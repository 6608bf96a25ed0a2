"""Prefect's cache policies: which runs of a task count as the same."""

from __future__ import annotations

import copy
import inspect
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from anabranch.compat.prefect.exceptions import HashError
from anabranch.compat.prefect.utilities.hashing import hash_objects

if TYPE_CHECKING:
    from collections.abc import Callable

STABLE_TRANSFORMS: dict[type, Callable[[Any], Any]] = {}
_ADVICE = """

This often occurs when task inputs contain objects that cannot be cached like locks, file handles, or other system \
resources.

To resolve this, you can:
  1. Exclude these arguments by defining a custom `cache_key_fn`
  2. Disable caching by passing `cache_policy=NO_CACHE`
"""


@dataclass
class CachePolicy:
    """Base of the policies.

    Args:
        key_storage: where values lie, by key.
        isolation_level: whether two runs of one key wait for each other.
        lock_manager: what they wait by.
    """

    key_storage: Any = None
    isolation_level: Any = None
    lock_manager: Any = None

    @classmethod
    def from_cache_key_fn(cls, cache_key_fn: Callable[..., str | None]) -> CacheKeyFnPolicy:
        """Return the policy of a function `(context, parameters)` that gives the key."""
        return CacheKeyFnPolicy(cache_key_fn=cache_key_fn)

    def configure(self, key_storage: Any = None, lock_manager: Any = None, isolation_level: Any = None) -> Self:
        """Return the policy with other storage, locks or isolation; None leaves one as it is."""
        made = copy.deepcopy(self)
        given = {"key_storage": key_storage, "lock_manager": lock_manager, "isolation_level": isolation_level}
        for name, value in given.items():
            if value is not None:
                setattr(made, name, value)
        return made

    def compute_key(self, task_ctx: Any, inputs: Any, flow_parameters: Any, **kwargs: Any) -> str | None:
        """Return the key of a run; None where this policy makes none."""
        raise NotImplementedError

    def __sub__(self, other: str) -> CachePolicy:
        _check_name(other)
        return self

    def __add__(self, other: CachePolicy) -> CachePolicy:
        if isinstance(other, _None):
            return self
        return CompoundCachePolicy(policies=[self, other], **_agreed(self, other))


def _check_name(other: object) -> None:
    if not isinstance(other, str):
        raise TypeError("Can only subtract strings from key policies.")


def _agreed(mine: CachePolicy, theirs: CachePolicy) -> dict[str, Any]:
    """Return the storage, locks and isolation of a sum; raises ValueError where both have different ones."""
    words = {
        "key_storage": "storage locations", "isolation_level": "isolation levels",
        "lock_manager": "lock implementations",
    }  # fmt: skip
    found = {}
    for name, word in words.items():
        one, other = getattr(mine, name), getattr(theirs, name)
        if one is not None and other is not None and one != other:
            raise ValueError(f"Cannot add CachePolicies with different {word}.")
        found[name] = one or other
    return found


@dataclass
class CacheKeyFnPolicy(CachePolicy):
    """The key that a function `(context, parameters)` gives."""

    cache_key_fn: Callable[..., str | None] | None = None

    def compute_key(self, task_ctx: Any, inputs: Any, flow_parameters: Any, **kwargs: Any) -> str | None:
        return None if self.cache_key_fn is None else self.cache_key_fn(task_ctx, inputs)


@dataclass
class CompoundCachePolicy(CachePolicy):
    """The same by every part; parts without a key are left out."""

    policies: list[CachePolicy] = field(default_factory=list)

    def __post_init__(self) -> None:
        flat = [part for one in self.policies for part in getattr(one, "policies", [one])]
        inputs = [part for part in flat if isinstance(part, Inputs)]
        self.policies = [part for part in flat if not isinstance(part, Inputs)]
        if inputs:
            self.policies.append(Inputs(exclude=sorted({name for part in inputs for name in part.exclude})))

    def compute_key(self, task_ctx: Any, inputs: Any, flow_parameters: Any, **kwargs: Any) -> str | None:
        given = {"task_ctx": task_ctx, "inputs": inputs, "flow_parameters": flow_parameters, **kwargs}
        keys = [key for part in self.policies if (key := part.compute_key(**given)) is not None]
        return hash_objects(*keys, raise_on_failure=True) if keys else None

    def __add__(self, other: CachePolicy) -> CachePolicy:
        return CompoundCachePolicy(policies=[*self.policies, other], **_agreed(self, other))

    def __sub__(self, other: str) -> CachePolicy:
        _check_name(other)
        if not any(isinstance(part, Inputs) for part in self.policies):
            return self
        return CompoundCachePolicy(policies=[*self.policies, Inputs(exclude=[other])])


@dataclass
class _None(CachePolicy):
    """No key: the run is not cached."""

    def compute_key(self, task_ctx: Any, inputs: Any, flow_parameters: Any, **kwargs: Any) -> str | None:
        return None

    def __add__(self, other: CachePolicy) -> CachePolicy:
        return other


@dataclass
class TaskSource(CachePolicy):
    """The same source text of the task."""

    def compute_key(self, task_ctx: Any, inputs: Any, flow_parameters: Any, **kwargs: Any) -> str | None:
        if not task_ctx:
            return None
        text = getattr(task_ctx.task, "source_code", None)
        return hash_objects(_source(task_ctx.task) if text is None else text, raise_on_failure=True)


def _source(task: Any) -> Any:
    try:
        return inspect.getsource(task)
    except TypeError:
        return inspect.getsource(type(task.fn))
    except OSError as error:
        if "source code" not in str(error):
            raise
        return task.fn.__code__.co_code


@dataclass
class FlowParameters(CachePolicy):
    """The same parameters of the flow run."""

    def compute_key(self, task_ctx: Any, inputs: Any, flow_parameters: Any, **kwargs: Any) -> str | None:
        return hash_objects(flow_parameters, raise_on_failure=True) if flow_parameters else None


@dataclass
class RunId(CachePolicy):
    """The same flow run; outside of one, the same task run."""

    def compute_key(self, task_ctx: Any, inputs: Any, flow_parameters: Any, **kwargs: Any) -> str | None:
        if not task_ctx:
            return None
        run = task_ctx.task_run
        return str(run.id if run.flow_run_id is None else run.flow_run_id)


@dataclass
class Inputs(CachePolicy):
    """The same arguments, without those that are excluded."""

    exclude: list[str] = field(default_factory=list)

    def compute_key(self, task_ctx: Any, inputs: Any, flow_parameters: Any, **kwargs: Any) -> str | None:
        if not inputs:
            return None
        _know_frames()
        seen = {}
        for name, value in inputs.items():
            if name not in self.exclude:
                stable = STABLE_TRANSFORMS.get(type(value))
                seen[name] = value if stable is None else stable(value)
        try:
            return hash_objects(seen, raise_on_failure=True)
        except HashError as error:
            raise ValueError(f"{error}{_ADVICE}") from error

    def __sub__(self, other: str) -> CachePolicy:
        _check_name(other)
        return Inputs(exclude=[*self.exclude, other])


def _know_frames() -> None:
    """Hash a DataFrame by its columns, because its pickle is not the same each time; imports nothing."""
    pandas = sys.modules.get("pandas")
    if pandas is not None and hasattr(pandas, "DataFrame"):
        STABLE_TRANSFORMS.setdefault(pandas.DataFrame, lambda frame: [frame[name] for name in sorted(frame.columns)])


INPUTS = Inputs()
NONE = _None()
NO_CACHE = _None()
TASK_SOURCE = TaskSource()
FLOW_PARAMETERS = FlowParameters()
RUN_ID = RunId()
DEFAULT = INPUTS + TASK_SOURCE + RUN_ID
