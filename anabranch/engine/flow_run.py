"""One flow run as policy: a generator that yields a step wherever something may suspend.

    parameters -> Running -> call the function -> submitted runs end -> final state
         ^                                                                 |
         +------------- AwaitingRetry, after its delay <--- failed, retries left

The drivers in `drive.py` carry the steps out, blocking or on an event loop.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from anabranch.core import states
from anabranch.core.asking import shown, text, told
from anabranch.core.errors import CancelledRun, OptionError, TaskTimeoutError
from anabranch.core.states import AwaitingRetry, Crashed, Failed, Pending, Retrying, Running, State
from anabranch.engine import drive, final_state, hooks, items, retries
from anabranch.engine.steps import Call, PastTime, Sleep, Step

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Generator

    from anabranch.core.options import FlowOptions


class FlowWorld(Protocol):
    """The contract of the program around a flow run's policy; `runs.flow_world.World` implements it."""

    def validate(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]: ...
    def changed(self, state: State, attempt: int) -> None: ...
    def settle(self, raised: bool = False) -> None:
        """Wait for (or cancel) all submitted runs; after an exception of the body pull iterators no further. Blocks."""
        ...

    def abort(self, by: str) -> None:
        """Cancel all submitted runs; blocks. `by`: the canceller, a word behind "cancelled/" of `core.reasons`."""
        ...

    def wind_up(self, error: BaseException) -> None:
        """Let nothing begin, give running items their grace, cancel the rest; blocks."""
        ...

    def hurry(self) -> None:
        """Cancel the rest without waiting."""
        ...

    def interrupted(self, error: BaseException) -> State:
        """Return the final state of a run that a signal or a cancel has ended."""
        ...

    def resolve(self, value: Any) -> tuple[Any, Any]:
        """Split a return value into (the input of the rules, the value for the caller); reads values, so blocks."""
        ...

    def item(self, value: Any) -> Any:
        """Return a yielded item in the form for the reader; reads values, so blocks."""
        ...

    def runs(self) -> final_state.Runs: ...
    def reference(self) -> list[State] | None: ...
    def warn(self, message: str) -> None: ...
    def begin_again(self) -> None:
        """Prepare another attempt: runs of the last one do not count any more. Blocks."""
        ...


@dataclass(slots=True)
class FlowResult:
    """The end of a flow run: its state, and the value for its caller."""

    state: State
    value: Any = None
    error: BaseException | None = None


@dataclass(slots=True)
class FlowAttempt:
    """A flow run under way: its options, its attempt number, its world."""

    flow: Any
    run: Any
    fn: Callable[..., Any]
    options: FlowOptions
    world: FlowWorld
    rng: random.Random
    state: State = field(default_factory=Pending)
    attempt: int = 0  # continues the numbers of an earlier driver
    before: int = 0  # attempts of earlier drivers, which do not count against `retries`
    streams: bool = False  # a generator's items go to its caller, one by one
    given: bool = False  # an item was taken
    left: bool = False  # the reader stopped before the last item
    decide: Callable[..., State] = final_state.decide  # from what its function returned to its final state
    cancels_fail: bool = False  # the error of another run's cancel is a failure like others
    # Returns the error of a run that was cancelled from elsewhere. After a call with True it cannot be cancelled.
    given_up: Callable[[bool], BaseException | None] = lambda last: None


def flow_run(
    this: FlowAttempt, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Generator[Step, Any, FlowResult]:
    """Run a flow to its final state, attempts included; raises only exceptions that must end the program."""
    try:
        return (yield from _to_the_end(this, args, kwargs))
    except GeneratorExit:
        raise
    except BaseException as error:  # a signal between two steps, or in a hook: the run ends all the same
        if not this.state.is_final():
            this.world.hurry()
            told = this.given_up(True) is not None or _told_to_end(error)
            this.state = this.world.interrupted(error) if told else _crashed(error)
            this.world.changed(this.state, this.attempt)
        raise


def _to_the_end(
    this: FlowAttempt, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Generator[Step, Any, FlowResult]:
    try:
        args, kwargs = yield Call(this.world.validate, (args, kwargs), {})
    except Exception as error:
        message = f"Validation of flow parameters failed with error: {text(error)}"
        if isinstance(error, OptionError):  # `flow_run_name` failed
            message = str(error)
        yield from _change(this, Failed(message, error))
        return FlowResult(this.state, error=error)
    while True:
        cancelled = this.given_up(False)
        if cancelled is not None:
            return _put_in_place((yield from _change(this, this.world.interrupted(cancelled))))
        this.attempt += 1
        this.run.attempt = this.attempt
        entering = Retrying() if this.attempt > this.before + 1 else Running()
        entering.start_time = entering.timestamp
        entered = yield from _change(this, entering)
        if entered.is_final():
            return _put_in_place(entered)
        result = yield from _one_attempt(this, args, kwargs)
        if not result.state.is_failed() or this.given_up(False) is not None:
            break
        delay = yield from _retry_delay(this, result)
        if delay is None:
            break
        tried = this.attempt - this.before
        message = f"{result.state.message} - Retry {tried}/{this.options.retries} will start " + (
            f"{delay:g} second(s) from now" if delay else "immediately"
        )
        waiting: State = AwaitingRetry(message, result.error)
        waiting.start_time = waiting.timestamp + delay
        waiting = yield from _change(this, waiting)
        if waiting.is_final():
            return _put_in_place(waiting)
        if delay:
            yield Sleep(delay)
        if this.given_up(False) is None:
            yield Call(this.world.begin_again, blocking=True)
    final = yield from _change(this, result.state)
    if final is result.state:
        return result
    fatal = result.error if not isinstance(result.error, Exception) else None
    return _put_in_place(final, fatal)


def _put_in_place(state: State, fatal: BaseException | None = None) -> FlowResult:
    """Return the result for a state that a handler, or a cancel, put in place; `fatal` ends the program anyway."""
    return FlowResult(state, state.data, fatal or (None if state.is_completed() else state.exception()))


def _one_attempt(
    this: FlowAttempt, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Generator[Step, Any, FlowResult]:
    world = this.world
    try:
        value = yield from _called(this, args, kwargs)
    except PastTime:
        yield Call(world.abort, ("flow-timeout",), blocking=True)
        message = f"Flow run exceeded timeout of {this.options.timeout_seconds} second(s)"
        late = TaskTimeoutError(message)
        return FlowResult(states.TimedOut(message, late), error=late)
    except Exception as error:
        return (yield from _raised(this, error))
    except GeneratorExit:  # a forked copy: the run goes on in the other process
        raise
    except BaseException as error:
        if _told_to_end(error):
            return (yield from _wound_up(this, error))
        yield Call(world.abort, ("flow-end",), blocking=True)
        return FlowResult(_crashed(error), error=error)
    try:
        yield Call(world.settle, blocking=True)
        seen, given = yield Call(world.resolve, (value,), blocking=True)
    except Exception as error:
        return (yield from _raised(this, error, settled=True))
    except BaseException as error:
        if _told_to_end(error):
            return (yield from _wound_up(this, error))
        raise
    return _judge(this, seen, given)


def _raised(this: FlowAttempt, error: Exception, *, settled: bool = False) -> Generator[Step, Any, FlowResult]:
    """Return the end of an attempt by an exception, once its submitted runs have ended."""
    if isinstance(error, CancelledRun) and not (this.cancels_fail and this.given_up(False) is None):
        yield Call(this.world.abort, ("request",), blocking=True)
        return FlowResult(this.world.interrupted(error), error=error)
    if not settled:
        yield Call(this.world.settle, (True,), blocking=True)
    return FlowResult(_failed(error), error=error)


def _called(this: FlowAttempt, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Generator[Step, Any, Any]:
    """Return the function's value; for a generator function after its items were given, or the list of them."""
    limit = this.options.timeout_seconds
    if not this.flow.isgenerator:
        return (yield Call(this.fn, args, kwargs, timeout=limit))
    made = yield Call(this.fn, args, kwargs)  # makes the generator; none of its code has run yet
    if this.streams:
        return (yield from items.given(this, made, limit, this.world.item, this.given_up))
    return (yield items.listed(made, limit))


def _told_to_end(error: BaseException) -> bool:
    """Return whether the run was told to end: by Ctrl-C or another signal, or by asyncio's cancel."""
    return drive.cancelled(error) or isinstance(error, KeyboardInterrupt)


def _wound_up(this: FlowAttempt, error: BaseException) -> Generator[Step, Any, FlowResult]:
    """End the submitted runs, with grace; after a second signal without."""
    try:
        yield Call(this.world.wind_up, (error,), blocking=True)
    except BaseException as again:
        this.world.hurry()
        if not _told_to_end(again):
            raise
    return FlowResult(this.world.interrupted(error), error=error)


def _crashed(error: BaseException) -> State:
    kind = "system exit" if isinstance(error, SystemExit) else f"an unexpected {type(error).__name__}"
    return Crashed(f"Execution was ended by {kind}: {text(error)}", error)


def _judge(this: FlowAttempt, seen: Any, given: Any) -> FlowResult:
    runs = this.world.runs()
    state = this.decide(seen, runs, reference=this.world.reference(), strict=this.options.strict)
    if this.left and not state.is_completed():  # after the reader has left, failures are not raised
        state = states.Completed("not all of its items were read", given)
    if state.is_completed():
        if runs.unhandled and (seen is not None or this.left):
            this.world.warn(f"{runs.unhandled} of {runs.total} task runs failed: not raised, not handled")
        return FlowResult(state.with_data(given), given)
    error = state.exception()
    return FlowResult(state, given, error)


def _failed(error: BaseException) -> State:
    return Failed(f"Flow run encountered an exception: {told(error)}", error)


def _retry_delay(this: FlowAttempt, result: FlowResult) -> Generator[Step, Any, float | None]:
    delay = retries.decide(this.options, this.attempt - this.before, result.error, this.rng)
    if this.given and this.options.retries:
        this.world.warn(f"{result.state.message} - No retry: items of it were taken already")
        return None
    condition = this.options.retry_condition_fn
    if delay is None or condition is None:
        return delay
    try:
        this.run.state = result.state
        again = bool((yield Call(condition, (this.flow, this.run, result.state), {})))
    except Exception as error:
        this.world.warn(f"retry_condition_fn raised {shown(error)}: no retry")
        return None
    return delay if again else None


def _change(this: FlowAttempt, new: State) -> Generator[Step, Any, State]:
    """Enter a state: handlers may replace it, unless it is a cancel; then record it, then call hooks."""
    new = _unless_cancelled(this, new)
    answer = yield from hooks.handled(this.options.state_handlers, this.flow, this.state, new)
    if not new.is_cancelled():
        if new.is_final() and not answer.is_final():
            answer = Failed(f"a state handler answered {answer.name} to {new.name}: a flow run ends only once")
        new = _unless_cancelled(this, answer)
    elif answer is not new:
        this.world.warn(f"a state handler cannot replace {new.name}: a cancel stands")
    new.attempt = this.attempt
    this.state = new
    this.world.changed(new, this.attempt)
    yield from hooks.called(hooks.hooks_for(this.options, new), this.flow, this.run, new, this.world.warn)
    return new


def _unless_cancelled(this: FlowAttempt, new: State) -> State:
    """Return the cancelled state if a cancel was already confirmed to its caller, else the state itself."""
    if not new.is_final() or new.is_cancelled():
        return new
    error = this.given_up(True)
    return new if error is None else this.world.interrupted(error)
