"""User code that runs in the driver for runs that end there: lost, cancelled, not admitted, out of time."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from anabranch.core import states
from anabranch.core.context import TaskRun
from anabranch.core.errors import TaskTimeoutError
from anabranch.core.events import Judge, RunHooks, Verdict
from anabranch.core.failures import capture
from anabranch.core.states import Failed, State
from anabranch.engine import drive, hooks, retries
from anabranch.engine.attempt import adopt

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from anabranch.core.events import Decide
    from anabranch.core.maps import MapRun
    from anabranch.engine.steps import Step


def run_of(map: MapRun, index: int) -> TaskRun:
    """The run as hooks see it."""
    return TaskRun(
        map.spec.name, map.id, index, map.attempt(index), map.flow_run_id, "", map.tags,
        map.kind, map.names.get(index, ""), excused=map.excused.get(index, 0), version=map.options.version or "",
    )  # fmt: skip


def run_hooks(told: RunHooks, warn: Callable[[str], None]) -> None:
    """The hooks of an end that stands; handlers are told of a cancel here, and cannot replace it."""
    map, index = told.map, told.index
    info = map.errors.get(index)
    data = told.value if states.is_success(told.code) else info and info.exception
    new = _state(map, index, told.code, told.message, data)
    if index in map.state_names:
        new.name = map.state_names[index]

    def policy() -> Generator[Step, Any, None]:
        if told.code == states.CANCELLED:
            old = _state(map, index, states.PENDING)
            answer = yield from hooks.handled(map.options.state_handlers, map.spec, old, new)
            if answer is not new:
                warn(f"{map.spec.name}[{index}]: a state handler cannot replace {new.name}: a cancel stands")
        yield from hooks.called(hooks.hooks_for(map.options, new), map.spec, run_of(map, index), new, warn)

    drive.run(policy())


def judge(asked: Judge, warn: Callable[[str], None]) -> Verdict:
    """What an end decided in the driver becomes once the task's state handlers have seen it."""
    map, index = asked.map, asked.index
    data = asked.error.exception if asked.error is not None else None
    new = _state(map, index, asked.code, asked.message, data)
    ran = asked.code in (states.TIMED_OUT, states.CRASHED)
    running = states.RETRYING if map.attempt(index) > 1 else states.RUNNING
    old = _state(map, index, running if ran else states.PENDING)
    try:
        answer = drive.run(hooks.handled(map.options.state_handlers, map.spec, old, new))
    except BaseException as error:  # even sys.exit: who waits for this run waits for an answer
        answer = Failed(f"Unexpected error while calling state handlers: {type(error).__name__}: {error}", error)
    as_it_was = Verdict(asked.code, asked.message, error=asked.error)
    if answer is new:
        return as_it_was
    result = adopt(answer)
    if result.code == states.AWAITING_RETRY and asked.code == states.TRIGGER_FAILED:
        warn(f"{map.spec.name}[{index}]: no retry after {new.name}, though a state handler asks for it")
        return as_it_was
    info = None if result.error is None else capture(result.error, in_process=True)
    return Verdict(result.code, result.message, result.name, result.value, info, result.delay)


def _state(map: MapRun, index: int, code: int, message: str = "", data: Any = None) -> State:
    name, kind = states.NAMES[code]
    return State(kind, name, message, data, attempt=map.attempt(index), run_id=f"{map.id}/{index}")


def decide(asked: Decide, warn: Callable[[str], None]) -> tuple[float | None, str]:
    """Whether a timed-out item is tried again, by the user's own condition: (delay or None, message)."""
    map, index = asked.map, asked.index
    message = f"Task run exceeded timeout of {map.options.timeout_seconds} second(s)"
    error = TaskTimeoutError(message)
    delay = retries.decide(map.options, map.counted(index), error, random.Random())
    condition = map.options.retry_condition_fn
    if delay is None or condition is None:
        return delay, message
    state = State(states.StateType.FAILED, "TimedOut", message, error)
    try:
        again = condition(map.spec, run_of(map, index), state)
    except Exception as raised:
        warn(f"retry_condition_fn raised {raised!r}: no retry")
        return None, message
    return (delay if again else None), message
