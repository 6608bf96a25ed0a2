"""User code in the driver, for runs that end there: lost, cancelled, not admitted, out of time."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from anabranch.core import states
from anabranch.core.asking import shown, told
from anabranch.core.context import TaskRun
from anabranch.core.errors import TaskTimeoutError
from anabranch.core.exceptions import twin
from anabranch.core.failures import capture
from anabranch.core.instructions import AskHandlers, RunHooks, Verdict
from anabranch.core.owners import task_of
from anabranch.core.states import Failed, State
from anabranch.engine import drive, hooks
from anabranch.engine.attempt import adopt
from anabranch.engine.known_inputs import given_to, parameters
from anabranch.engine.steps import Call

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from anabranch.core.instructions import AskRetry
    from anabranch.core.maps import MapRun
    from anabranch.core.reports import ErrorInfo
    from anabranch.engine.known_inputs import Given
    from anabranch.engine.steps import Step


def run_of(map: MapRun, index: int, state: State, given: Given) -> TaskRun:
    """Return the run in the form for hooks."""
    return TaskRun(
        map.spec.name, map.id, index, map.attempt(index), map.header.flow_run_id,
        getattr(map.scope, "flow_run_name", ""), map.header.tags, map.kind, map.header.names.get(index, ""),
        uncounted_attempts=map.budgets.uncounted.get(index, 0),
        version=map.options.version or "", state=state, end_time=state.timestamp if state.is_final() else 0.0,
        bound=functools.partial(parameters, map, index, given),
    )  # fmt: skip


def _error(info: ErrorInfo | None) -> BaseException | None:
    """Return an exception for hooks and handlers, which they may raise."""
    return None if info is None or info.exception is None else twin(info.exception)


def run_hooks(told: RunHooks, warn: Callable[[str], None]) -> None:
    """Call the hooks of a final end; for a cancel call handlers too, which cannot replace it."""
    map, index = told.map, told.index
    info = map.errors.get(index)
    data = told.value if states.is_success(told.code) else _error(info)
    task = task_of(map.spec)
    new = _state(map, index, told.code, told.message, data)
    if index in map.state_names:
        new.name = map.state_names[index]

    def policy() -> Generator[Step, Any, None]:
        if told.code == states.CANCELLED:
            old = _state(map, index, states.PENDING)
            answer = yield from hooks.handled(map.options.state_handlers, task, old, new)
            if answer is not new:
                warn(f"{map.spec.name}[{index}]: a state handler cannot replace {new.name}: a cancel stands")
        run = run_of(map, index, new, told.given)
        yield from hooks.called(hooks.hooks_for(map.options, new), task, run, new, warn)

    drive.run(policy())


def ask_handlers(asked: AskHandlers, warn: Callable[[str], None]) -> Verdict:
    """Call the task's state handlers for an end decided in the driver; returns the resulting end."""
    map, index = asked.map, asked.index
    data = _error(asked.error)
    new = _state(map, index, asked.code, asked.message, data)
    ran = asked.code in (states.TIMED_OUT, states.CRASHED)
    answer = _answered(map, index, _ran(map, index) if ran else _state(map, index, states.PENDING), new)
    as_it_was = Verdict(asked.code, asked.message, error=asked.error)
    if answer is new:
        return as_it_was
    found = _verdict(answer)
    if found.code == states.AWAITING_RETRY and asked.code == states.TRIGGER_FAILED:
        warn(f"{map.spec.name}[{index}]: no retry after {new.name}, though a state handler asks for it")
        return as_it_was
    return found


def ask_retry(asked: AskRetry, warn: Callable[[str], None]) -> Verdict | None:
    """Return the verdict on a timed-out item with retries left; None: its condition refuses another attempt."""
    map, index, options = asked.map, asked.index, asked.map.options
    error = TaskTimeoutError(asked.message)
    if options.retry_condition_fn is not None:
        late = _state(map, index, states.TIMED_OUT, asked.message, error)
        if not drive.run(_wanted(options.retry_condition_fn, map, index, late, warn)):
            return None
    new = _state(map, index, states.AWAITING_RETRY, asked.message, error)
    new.start_time = new.timestamp + asked.delay
    answer = _answered(map, index, _ran(map, index), new)
    if not answer.is_final():  # the hooks of an end are called once it is final
        run = run_of(map, index, answer, given_to(map, index))
        drive.run(hooks.called(hooks.hooks_for(options, answer), task_of(map.spec), run, answer, warn))
    return Verdict(states.AWAITING_RETRY, asked.message, delay=asked.delay) if answer is new else _verdict(answer)


def _wanted(
    condition: Callable[..., Any], map: MapRun, index: int, late: State, warn: Callable[[str], None]
) -> Generator[Step, Any, bool]:
    try:
        run = run_of(map, index, late, given_to(map, index))
        return bool((yield Call(condition, (task_of(map.spec), run, late))))
    except Exception as raised:
        warn(f"retry_condition_fn raised {shown(raised)}: no retry")
        return False


def _answered(map: MapRun, index: int, old: State, new: State) -> State:
    """Return the state that the task's handlers leave."""
    try:
        return drive.run(hooks.handled(map.options.state_handlers, task_of(map.spec), old, new))
    except BaseException as error:  # even sys.exit: the run's waiters need an answer
        return Failed(f"Unexpected error while calling state handlers: {told(error)}", error)


def _verdict(answer: State) -> Verdict:
    result = adopt(answer)
    info = None if result.error is None else capture(result.error, in_process=True)
    return Verdict(result.code, result.message, result.name, result.value, info, result.delay)


def _ran(map: MapRun, index: int) -> State:
    """Return the state of an attempt under way."""
    return _state(map, index, states.RETRYING if map.attempt(index) > 1 else states.RUNNING)


def _state(map: MapRun, index: int, code: int, message: str = "", data: Any = None) -> State:
    name, kind = states.NAMES[code]
    return State(kind, name, message, data, attempt=map.attempt(index), run_id=f"{map.id}/{index}")
