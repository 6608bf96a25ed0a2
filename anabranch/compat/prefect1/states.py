"""Prefect 1's states: classes of their own; `result` is a value.

    State
      Pending     Scheduled     Retrying
      Running
      Finished    Success       Cached, Mapped, Skipped
                  Failed        TimedOut, TriggerFailed, ValidationFailed
                  Cancelled
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from anabranch.core import states as ours


class Skip:
    """The value of a run that was skipped; what depends on it is skipped too."""

    def __init__(self, message: str = "") -> None:
        self.message = message

    def __repr__(self) -> str:
        return f"Skip({self.message!r})"


class State:
    """The state of a run.

    Args:
        result: the value, or the exception of a run that failed.
        start_time: when a run that waits begins.
    """

    def __init__(
        self, message: str | None = None, result: Any = None, context: dict[str, Any] | None = None,
        start_time: datetime | None = None, **_: Any,
    ) -> None:  # fmt: skip
        self.message = message
        self.result = result
        self.context = dict(context or {})
        self.start_time = start_time
        self.timestamp = datetime.now(UTC)

    def is_pending(self) -> bool:
        return isinstance(self, Pending)

    def is_scheduled(self) -> bool:
        return isinstance(self, Scheduled)

    def is_retrying(self) -> bool:
        return isinstance(self, Retrying)

    def is_running(self) -> bool:
        return isinstance(self, Running)

    def is_finished(self) -> bool:
        return isinstance(self, Finished)

    def is_successful(self) -> bool:
        return isinstance(self, Success)

    def is_cached(self) -> bool:
        return isinstance(self, Cached)

    def is_mapped(self) -> bool:
        return isinstance(self, Mapped)

    def is_skipped(self) -> bool:
        return isinstance(self, Skipped)

    def is_failed(self) -> bool:
        return isinstance(self, Failed)

    def children(self) -> list[State]:
        """Return the states of a map's items; of any other, itself."""
        return [self]

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and isinstance(other, State) and bool(self.result == other.result)

    def __hash__(self) -> int:
        return id(self)

    def __repr__(self) -> str:
        return f'<{type(self).__name__}: "{self.message}">' if self.message else f"<{type(self).__name__}>"


class Pending(State):
    """It has not begun."""


class Scheduled(Pending):
    """It begins at a time."""


class Retrying(Scheduled):
    """An attempt failed, another one begins at `start_time`."""


class Running(State):
    """It is under way."""


class Finished(State):
    """It has ended."""


class Success(Finished):
    """It has ended well."""


class Cached(Success):
    """Its value came from the cache."""


class Mapped(Success):
    """A map has ended; `map_states` has the states of its items, `result` their values."""

    def __init__(self, message: str | None = None, map_states: list[State] | None = None, **given: Any) -> None:
        self.map_states = list(map_states or [])
        given.setdefault("result", [state.result for state in self.map_states])
        super().__init__(message, **given)

    def children(self) -> list[State]:
        return self.map_states


class Skipped(Success):
    """It did not run, and what depends on it does not either."""


class Failed(Finished):
    """It has ended with an exception."""


class TimedOut(Failed):
    """It took longer than its time-out."""


class TriggerFailed(Failed):
    """It did not run, because of the ends of what it depends on."""


class ValidationFailed(Failed):
    """Its value was refused."""


class Cancelled(Finished):
    """It was cancelled."""


_OF_OURS: dict[str, type[State]] = {
    "AwaitingRetry": Retrying, "Cached": Cached, "TimedOut": TimedOut, "TriggerFailed": TriggerFailed,
}  # fmt: skip
_OF_TYPES: dict[ours.StateType, type[State]] = {
    ours.StateType.SCHEDULED: Scheduled, ours.StateType.PENDING: Pending, ours.StateType.RUNNING: Running,
    ours.StateType.COMPLETED: Success, ours.StateType.FAILED: Failed, ours.StateType.CRASHED: Failed,
    ours.StateType.CANCELLED: Cancelled,
}  # fmt: skip


def of_ours(state: ours.State[Any]) -> State:
    """Return one of the engine's states as Prefect 1 has it; reads the value of one that has ended."""
    kind = _OF_OURS.get(state.name) or _OF_TYPES.get(state.type, Pending)
    result = ours.State.result(state, raise_on_failure=False) if state.is_final() else None
    if isinstance(result, Skip):
        return Skipped(result.message or None)
    begins = None if state.start_time is None else datetime.fromtimestamp(state.start_time, UTC)
    return kind(state.message or None, result=result, start_time=begins)


def to_ours(state: State) -> ours.State[Any]:
    """Return a state that a handler gave in the form for the engine."""
    message = state.message or ""
    if isinstance(state, Skipped):
        return ours.State("COMPLETED", message=message, data=Skip(message))
    if isinstance(state, Success):
        return ours.State("COMPLETED", message=message, data=state.result)
    if isinstance(state, Failed):
        data = state.result if isinstance(state.result, BaseException) else None
        return ours.State("FAILED", "TimedOut" if type(state) is TimedOut else "", message, data)
    if isinstance(state, Cancelled):
        return ours.State("CANCELLED", message=message)
    if isinstance(state, Retrying):
        begins = None if state.start_time is None else state.start_time.timestamp()
        return ours.State("SCHEDULED", "AwaitingRetry", message, start_time=begins)
    kind = "RUNNING" if isinstance(state, Running) else "PENDING"
    return ours.State(kind, message=message)
