"""User code that runs in the driver for runs that end there: lost, cancelled, not admitted, out of time."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from anabranch.core import states
from anabranch.core.context import TaskRun
from anabranch.core.errors import TaskTimeoutError
from anabranch.core.states import State
from anabranch.engine import drive, hooks, retries

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from anabranch.core.events import Decide, RunHooks
    from anabranch.core.maps import MapRun
    from anabranch.engine.steps import Step


def run_of(map: MapRun, index: int) -> TaskRun:
    """The run as hooks see it."""
    return TaskRun(
        map.spec.name, map.id, index, map.attempt(index), map.flow_run_id, "", map.tags,
        map.kind, map.names.get(index, ""),
    )  # fmt: skip


def run_hooks(told: RunHooks, warn: Callable[[str], None]) -> None:
    """Handlers, then hooks, of a transition that is already recorded.

    A handler's answer is not taken here: the run has ended in the driver, and its consumers were
    told. It is told so when it tries.
    """
    map, index = told.map, told.index
    name, kind = states.NAMES[told.code]
    info = map.errors.get(index)
    data = info.exception if info is not None else None
    new = State(kind, name, told.message, data, attempt=map.attempt(index), run_id=f"{map.id}/{index}")
    old = State(states.StateType.PENDING, run_id=new.run_id)

    def policy() -> Generator[Step, Any, None]:
        answer = yield from hooks.handled(map.options.state_handlers, map.spec, old, new)
        if answer is not new:
            warn(f"{map.spec.name}[{index}]: a state handler cannot replace {name}, which was decided in the driver")
        yield from hooks.called(hooks.hooks_for(map.options, new), map.spec, run_of(map, index), new, warn)

    drive.run(policy())


def decide(asked: Decide, warn: Callable[[str], None]) -> tuple[float | None, str]:
    """Whether a timed-out item is tried again, by the user's own condition: (delay or None, message)."""
    map, index = asked.map, asked.index
    message = f"Task run exceeded timeout of {map.options.timeout_seconds} second(s)"
    error = TaskTimeoutError(message)
    delay = retries.decide(map.options, map.attempt(index), error, random.Random())
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
