"""Prefect's State: ours, with its details, its ids, and results that a coroutine awaits."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

from anabranch.compat.prefect.exceptions import MissingResult, PausedRun
from anabranch.compat.prefect.run_ids import id_of
from anabranch.compat.prefect.state_exceptions import payload, state_exception
from anabranch.compat.prefect.utilities.asyncutils import either
from anabranch.core import states as ours
from anabranch.core.errors import CancelledRun, CrashedRun, FailedRun, UnfinishedRun
from anabranch.core.states import StateType, ValueSource

_WRAPPERS = {"FAILED": FailedRun, "CRASHED": CrashedRun, "CANCELLED": CancelledRun}
_SECONDS: Any = vars(ours.State)["timestamp"]
_NOT_READY = "Upstream task run '{}' did not reach a 'COMPLETED' state."


@dataclass
class StateDetails:
    """What is known of a state besides its name."""

    flow_run_id: uuid.UUID | None = None
    task_run_id: uuid.UUID | None = None
    child_flow_run_id: uuid.UUID | None = None
    scheduled_time: datetime | None = None
    cache_key: str | None = None
    cache_expiration: datetime | None = None
    deferred: bool | None = False
    untrackable_result: bool = False
    pause_timeout: datetime | None = None
    pause_reschedule: bool = False
    pause_key: str | None = None
    run_input_keyset: dict[str, str] | None = None
    refresh_cache: bool | None = None
    retriable: bool | None = None
    transition_id: uuid.UUID | None = None
    task_parameters_id: uuid.UUID | None = None


class Held(ValueSource):
    """A value in a state's data; not the same as no data."""

    __slots__ = ("held",)

    def __init__(self, held: object) -> None:
        self.held = held

    def value(self) -> object:
        return self.held

    def origin(self) -> Any:
        return None


class State(ours.State[Any]):
    """The state of a run.

    Args:
        type: COMPLETED, FAILED, ... decides in rules.
        name: shown to people; the type's own unless given.
        state_details: a `StateDetails`, or a dict of its fields.
        data: a value, an exception, or states.
    """

    def __init__(
        self,
        type: StateType | str = "PENDING",
        name: str | None = None,
        timestamp: datetime | None = None,
        message: str | None = None,
        data: object = None,
        state_details: StateDetails | dict[str, Any] | None = None,
        id: uuid.UUID | None = None,
        **more: Any,
    ) -> None:
        seconds = None if timestamp is None else timestamp.timestamp()
        details = state_details if isinstance(state_details, StateDetails) else StateDetails(**(state_details or {}))
        when = details.scheduled_time
        super().__init__(
            type, name or "", message or "", data, timestamp=seconds,
            start_time=None if when is None else when.timestamp(),
        )
        self.id = id or uuid.uuid4()
        self.state_details = details

    @property
    def created(self) -> datetime:
        return self.timestamp

    @property  # type: ignore[override]
    def timestamp(self) -> datetime:
        """When it was entered."""
        return datetime.fromtimestamp(_SECONDS.__get__(self), UTC)

    @timestamp.setter
    def timestamp(self, seconds: float) -> None:
        _SECONDS.__set__(self, seconds)

    def is_paused(self) -> bool:
        return self.type is StateType.PAUSED

    def is_cancelling(self) -> bool:
        return self.type is StateType.CANCELLING

    def result(
        self, raise_on_failure: bool = True, retry_result_failure: bool = True, *, fetch: bool | None = None,
        _sync: bool | None = None,
    ) -> Any:  # fmt: skip
        """Return the run's value, or raise its exception; code that awaits gets a coroutine.

        Args:
            raise_on_failure: False returns the exception.
            fetch: of Prefect 2; changes nothing.

        Raises:
            UnfinishedRun, PausedRun: it has not ended.
            MissingResult: it completed without data.
        """
        return _result(self, raise_on_failure, _sync=_sync)

    async def aresult(self, raise_on_failure: bool = True, retry_result_failure: bool = True) -> Any:
        """Return the run's value as `result` does."""
        return _result(self, raise_on_failure, _sync=True)

    def raise_for_status(self) -> None:
        """Raise the exception of a state that failed, crashed or was cancelled."""
        if self.type.value in _WRAPPERS:
            raise state_exception(self)

    def exception(self) -> BaseException:
        """Return the exception of a state that did not complete; one of its words where its data is none."""
        if self.is_paused():
            return PausedRun("Run is paused, its result is not available.", state=self)
        try:
            return state_exception(self)
        except (ValueError, TypeError):
            return _WRAPPERS.get(self.type.value, FailedRun)(self.message or f"The run ended {self.name}.")

    def with_data(self, data: object) -> State:
        """Return a copy with other data; for a completed run, with its value, which may be None."""
        if self.type is StateType.COMPLETED and not isinstance(data, ValueSource):
            data = Held(data)
        return self._copied(data=data)

    def _copied(self, **changes: Any) -> State:
        given = {
            "type": self.type, "name": self.name, "message": self.message, "timestamp": self.timestamp,
            "data": self.data, "state_details": self.state_details, **changes,
        }  # fmt: skip
        made = State(**given)
        made.run_id, made.attempt = self.run_id, self.attempt
        return made

    def model_copy(self, *, update: dict[str, Any] | None = None, deep: bool = False) -> State:
        """Return a copy with some attributes changed, and an id of its own."""
        return self._copied(**(update or {}))

    copy = model_copy

    def fresh_copy(self, **_: Any) -> State:
        """Return a copy as of now, with an id of its own."""
        return self._copied(timestamp=datetime.now(UTC))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ours.State):
            return NotImplemented
        mine = (self.type, self.name, self.message)
        return mine == (other.type, other.name, other.message) and _same(self.data, other.data)

    def __hash__(self) -> int:
        return hash((self.type, self.name))

    def __repr__(self) -> str:
        shown = self.data.held if isinstance(self.data, Held) else self.data
        return f"{self.name}(message={self.message!r}, type={self.type.value}, result={shown!r})"

    @classmethod
    def of(cls, state: ours.State[Any], upstream: str = "") -> Self:
        """Return one of the engine's states as Prefect has it."""
        if isinstance(state, cls):
            return state
        kind, name, message, data = state.type, state.name, state.message, state.data
        if name == "TriggerFailed":
            kind, name = StateType.PENDING, "NotReady"
            message = _NOT_READY.format(upstream or state.run_id)
        elif kind is StateType.COMPLETED and not isinstance(data, ValueSource):
            data = Held(data)
        made = cls(kind, name, None, message, data)
        _SECONDS.__set__(made, state.timestamp)
        made.run_id, made.attempt, made.start_time = state.run_id, state.attempt, state.start_time
        _tell_run(made)
        return made


def _tell_run(state: State) -> None:
    """Note in a state's details the run that it is of."""
    details = state.state_details
    if "/" in state.run_id:
        details.task_run_id = id_of(state.run_id)
    elif state.run_id:
        details.flow_run_id = id_of(state.run_id)
    if state.start_time is not None and state.type is StateType.SCHEDULED:
        details.scheduled_time = datetime.fromtimestamp(state.start_time, UTC)


def _same(mine: object, theirs: object) -> bool:
    if mine is theirs:
        return True
    if isinstance(mine, Held) and isinstance(theirs, Held):
        return bool(mine.held == theirs.held)
    return not isinstance(mine, ValueSource) and not isinstance(theirs, ValueSource) and bool(mine == theirs)


@either
def _result(state: State, raise_on_failure: bool) -> Any:
    if state.is_paused():
        raise PausedRun("Run is paused, its result is not available.", state=state)
    if not state.is_final():
        raise UnfinishedRun(f"Run is in {state.type.value} state, its result is not available.")
    failed = state.type.value in _WRAPPERS
    if failed and raise_on_failure:
        raise state_exception(state)
    data = state.data
    if data is None:
        if failed:
            return state_exception(state)
        raise MissingResult(
            "State data is missing. Typically, this occurs when result persistence is disabled and the state has been "
            "retrieved from the API."
        )
    return payload(data)
