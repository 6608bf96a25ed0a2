"""Prefect's `prefect.states`: constructors of states, and what to do with several."""

from __future__ import annotations

import importlib
import sys
import traceback
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from anabranch.compat.prefect.exceptions import PausedRun as PausedRun
from anabranch.compat.prefect.exceptions import TerminationSignal
from anabranch.compat.prefect.run_states import State, StateDetails
from anabranch.compat.prefect.state_exceptions import is_state_iterable, payload, state_exception
from anabranch.compat.prefect.utilities.asyncutils import awaited, either
from anabranch.core.states import StateType

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType


def _made(kind: str, name: str | None = None) -> Any:
    def make(cls: type[State] = State, **given: Any) -> State:
        given.setdefault("name", name)
        return cls(type=kind, **given)

    make.__name__ = make.__qualname__ = name or kind.capitalize()
    make.__doc__ = f"Return a {make.__name__} state."
    return make


Completed = _made("COMPLETED")
Running = _made("RUNNING")
Failed = _made("FAILED")
Crashed = _made("CRASHED")
Cancelling = _made("CANCELLING")
Cancelled = _made("CANCELLED")
Pending = _made("PENDING")
Submitting = _made("PENDING", "Submitting")
InfrastructurePending = _made("PENDING", "InfrastructurePending")
Retrying = _made("RUNNING", "Retrying")


def Scheduled(cls: type[State] = State, scheduled_time: datetime | None = None, **given: Any) -> State:
    """Return a Scheduled state; for now, unless a time is given."""
    details = _details(given)
    details.scheduled_time = scheduled_time or details.scheduled_time or datetime.now(UTC)
    return cls(type="SCHEDULED", state_details=details, **given)


def AwaitingRetry(cls: type[State] = State, scheduled_time: datetime | None = None, **given: Any) -> State:
    """Return a Scheduled state for the next attempt."""
    return Scheduled(cls, scheduled_time, **{"name": "AwaitingRetry", **given})


def AwaitingConcurrencySlot(cls: type[State] = State, scheduled_time: datetime | None = None, **given: Any) -> State:
    """Return a Scheduled state of a run that waits for a slot."""
    return Scheduled(cls, scheduled_time, **{"name": "AwaitingConcurrencySlot", **given})


def Late(cls: type[State] = State, scheduled_time: datetime | None = None, **given: Any) -> State:
    """Return a Scheduled state of a run that has not begun in time."""
    return Scheduled(cls, scheduled_time, **{"name": "Late", **given})


def Paused(
    cls: type[State] = State, timeout_seconds: int | None = None, pause_expiration_time: datetime | None = None,
    reschedule: bool = False, pause_key: str | None = None, **given: Any,
) -> State:  # fmt: skip
    """Return a Paused state; raises ValueError with both a duration and a time of its end."""
    if timeout_seconds is not None and pause_expiration_time is not None:
        raise ValueError("Cannot supply both a pause_expiration_time and timeout_seconds")
    details = _details(given)
    if timeout_seconds is not None:
        pause_expiration_time = datetime.now(UTC) + timedelta(seconds=timeout_seconds)
    details.pause_timeout, details.pause_reschedule = pause_expiration_time, reschedule
    details.pause_key = pause_key
    return cls(type="PAUSED", state_details=details, **given)


def Suspended(cls: type[State] = State, **given: Any) -> State:
    """Return a Paused state of a run that has left its process."""
    return Paused(cls, **{"reschedule": True, "name": "Suspended", **given})


def _details(given: dict[str, Any]) -> StateDetails:
    found = given.pop("state_details", None)
    return found if isinstance(found, StateDetails) else StateDetails(**(found or {}))


get_state_exception = either(state_exception)
aget_state_exception = awaited(state_exception)


def _raised(state: State) -> None:
    if state.is_failed() or state.is_crashed() or state.is_cancelled():
        raise state_exception(state)


raise_state_exception = either(_raised)
araise_state_exception = awaited(_raised)


@awaited
def get_state_result(state: State, raise_on_failure: bool = True, retry_result_failure: bool = True) -> Any:
    """Return the result of a state, see `State.result`."""
    return state.result(raise_on_failure, _sync=True)


class StateGroup:
    """Several states, counted."""

    def __init__(self, states: Iterable[State]) -> None:
        self.states = list(states)
        self.type_counts = Counter(state.type for state in self.states)
        self.total_count = len(self.states)
        self.cancelled_count = self.type_counts[StateType.CANCELLED]
        self.final_count = sum(state.is_final() for state in self.states)
        self.not_final_count = self.total_count - self.final_count
        self.paused_count = self.type_counts[StateType.PAUSED]

    @property
    def fail_count(self) -> int:
        return self.type_counts[StateType.FAILED] + self.type_counts[StateType.CRASHED]

    def all_completed(self) -> bool:
        return self.type_counts[StateType.COMPLETED] == self.total_count

    def any_cancelled(self) -> bool:
        return self.cancelled_count > 0

    def any_failed(self) -> bool:
        return self.fail_count > 0

    def any_paused(self) -> bool:
        return self.paused_count > 0

    def all_final(self) -> bool:
        return self.not_final_count == 0

    def counts_message(self) -> str:
        """Return the counts as one line."""
        told = [f"total={self.total_count}"]
        if self.not_final_count:
            told.append(f"not_final={self.not_final_count}")
        told += [f"{kind.value!r}={count}" for kind, count in self.type_counts.items() if count]
        return ", ".join(told)

    def verdict(self) -> tuple[StateType, str]:
        """Return the type and the message of the one state that stands for all."""
        total = self.total_count
        if self.all_completed():
            return StateType.COMPLETED, "All states completed."
        if self.any_cancelled():
            return StateType.CANCELLED, f"{self.cancelled_count}/{total} states cancelled."
        if self.any_paused():
            return StateType.PAUSED, f"{self.paused_count}/{total} states paused."
        if self.any_failed():
            return StateType.FAILED, f"{self.fail_count}/{total} states failed."
        return StateType.FAILED, f"{self.not_final_count}/{total} states are not final."


def format_exception(exc: BaseException, tb: TracebackType | None = None) -> str:
    """Return an exception as text, with a traceback where one is given."""
    if tb is not None:
        return "".join(traceback.format_exception(type(exc), exc, tb=tb))
    return f"{type(exc).__name__}: {exc}"


def crash_message(exc: BaseException) -> str:
    """Return what a Crashed state says about the exception that ended its run."""
    if type(exc).__name__ == "CancelledError" and not isinstance(exc, Exception):
        return "Execution was cancelled by the runtime environment."
    if isinstance(exc, TerminationSignal):
        return "Execution was aborted by a termination signal."
    if isinstance(exc, KeyboardInterrupt):
        return "Execution was aborted by an interrupt signal."
    if isinstance(exc, SystemExit):
        return "Execution was aborted by Python system exit call."
    return f"Execution was interrupted by an unexpected exception: {format_exception(exc)}"


def active_exception() -> BaseException:
    """Return the exception that is handled here; raises ValueError where there is none."""
    found = sys.exc_info()[1]
    if found is None:
        raise ValueError("Exception was not passed and no active exception could be found.")
    return found


__all__ = [
    "AwaitingConcurrencySlot", "AwaitingRetry", "Cancelled", "Cancelling", "Completed", "Crashed", "Failed",
    "InfrastructurePending", "Late", "Paused", "Pending", "Retrying", "Running", "Scheduled", "State", "StateDetails",
    "StateGroup", "StateType", "Submitting", "Suspended", "active_exception", "aget_state_exception",
    "araise_state_exception", "crash_message", "format_exception", "get_state_exception", "get_state_result",
    "is_state_iterable", "payload", "raise_state_exception",
]  # fmt: skip

_RESULTS = ("exception_to_crashed_state", "exception_to_failed_state", "return_value_to_state")


def __getattr__(name: str) -> Any:
    if name in _RESULTS:  # they need the stores of results, which other programs do not load
        return getattr(importlib.import_module("anabranch.compat.prefect.state_results"), name)
    raise AttributeError(f"module 'prefect.states' has no attribute {name!r}")
