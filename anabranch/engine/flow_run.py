"""One flow run as policy: a generator that yields a step wherever something may suspend.

    parameters -> Running -> call the function -> what was submitted ends -> final state
         ^                                                                        |
         +---------------- AwaitingRetry, after its delay <--- failed, retries left

The drivers in `drive.py` carry the steps out, blocking or on an event loop.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from anabranch.core import states
from anabranch.core.asking import attribute, shown, text, told
from anabranch.core.errors import CancelledRun, OptionError, TaskTimeoutError
from anabranch.core.states import AwaitingRetry, Crashed, Failed, Pending, Retrying, Running, State
from anabranch.engine import drive, final_state, hooks, items, retries
from anabranch.engine.steps import Call, Sleep, Step

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Generator

    from anabranch.core.options import FlowOptions


class FlowWorld(Protocol):
    """What a flow run's policy needs of the program around it; the session's side implements it."""

    def validate(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]: ...
    def changed(self, state: State, attempt: int) -> None: ...
    def settle(self, raised: bool = False) -> None:
        """Wait for (or cancel) everything submitted; when the body raised, iterators are pulled no further. Blocks."""
        ...

    def abort(self, by: str) -> None:
        """Cancel what was submitted; blocks. `by`: by whom, a word behind "cancelled/" of `core.reasons`."""
        ...

    def wind_up(self, error: BaseException) -> None:
        """Begin nothing more, give what runs its grace, cancel the rest; blocks."""
        ...

    def hurry(self) -> None:
        """Cancel what is left and wait for nothing."""
        ...

    def interrupted(self, error: BaseException) -> State:
        """The final state of a run that was told to end."""
        ...

    def resolve(self, value: Any) -> tuple[Any, Any]:
        """A returned value as (what the rules look at, what the caller gets); reads values, so blocks."""
        ...

    def item(self, value: Any) -> Any:
        """What a generator flow has yielded, as its reader gets it; reads values, so blocks."""
        ...

    def runs(self) -> final_state.Runs: ...
    def reference(self) -> list[State] | None: ...
    def warn(self, message: str) -> None: ...
    def begin_again(self) -> None:
        """Another attempt follows: what was submitted in the last one counts no more. Blocks."""
        ...


@dataclass(slots=True)
class FlowResult:
    """How a flow run ended: its state, and what its caller gets."""

    state: State
    value: Any = None
    error: BaseException | None = None


@dataclass(slots=True)
class FlowAttempt:
    """A flow run in the making."""

    flow: Any
    run: Any
    fn: Callable[..., Any]
    options: FlowOptions
    world: FlowWorld
    rng: random.Random
    state: State = field(default_factory=Pending)
    attempt: int = 0  # from the last one of an earlier driver on
    before: int = 0  # attempts of earlier drivers, which do not count against `retries`
    streams: bool = False  # a generator's items go to its caller, one by one
    given: bool = False  # one of them has
    left: bool = False  # its reader stopped before the last one
    # The error of a run that was cancelled from elsewhere; asked with True, it cannot be from then on.
    given_up: Callable[[bool], BaseException | None] = lambda last: None


def flow_run(
    this: FlowAttempt, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Generator[Step, Any, FlowResult]:
    """Run a flow to its final state, attempts included; raises only what must end the program."""
    try:
        return (yield from _to_the_end(this, args, kwargs))
    except GeneratorExit:
        raise
    except BaseException as error:  # told to end between two steps, or in a hook: it ends all the same
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
        if isinstance(error, OptionError):  # of its name
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
        waiting = AwaitingRetry(message, result.error)
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
    """The end that a state handler, or a cancel, made of another one; `fatal` ends the program all the same."""
    return FlowResult(state, state.data, fatal or (None if state.is_completed() else state.exception()))


def _one_attempt(
    this: FlowAttempt, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Generator[Step, Any, FlowResult]:
    world = this.world
    try:
        value = yield from _called(this, args, kwargs)
    except TaskTimeoutError as error:
        yield Call(world.abort, ("flow-timeout",), blocking=True)
        message = f"Flow run exceeded timeout of {this.options.timeout_seconds} second(s)"
        return FlowResult(states.TimedOut(message, error) if _ours(error) else _failed(error), error=error)
    except CancelledRun as error:
        yield Call(world.abort, ("request",), blocking=True)
        return FlowResult(world.interrupted(error), error=error)
    except Exception as error:
        yield Call(world.settle, (True,), blocking=True)
        return FlowResult(_failed(error), error=error)
    except GeneratorExit:  # it goes on in another process
        raise
    except BaseException as error:
        if _told_to_end(error):
            return (yield from _wound_up(this, error))
        yield Call(world.abort, ("flow-end",), blocking=True)
        return FlowResult(_crashed(error), error=error)
    try:
        yield Call(world.settle, blocking=True)
        seen, given = yield Call(world.resolve, (value,), blocking=True)
    except CancelledRun as error:
        yield Call(world.abort, ("request",), blocking=True)
        return FlowResult(world.interrupted(error), error=error)
    except Exception as error:
        return FlowResult(_failed(error), error=error)
    except BaseException as error:
        if _told_to_end(error):
            return (yield from _wound_up(this, error))
        raise
    return _judge(this, seen, given)


def _called(this: FlowAttempt, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Generator[Step, Any, Any]:
    """What the function returns; of a generator function that, once its items were given, or else the list of these."""
    limit = this.options.timeout_seconds
    if not this.flow.isgenerator:
        return (yield Call(this.fn, args, kwargs, timeout=limit))
    made = yield Call(this.fn, args, kwargs)  # none of its code has run by then
    if this.streams:
        return (yield from items.given(this, made, limit, this.world.item, this.given_up))
    return (yield items.listed(made, limit))


def _told_to_end(error: BaseException) -> bool:
    """Ctrl-C and other signals; asyncio's way to say so."""
    return drive.cancelled(error) or isinstance(error, KeyboardInterrupt)


def _wound_up(this: FlowAttempt, error: BaseException) -> Generator[Step, Any, FlowResult]:
    """End what was submitted, with grace; told again meanwhile, without."""
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
    state = final_state.decide(seen, runs, reference=this.world.reference(), strict=this.options.strict)
    if this.left and not state.is_completed():  # who reads no further is not told of failures
        state = states.Completed("not all of its items were read", given)
    if state.is_completed():
        if runs.unhandled and (seen is not None or this.left):
            this.world.warn(f"{runs.unhandled} of {runs.total} task runs failed and nobody looked at them")
        return FlowResult(state.with_data(given), given)
    error = state.exception()
    return FlowResult(state, given, error)


def _ours(error: BaseException) -> bool:
    return attribute(error, "state") is None


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
    """Enter a state: handlers may replace it, unless it is a cancel; then it is recorded, then hooks run."""
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
    """The state, or the end of a run that somebody has cancelled: who was told that it is must be right."""
    if not new.is_final() or new.is_cancelled():
        return new
    error = this.given_up(True)
    return new if error is None else this.world.interrupted(error)
