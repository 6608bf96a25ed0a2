"""Cache keys: the stored value that a run may use in place of computing its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anabranch.core.asking import name_of, shown, text, told
from anabranch.core.errors import SerializationError
from anabranch.core.policies import EVERYTHING, Inputs, KeyContext, hash_input

if TYPE_CHECKING:
    from anabranch.core.context import TaskRun
    from anabranch.core.policies import Digest
    from anabranch.core.task_spec import TaskSpec


class KeyFailed(Exception):
    """Raised when no key can be computed: the caller logs `reason` and the run goes on uncached."""

    def __init__(self, reason: str, lasting: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.lasting = lasting  # it holds for the next runs of the task too


def key_of(
    spec: TaskSpec,
    run: TaskRun,
    params: dict[str, Any],
    flow_parameters: dict[str, Any] | None = None,
    digest: Digest | None = None,
) -> str | None:
    """Return the cache key of a run, None when it is not cached.

    `cache_key_fn` wins over `cache_policy`.

    Args:
        params: the call's bound arguments, by name.
        flow_parameters: the flow run's, where the policy asks for them.
        digest: hashes one value; a `core.keys.ConstantHasher` hashes constants once.

    Raises:
        KeyFailed: the function raised or returned no text, or an input cannot be hashed.
    """
    options = spec.options
    fn, policy = options.cache_key_fn, options.cache_policy
    if fn is None and policy is None:
        return None
    inputs = Inputs(params, digest or hash_input)
    try:
        if fn is not None:
            key = fn(KeyContext(spec, run, inputs), params)
        else:
            key = policy.compute_key(spec, run, inputs, flow_parameters)
    except SerializationError as error:
        raise KeyFailed(text(error), lasting=True) from error
    except Exception as error:  # the user's function or policy raised
        raise KeyFailed(f"{_who(fn, policy)} raised {told(error)}") from error
    if key is not None and not isinstance(key, str):
        raise KeyFailed(f"{_who(fn, policy)} must return a string or None, got {type(key).__name__}")
    return key or None


def uses_inputs(policy: Any) -> bool:
    """Return whether keys of this policy depend on the call's arguments."""
    return "inputs" in _reads(policy)


def needs_source(policy: Any) -> bool:
    """Return whether workers need the function's source text for keys of this policy."""
    return "source" in _reads(policy)


def needs_flow_parameters(policy: Any) -> bool:
    """Return whether the flow's parameters have to travel to workers for keys of this policy."""
    return "flow_parameters" in _reads(policy)


def _reads(policy: Any) -> frozenset[str]:
    return frozenset() if policy is None else getattr(policy, "reads", EVERYTHING)


def _who(fn: Any, policy: Any) -> str:
    return f"cache_key_fn {name_of(fn)!r}" if fn is not None else f"cache policy {shown(policy)}"
