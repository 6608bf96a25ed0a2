"""Prefect 1's cache validators, as what a cache key is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anabranch.compat.prefect.utilities.hashing import hash_objects

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_HIDDEN = ("_upstream", "_deep")


class _Key:
    """A key of the task's name and some values.

    Args:
        reads: "inputs" or "parameters", those of the flow; "" for none.
        names: which of them; None: all.
    """

    def __init__(self, reads: str = "", names: Sequence[str] | None = None) -> None:
        self.reads = reads
        self.names = names
        self.__name__ = f"all_{reads}" if reads else "duration_only"

    def __call__(self, context: Any, parameters: dict[str, Any]) -> str | None:
        read = parameters
        if self.reads == "parameters":
            read = context.task.plain_fn.about.parameters
        chosen = {
            name: value for name, value in read.items()
            if self.reads and name not in _HIDDEN and (self.names is None or name in self.names)
        }  # fmt: skip
        digits = hash_objects(chosen) if chosen else ""
        return None if digits is None else f"{context.task.name}-{self.__name__}-{digits}"


duration_only = _Key()
all_inputs = _Key("inputs")
all_parameters = _Key("parameters")


def partial_inputs_only(validate_on: Sequence[str] | None = None) -> Any:
    """Use a cached value where these inputs are the same."""
    return _Key("inputs", tuple(validate_on or ()))


def partial_parameters_only(validate_on: Sequence[str] | None = None) -> Any:
    """Use a cached value where these parameters of the flow are the same."""
    return _Key("parameters", tuple(validate_on or ()))


def never_use(context: Any, parameters: Any) -> None:
    """Use no cached value."""


def key_fn(validator: Any) -> Callable[..., Any]:
    """Return the key function of a validator; raises NotImplementedError for one of the user's."""
    if validator is None:
        return duration_only
    if isinstance(validator, _Key) or validator is never_use:
        return validator
    raise NotImplementedError(
        f"anabranch has no cache_validator={validator!r}: give one of prefect.engine.cache_validators, or cache_key_fn="
    )


__all__ = [
    "all_inputs", "all_parameters", "duration_only", "never_use", "partial_inputs_only", "partial_parameters_only",
]  # fmt: skip
