"""The exception of a state: its own, that of a state inside, or one made of its words."""

from __future__ import annotations

import importlib
from typing import Any

from anabranch.core.errors import CancelledRun, CrashedRun, FailedRun
from anabranch.core.exceptions import twin
from anabranch.core.states import State, ValueSource

_MADE: dict[str, tuple[type[FailedRun | CrashedRun | CancelledRun], str]] = {
    "FAILED": (FailedRun, "Run failed."),
    "CRASHED": (CrashedRun, "Run crashed."),
    "CANCELLED": (CancelledRun, "Run cancelled."),
}


def payload(data: Any) -> Any:
    """Return the value that a state's data stands for: of a run, of a result record, or of the metadata of one."""
    if isinstance(data, ValueSource):
        return data.value()
    if hasattr(data, "metadata") and hasattr(data, "result"):
        return data.result
    if hasattr(data, "storage_key") and hasattr(data, "serializer"):
        return importlib.import_module("anabranch.compat.prefect.results").value_of(data)
    return data


def is_state_iterable(obj: Any) -> bool:
    """Return whether this is a list, tuple or set of states alone."""
    return isinstance(obj, (list, tuple, set)) and bool(obj) and all(isinstance(one, State) for one in obj)


def state_exception(state: State[Any]) -> BaseException:
    """Return the exception of a state that failed, crashed or was cancelled.

    Raises:
        ValueError: the state, or all states inside of it, ended otherwise.
        TypeError: its data is nothing to make an exception of.
    """
    if state.type.value not in _MADE:
        raise ValueError(f"Expected failed or crashed state got {state!r}.")
    made, words = _MADE[state.type.value]
    data = payload(state.data)
    if data is None:
        return made(state.message or words)
    if isinstance(data, BaseException):
        return twin(data) if isinstance(state.data, ValueSource) else data
    if isinstance(data, str):
        return made(data)
    if isinstance(data, State):
        return state_exception(data)
    if is_state_iterable(data):
        for one in data:
            if one.type.value in _MADE:
                return state_exception(one)
        raise ValueError("Failed state result was an iterable of states but none were failed.")
    raise TypeError(
        f"Unexpected result for failed state: {data!r} —— {type(data).__name__} cannot be resolved into an exception"
    )
