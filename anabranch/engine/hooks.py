"""Hooks and state handlers: the user's functions at a run's transitions.

A hook `(obj, run, state)` observes; its exception is logged and changes nothing. A state handler `(obj, old, new)` may
return another state, which replaces the new one if it may follow the old one. Its exception, or another answer, fails
the run. Both may be sync or async, and run where the transition happens.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from anabranch.core import asking
from anabranch.core.asking import shown, told
from anabranch.core.errors import TransitionError
from anabranch.core.states import CANCELLED, NAMES, Failed, State, StateType, check_transition
from anabranch.engine.steps import Call

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from anabranch.core.options import RunOptions
    from anabranch.engine.steps import Step

Report = "Callable[[str], None]"


def hooks_for(options: RunOptions, state: State) -> tuple[Callable[..., Any], ...]:
    """Return the hooks that a transition into `state` calls."""
    if state.name == "AwaitingRetry":
        return options.on_retry
    return {
        StateType.RUNNING: options.on_running,
        StateType.COMPLETED: options.on_completion,
        StateType.FAILED: options.on_failure,
        StateType.CRASHED: options.on_crashed,
        StateType.CANCELLED: options.on_cancellation,
    }.get(state.type, ())


def any_for(options: RunOptions, code: int) -> bool:
    """Return whether a transition into the final state `code`, decided in the driver, calls hooks or handlers."""
    if options.state_handlers and code == CANCELLED:
        return True
    return bool(
        {
            StateType.FAILED: options.on_failure,
            StateType.CRASHED: options.on_crashed,
            StateType.CANCELLED: options.on_cancellation,
            StateType.COMPLETED: options.on_completion,
        }.get(NAMES[code][1])
    )


def called(
    hooks: Sequence[Callable[..., Any]], obj: Any, run: Any, state: State, warn: Callable[[str], None]
) -> Generator[Step, Any, None]:
    """Call hooks in their order; their exceptions go to `warn`."""
    for hook in hooks:
        try:
            yield Call(hook, (obj, run, state))
        except Exception as error:
            warn(f"Hook {name_of(hook)!r} for state {state.name!r} raised {told(error)}")


def handled(
    handlers: Sequence[Callable[..., Any]], obj: Any, old: State, new: State
) -> Generator[Step, Any, State]:
    """Call all handlers; returns the new state, or its replacement."""
    for handler in handlers:
        try:
            answer = yield Call(handler, (obj, old, new))
        except Exception as error:
            return Failed(f"Unexpected error while calling state handlers: {told(error)}", error)
        if answer is None:
            continue
        if not issubclass(type(answer), State):
            return Failed(
                f"Unexpected error while calling state handlers: {name_of(handler)!r} returned {shown(answer)}, "
                "neither a State nor None"
            )
        try:
            check_transition(old.type, answer.type)
        except TransitionError as error:
            return Failed(
                f"Unexpected error while calling state handlers: {name_of(handler)!r} answered {answer.name}: {error}",
                error,
            )
        new = answer
    return new


def callback_factory(
    fn: Callable[[Any, State], Any], check: Callable[[State], bool]
) -> Callable[[Any, State, State], State]:
    """Return a state handler that calls ``fn(obj, new_state)`` whenever ``check(new_state)`` holds."""
    return _Callback(fn, check)


class _Callback:
    """The handler of `callback_factory`; a class and no closure, so that pickle refers to it by name."""

    def __init__(self, fn: Callable[[Any, State], Any], check: Callable[[State], bool]) -> None:
        self.fn = fn
        self.check = check
        self.__name__ = name_of(fn)

    def __call__(self, obj: Any, old: State, new: State) -> State:
        if self.check(new):
            self.fn(obj, new)
        return new


def name_of(fn: Any) -> str:
    """Return a function's name, looking through partials."""
    while issubclass(type(fn), functools.partial):
        fn = fn.func
    return asking.name_of(fn)
