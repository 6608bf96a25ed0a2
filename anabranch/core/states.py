"""States of runs: waiting, running, or ended in one way.

A state has a *type*, which rules decide on, and a *name*, which refines it for people::

    SCHEDULED  Scheduled AwaitingRetry AwaitingConcurrencySlot AwaitingCache
    PENDING    Pending
    RUNNING    Running Retrying
    COMPLETED  Completed Cached RolledBack              \\
    FAILED     Failed TimedOut TriggerFailed             | terminal
    CRASHED    Crashed                                   |
    CANCELLED  Cancelled Suspended                      /
    PAUSED     Paused
    CANCELLING Cancelling

SCHEDULED has Late as well; it, Paused and Cancelling are states of flow runs alone. A state is stored as one byte: its
place in `NAMES`. Classes such as `Retrying` build a
`State` when called and recognise one by its name (a type's own class, by its type)::

    >>> isinstance(TimedOut(message="5 s"), Failed)
    True
"""

from __future__ import annotations

import abc
import enum
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Generic, Literal, cast, overload

from anabranch.core.asking import is_a
from anabranch.core.errors import (
    CancelledRun,
    CrashedRun,
    FailedRun,
    TransitionError,
    UnfinishedRun,
    UpstreamError,
)
from anabranch.core.exceptions import twin
from anabranch.core.showing import Shown
from anabranch.core.tracebacks import hide
from anabranch.core.type_variables import R_co

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class StateType(enum.StrEnum):
    SCHEDULED = "SCHEDULED"
    PENDING = "PENDING"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CRASHED = "CRASHED"
    CANCELLED = "CANCELLED"
    PAUSED = "PAUSED"
    CANCELLING = "CANCELLING"


TERMINAL = frozenset({StateType.COMPLETED, StateType.FAILED, StateType.CRASHED, StateType.CANCELLED})

# Codes are stored in records: append only, never renumber.
NAMES: tuple[tuple[str, StateType], ...] = (
    ("Pending", StateType.PENDING),
    ("Scheduled", StateType.SCHEDULED),
    ("AwaitingRetry", StateType.SCHEDULED),
    ("AwaitingConcurrencySlot", StateType.SCHEDULED),
    ("AwaitingCache", StateType.SCHEDULED),
    ("Running", StateType.RUNNING),
    ("Retrying", StateType.RUNNING),
    ("Completed", StateType.COMPLETED),
    ("Cached", StateType.COMPLETED),
    ("Failed", StateType.FAILED),
    ("TimedOut", StateType.FAILED),
    ("TriggerFailed", StateType.FAILED),
    ("Crashed", StateType.CRASHED),
    ("Cancelled", StateType.CANCELLED),
    ("Suspended", StateType.CANCELLED),  # cancelled because the walltime is over; another driver resumes it
    ("RolledBack", StateType.COMPLETED),  # its transaction was rolled back: a note in the record behind its end
    ("Late", StateType.SCHEDULED),  # from here on of flow runs alone; this one waits, though its time has come
    ("Paused", StateType.PAUSED),
    ("Cancelling", StateType.CANCELLING),  # its driver is told to end
)
(
    PENDING, SCHEDULED, AWAITING_RETRY, AWAITING_SLOT, AWAITING_CACHE, RUNNING, RETRYING, COMPLETED, CACHED, FAILED,
    TIMED_OUT, TRIGGER_FAILED, CRASHED, CANCELLED, SUSPENDED, ROLLED_BACK, LATE, PAUSED, CANCELLING,
) = range(len(NAMES))  # fmt: skip
ITEM_CODES = LATE  # codes of items are below; those of items are final from FIRST_ENDED on
FIRST_ENDED = COMPLETED
FINAL = frozenset(code for code, (_, kind) in enumerate(NAMES) if kind in TERMINAL)
SUCCESSFUL = (COMPLETED, CACHED, ROLLED_BACK)
FAILING = tuple(code for code, (_, kind) in enumerate(NAMES) if kind in (StateType.FAILED, StateType.CRASHED))
_CODES = {name: code for code, (name, _) in enumerate(NAMES)}
_DEFAULT_CODE = {kind: _CODES.get(kind.value.capitalize(), RUNNING) for kind in StateType}


def code_of(name: str, kind: StateType) -> int:
    """Return the byte of a state; a state name of the user's own has the byte of its type."""
    return _CODES.get(name, _DEFAULT_CODE[kind])


def is_final(code: int) -> bool:
    return code in FINAL


def is_success(code: int) -> bool:
    return code in SUCCESSFUL


def failed_in(codes: bytes | bytearray) -> int:
    """Return how many items of a column have failed or crashed."""
    return sum(codes.count(code) for code in FAILING)


# The allowed transitions. A terminal state is left only by a new, visible attempt (to SCHEDULED, PENDING or
# RUNNING with a higher attempt number), which callers of `check_transition` name. States returned by handlers are
# checked at run time (`engine.hooks`). Changes by the dispatcher are checked in its stateful test alone, because a
# check at run time would cost every item.
_NEXT: dict[StateType, frozenset[StateType]] = {
    StateType.SCHEDULED: frozenset(StateType),
    StateType.PENDING: frozenset(StateType),
    StateType.RUNNING: frozenset(StateType) - {StateType.PENDING},
    StateType.PAUSED: frozenset(StateType),
    StateType.CANCELLING: frozenset(StateType),
}


def check_transition(old: StateType | None, new: StateType, *, new_attempt: bool = False) -> None:
    """Pass if `new` may follow `old`; raise TransitionError otherwise."""
    if old is None or (new_attempt and new not in TERMINAL):
        return
    if old in TERMINAL or new not in _NEXT[old]:
        why = "terminal states change only by a new attempt" if old in TERMINAL else "it has begun"
        raise TransitionError(f"a run that is {old} cannot become {new}: {why}")


class ValueSource(abc.ABC):
    """The source of a state's value; holding it keeps the value alive."""

    __slots__ = ()

    @abc.abstractmethod
    def value(self) -> object:
        """Return the value (or the exception of a run that failed); raises ResultReleased when it is gone."""

    @abc.abstractmethod
    def origin(self) -> tuple[Any, int]:
        """Return the run that has the value: its `MapRun` and the item's index."""


class State(Shown, Generic[R_co]):
    """The state of a run, immutable; a final state gives the run's `result()`.

    Args:
        type: decides in rules.
        name: shown to people; the type's own name when empty.
        message: one sentence.
        data: a value, an exception, states, or a `ValueSource`.
        attempt: the number of the attempt, from 1; 0 when none has begun.
        run_id: the id of the run; empty for a state made by hand.
        timestamp: Unix seconds.
    """

    __slots__ = ("__weakref__", "attempt", "data", "message", "name", "run_id", "start_time", "timestamp", "type")

    def __init__(
        self,
        type: StateType | str,
        name: str = "",
        message: str = "",
        data: object = None,
        *,
        attempt: int = 0,
        run_id: str = "",
        timestamp: float | None = None,
        start_time: float | None = None,
    ) -> None:
        self.type: StateType = StateType(type)
        self.name: str = name or self.type.value.capitalize()
        self.message: str = message
        self.data: Any = data
        self.attempt: int = attempt
        self.run_id: str = run_id
        self.timestamp: float = time.time() if timestamp is None else timestamp
        self.start_time: float | None = start_time

    @property
    def code(self) -> int:
        return code_of(self.name, self.type)

    def is_scheduled(self) -> bool:
        return self.type is StateType.SCHEDULED

    def is_pending(self) -> bool:
        return self.type is StateType.PENDING

    def is_running(self) -> bool:
        return self.type is StateType.RUNNING

    def is_completed(self) -> bool:
        return self.type is StateType.COMPLETED

    def is_failed(self) -> bool:
        return self.type is StateType.FAILED

    def is_crashed(self) -> bool:
        return self.type is StateType.CRASHED

    def is_cancelled(self) -> bool:
        return self.type is StateType.CANCELLED

    def is_final(self) -> bool:
        return self.type in TERMINAL

    # Prefect 1's words, which seeds still use.
    is_finished = is_final
    is_successful = is_completed

    def is_retrying(self) -> bool:
        """Whether an attempt failed and another follows, now or after a delay."""
        return self.name in ("Retrying", "AwaitingRetry")

    @overload
    def result(self, raise_on_failure: Literal[True] = True) -> R_co: ...
    @overload
    def result(self, raise_on_failure: bool) -> R_co | BaseException: ...
    def result(self, raise_on_failure: bool = True) -> Any:
        """Return the run's value, or raise its exception.

        Args:
            raise_on_failure: False returns the exception instead of raising it.

        Raises:
            UnfinishedRun: the state is not final.
            ResultReleased: the value's last reader has gone.
        """
        try:
            if not self.is_final():
                raise UnfinishedRun(f"the run is {self}: it has no result yet; `.wait()` for it first")
            if self.type is StateType.COMPLETED:
                return resolve_data(self.data)
            if not raise_on_failure:
                return self.exception()
            raise self.exception()
        except BaseException as error:
            hide(error)
            raise

    def exception(self) -> BaseException:
        """Return the exception of a state that is not COMPLETED, to be raised; a new copy each time."""
        data = self.data
        if is_a(data, BaseException):
            return twin(data)
        if is_a(data, ValueSource):
            found = data.value()
            if isinstance(found, BaseException):
                return found
        for inner in _inner_states(data):
            if inner.is_final() and not inner.is_completed():
                return inner.exception()
        kind = _ERRORS.get(self.type, FailedRun)
        text = self.message or (str(data) if isinstance(data, str) else f"the run ended as {self.name}")
        error = kind(text)
        error.state = self
        return error

    def origin(self) -> tuple[Any, int] | None:
        """Return the run that has its value, as a `MapRun` and an index; None for a state with the value itself."""
        return self.data.origin() if isinstance(self.data, ValueSource) else None

    def with_data(self, data: object) -> State[Any]:
        return State(
            self.type, self.name, self.message, data, attempt=self.attempt, run_id=self.run_id, timestamp=self.timestamp
        )

    def __str__(self) -> str:
        return f"{self.name}({self.message!r})" if self.message else f"{self.name}()"

    def __repr__(self) -> str:
        attempt = f", attempt={self.attempt}" if self.attempt else ""
        return f"State({self.type.value}, {self.name!r}{attempt}, message={self.message!r})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, State):
            return NotImplemented
        mine = (self.type, self.name, self.message, self.attempt, self.run_id)
        return mine == (other.type, other.name, other.message, other.attempt, other.run_id)

    def __hash__(self) -> int:
        return hash((self.type, self.name, self.run_id, self.attempt))


_ERRORS: dict[StateType, type[FailedRun | CrashedRun | CancelledRun]] = {
    StateType.FAILED: FailedRun,
    StateType.CRASHED: CrashedRun,
    StateType.CANCELLED: CancelledRun,
}


def failure(state: State, *, upstream: bool = False) -> BaseException:
    """Return the exception for a run that ended in `state` without an exception of its own."""
    kind = UpstreamError if upstream else _ERRORS.get(state.type, FailedRun)
    error = kind(state.message or f"the run ended as {state.name}")
    error.state = state
    return error


def resolve_data(data: object) -> object:
    """Return a state's data as a value: sources are read, states and lists of states are resolved."""
    if is_a(data, State):
        return State.result(data)  # type: ignore[call-overload]
    if is_a(data, ValueSource):
        return data.value()  # type: ignore[attr-defined]
    return data


class StateSequence(Sequence[State[R_co]]):
    """Many states as one object that makes each on demand."""

    __slots__ = ()

    @abc.abstractmethod
    def types(self) -> dict[StateType, int]:
        """Return the number of states of each type."""

    @abc.abstractmethod
    def unfinished(self) -> Iterator[State[R_co]]:
        """Return the states that are not final, in order."""

    @abc.abstractmethod
    def unsuccessful(self) -> Iterator[State[R_co]]:
        """Return the states that are final and not COMPLETED, in order."""


def _inner_states(data: object) -> Iterable[State]:
    if is_a(data, State):
        return (cast("State", data),)
    if isinstance(data, StateSequence):
        return data.unsuccessful()
    if type(data) in (list, tuple, set) and data and all(is_a(s, State) for s in cast("Iterable[object]", data)):
        return cast("Iterable[State]", data)
    return ()


class _NamedState(type):
    """The metaclass of state names: calling the class makes a State; isinstance reads the name (or the type)."""

    kind: StateType
    state_name: str

    def __instancecheck__(cls, instance: object) -> bool:
        if not isinstance(instance, State):
            return False
        if cls.state_name == cls.kind.value.capitalize():
            return instance.type is cls.kind
        return instance.name == cls.state_name

    def __call__(cls, message: str = "", data: object = None, *, name: str = "", **details: Any) -> State[Any]:
        return State(cls.kind, name or cls.state_name, message, data, **details)


def _named(name: str, kind: StateType) -> _NamedState:
    doc = f"A state named {name} (type {kind.value})."
    return _NamedState(name, (), {"kind": kind, "state_name": name, "__doc__": doc, "__slots__": ()})


BY_NAME: dict[str, _NamedState] = {name: _named(name, kind) for name, kind in NAMES}
if TYPE_CHECKING:  # what calling and instance checks make of them

    class _Named(State[R_co]):
        def __init__(
            self, message: str = "", data: object = None, *, name: str = "", attempt: int = 0, run_id: str = "",
            timestamp: float | None = None, start_time: float | None = None,
        ) -> None: ...

    class Pending(_Named[R_co]): ...
    class Scheduled(_Named[R_co]): ...
    class AwaitingRetry(Scheduled[R_co]): ...
    class AwaitingConcurrencySlot(Scheduled[R_co]): ...
    class AwaitingCache(Scheduled[R_co]): ...
    class Running(_Named[R_co]): ...
    class Retrying(Running[R_co]): ...
    class Completed(_Named[R_co]): ...
    class Cached(Completed[R_co]): ...
    class RolledBack(Completed[R_co]): ...
    class Failed(_Named[R_co]): ...
    class TimedOut(Failed[R_co]): ...
    class TriggerFailed(Failed[R_co]): ...
    class Crashed(_Named[R_co]): ...
    class Cancelled(_Named[R_co]): ...
    class Suspended(Cancelled[R_co]): ...
    class Late(Scheduled[R_co]): ...
    class Paused(_Named[R_co]): ...
    class Cancelling(_Named[R_co]): ...
else:
    globals().update(BY_NAME)
# Prefect 1's name for COMPLETED.
Success = Completed
