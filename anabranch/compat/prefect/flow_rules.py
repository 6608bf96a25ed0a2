"""How a flow's return value ends it in Prefect; see `anabranch.runs.rules.FlowRules`.

    an exception                  FAILED
    reference tasks are set       by their runs, as in Prefect 1
    a State made by hand          that one; Cancelling becomes Cancelled
    runs, or a list of them       by those; the caller gets their States
    data, None included           COMPLETED; runs inside of it become States
    a run's cancel, not caught    FAILED
    a SIGTERM                     CANCELLED; the function, and the caller, get TerminationSignal
"""

from __future__ import annotations

import signal
from typing import Any

from anabranch.compat.prefect.exceptions import TerminationSignal
from anabranch.compat.prefect.futures import resolve_futures_to_states
from anabranch.compat.prefect.run_states import Held, State
from anabranch.compat.prefect.state_exceptions import is_state_iterable, payload
from anabranch.compat.prefect.states import StateGroup
from anabranch.compat.prefect.validation import validated_call
from anabranch.core import states as ours
from anabranch.core.future_lists import FutureList
from anabranch.core.futures import Future
from anabranch.core.states import StateType
from anabranch.core.terminated import Terminated
from anabranch.engine import final_state
from anabranch.runs.rules import FlowRules


def resolve(value: Any) -> tuple[Any, Any]:
    """Return (the states that decide, or None; the value for the caller)."""
    if isinstance(value, (FutureList, ours.StateSequence)):
        futures = value.wait() if isinstance(value, FutureList) else value
        value = [_seen(state) for state in futures]
    elif isinstance(value, Future):
        value = _seen(value.wait())
    else:
        value = resolve_futures_to_states(value)
    if isinstance(value, ours.State):
        if value.type is StateType.CANCELLING:  # made by hand: the run ends, and has nothing left to cancel
            value = State(type=StateType.CANCELLED, message=value.message, data=value.data)
        if not value.run_id and not _details_say(value):
            return value, None if value.data is None else payload(value.data)
        return (value,), value  # a tuple: the one state is the data of the flow's own, not a list of it
    return (list(value), value) if is_state_iterable(value) else (None, value)


def _seen(state: Any) -> State:
    found = State.of(state)
    if found.is_final() and not found.is_completed():
        payload(found.data)  # reading the exception marks the failure as handled
    return found


def _details_say(state: Any) -> bool:
    details = getattr(state, "state_details", None)
    return details is not None and bool(details.flow_run_id or details.task_run_id)


def decide(seen: Any, runs: Any, *, reference: Any = None, strict: bool = False) -> ours.State[Any]:
    """Return the final state; failures of runs that are not returned do not count, unless they are reference tasks."""
    if reference is not None:
        found = final_state.decide(seen, runs, reference=reference)
        return State(
            type=found.type, message=found.message, data=Held(None) if found.is_completed() else found.data
        )
    if seen is None:
        return State(type="COMPLETED", data=Held(None))
    if isinstance(seen, ours.State):
        return seen
    kind, message = StateGroup(seen).verdict()
    if kind is StateType.PAUSED:
        kind = StateType.FAILED
    return State(type=kind, message=message, data=seen[0] if isinstance(seen, tuple) else seen)


left: list[int] = []  # exit codes of the signals that have ended flows of this program


def told(number: int, message: str) -> Terminated:
    """Return what is raised in a flow's function at a signal."""
    return TerminationSignal(number) if number == signal.SIGTERM else Terminated(message)


def leaves(exit_code: int) -> BaseException:
    """Return what leaves an outermost flow after a signal."""
    left.append(exit_code)
    number = exit_code - 128
    return TerminationSignal(number) if number == signal.SIGTERM else SystemExit(exit_code)


RULES = FlowRules(resolve, decide, cancels_fail=True, validate=validated_call, told=told, leaves=leaves)
