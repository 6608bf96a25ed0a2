"""One attempt of one task run, as policy: a generator that yields where something may suspend.

    Running -> cache key -> look up --hit--> Cached
                              | miss: lock (else AwaitingCache)
                              v
               call the function -> store -> Completed
                              | raised
                              v
               retry? -> AwaitingRetry | Failed | TimedOut

Readiness, slots, timers and attempt numbers belong to the dispatcher; this file is about one attempt.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from types import AsyncGeneratorType
from typing import TYPE_CHECKING, Any

from anabranch.core import states
from anabranch.core.asking import attribute, is_a, shown, text, told
from anabranch.core.errors import AnabranchError, TaskTimeoutError
from anabranch.core.owners import task_of
from anabranch.core.states import State
from anabranch.engine import caching, drive, hooks, items, retries
from anabranch.engine.answers import plain_value
from anabranch.engine.steps import Call, PastTime

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from anabranch.core.context import TaskRun
    from anabranch.core.policies import Digest
    from anabranch.core.stores import ResultStore, Stored
    from anabranch.core.task_spec import TaskSpec
    from anabranch.engine.steps import Step

LOCK_SECONDS = 60.0
CACHE_POLL_SECONDS = 0.05


@dataclass(slots=True)
class AttemptResult:
    """The end of an attempt; `delay` holds for AWAITING_RETRY and AWAITING_CACHE."""

    code: int
    value: Any = None
    error: BaseException | None = None
    message: str = ""
    name: str = ""
    delay: float = 0.0
    cache_key: str = ""
    reason: str = ""  # as `Outcome.reason`


@dataclass(slots=True)
class AttemptWorld:
    """The surroundings of an attempt: result store, log sink, random source."""

    spec: TaskSpec
    run: TaskRun
    parameters: Callable[[], dict[str, Any]]
    flow_parameters: dict[str, Any] | None = None
    warn: Callable[[str], None] = print
    rng: random.Random | None = None
    limited: bool = True  # False: the runner keeps the time limit
    digest: Digest | None = None  # hashes an argument for the cache key; None: each time anew
    packed: bool = False  # its value is stored together with others
    capped: Callable[[], bool] | None = None  # whether a MemoryError is the end of its worker
    streams: bool = False  # a generator's items go to its caller, one by one
    given: bool = False  # an item was taken
    left: bool = False  # the reader stopped before the last item
    unheard: Callable[[], bool] | None = None  # whether its runner has ended it meanwhile, and reports that itself
    tell_failed: Callable[[str], None] = print  # takes the line about an attempt that failed


def attempt(
    world: AttemptWorld, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Generator[Step, Any, AttemptResult]:
    """Run one attempt to its end; raises only exceptions that must end a worker's thread."""
    options = world.spec.options
    if options.state_handlers or options.on_running:
        entered = yield from _enter(world, _state(world, states.PENDING), _running(world))
        if entered.is_final():
            return (yield from finish(world, adopt(entered)))
    result = yield from (_called if world.streams else _cached)(world, args, kwargs)
    return (yield from finish(world, result))


def finish(world: AttemptWorld, result: AttemptResult) -> Generator[Step, Any, AttemptResult]:
    """Decide about a retry, then call handlers and hooks for the end."""
    options = world.spec.options
    if world.unheard is not None and world.unheard():
        return result
    if states.NAMES[result.code][1] is states.StateType.FAILED:
        result = yield from _retried(world, result)
    if not options.hooked and not (options.on_crashed or options.on_cancellation):
        return result
    state = _as_state(world, result)
    new = yield from _enter(world, _running(world), state)
    return result if new is state else adopt(new)


def _enter(world: AttemptWorld, old: State, new: State) -> Generator[Step, Any, State]:
    options, task, run = world.spec.options, task_of(world.spec), world.run
    new = yield from hooks.handled(options.state_handlers, task, old, new)
    run.state = new
    if new.is_final():
        run.end_time = new.timestamp
    yield from hooks.called(hooks.hooks_for(options, new), task, run, new, world.warn)
    return new


def _cached(
    world: AttemptWorld, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Generator[Step, Any, AttemptResult]:
    options, store = world.spec.options, world.spec.store
    wanted = options.cached or (options.persist_result and not world.packed)
    if store is None or options.persist_result is False or not wanted:
        return (yield from _called(world, args, kwargs))
    own = attribute(options.cache_policy, "result_store", None)  # where a policy keeps its values elsewhere
    if own is not None:
        store = own
    elif world.spec.probe is not None:
        yield Call(world.spec.probe.see, (store,))
    if not options.cached:
        key = f"run/{world.run.map_id}/{world.run.index}"
        return (yield from _stored(world, store, key, args, kwargs))
    try:
        found = caching.key_of(
            world.spec, world.run, world.parameters(), world.flow_parameters, world.digest
        )
    except caching.KeyFailed as error:
        if not (error.lasting and world.spec.warned):
            world.spec.warned = world.spec.warned or error.lasting
            world.warn(f"not cached: {text(error)}")
        return (yield from _called(world, args, kwargs))
    if found is None:
        return (yield from _called(world, args, kwargs))
    if not options.refresh_cache:
        hit = yield from _looked_up(world, store, found)
        if hit is not None:
            return AttemptResult(states.CACHED, hit.value, cache_key=found)
    owner = f"{world.run.id}#{world.run.attempt}"
    try:
        locked = yield Call(store.lock, (found, owner, options.timeout_seconds or LOCK_SECONDS))
    except AnabranchError as error:
        return failed(error)
    if not locked:
        return AttemptResult(states.AWAITING_CACHE, delay=CACHE_POLL_SECONDS, cache_key=found)
    try:
        # The lock's last holder may have stored the value since the look-up above.
        hit = None if options.refresh_cache else (yield from _looked_up(world, store, found))
        if hit is not None:
            return AttemptResult(states.CACHED, hit.value, cache_key=found)
        return (yield from _stored(world, store, found, args, kwargs))
    finally:
        store.unlock(found, owner)


def _looked_up(world: AttemptWorld, store: ResultStore, key: str) -> Generator[Step, Any, Stored | None]:
    """Return the value stored under the key; a store that cannot be read is a miss, with a warning."""
    try:
        found: Stored | None = yield Call(store.read, (key,))
    except AnabranchError as error:
        world.warn(f"the cached value could not be read, so the task runs: {text(error)}")
        return None
    return found


def _stored(
    world: AttemptWorld, store: ResultStore, key: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Generator[Step, Any, AttemptResult]:
    result = yield from _called(world, args, kwargs)
    if result.code != states.COMPLETED:
        return result
    expiration = world.spec.options.cache_expiration
    expires = None if expiration is None else time.time() + expiration
    try:
        yield Call(store.write, (key, result.value), {"expires": expires})
    except AnabranchError as error:
        return unstored(error)
    result.cache_key = key
    return result


def _called(
    world: AttemptWorld, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Generator[Step, Any, AttemptResult]:
    allowed = world.spec.options.timeout_seconds
    limit, watched = (allowed, None) if world.limited else (None, allowed)
    begun = time.perf_counter() if watched else 0.0
    try:
        value = yield Call(world.spec.fn, args, kwargs, timeout=None if world.streams else limit)
        if world.streams:
            value = yield from items.given(world, value, limit)
        elif type(value) is AsyncGeneratorType:
            value = yield Call(drive.listed, (value,), timeout=limit)
        else:
            value = plain_value(value)
    except PastTime:
        return timed_out(limit)
    except MemoryError as error:
        if world.capped is not None and world.capped():
            raise
        return failed(error)
    except Exception as error:
        return failed(error)
    if watched and time.perf_counter() - begun > watched:
        return timed_out(watched)  # it could not be stopped, and is late all the same
    if issubclass(type(value), State):
        return adopt(value)
    return AttemptResult(states.COMPLETED, value)




def failed(error: BaseException) -> AttemptResult:
    """Return the end of an attempt after an exception of the function."""
    return AttemptResult(
        states.FAILED, error=error, message=f"Task run encountered an exception {told(error)}"
    )


def timed_out(seconds: float | None) -> AttemptResult:
    """Return the end of an attempt that ran past its time."""
    message = f"Task run exceeded timeout of {seconds} second(s)"
    return AttemptResult(states.TIMED_OUT, error=TaskTimeoutError(message), message=message)


def unstored(error: BaseException) -> AttemptResult:
    """Return the end of an attempt with a value that could not be stored."""
    message = f"its result could not be stored: {text(error)}"
    return AttemptResult(states.FAILED, error=error, message=message, reason="result-store")


def crashed(error: BaseException) -> AttemptResult:
    """Return the end of an attempt that tried to end its worker (SystemExit and the like)."""
    kind = "system exit" if is_a(error, SystemExit) else type(error).__name__
    message = f"Execution was ended by {kind}: {text(error)}".rstrip(": ")
    by = attribute(error, "cancelled_by", "ctrl-c")  # set by a signal
    reason = f"cancelled/{by}" if is_a(error, KeyboardInterrupt) else "exit"
    return AttemptResult(states.CRASHED, error=error, message=message, reason=reason)


def _retried(world: AttemptWorld, result: AttemptResult) -> Generator[Step, Any, AttemptResult]:
    options = world.spec.options
    if not options.retries:
        return result
    failed_with = f"Task run failed with exception: {shown(result.error)}"
    if world.given:
        world.tell_failed(f"{failed_with} - No retry: items of it were taken already")
        return result
    attempt_number = world.run.counted
    delay = retries.decide(options, attempt_number, result.error, world.rng or random.Random())
    if delay is not None and options.retry_condition_fn is not None:
        try:
            world.run.state = _as_state(world, result)
            asked = (task_of(world.spec), world.run, world.run.state)
            again = bool((yield Call(options.retry_condition_fn, asked)))
        except Exception as error:
            world.warn(f"retry_condition_fn raised {shown(error)}: no retry")
            again = False
        delay = delay if again else None
    if delay is None:
        if attempt_number > options.retries:
            world.tell_failed(f"{failed_with} - Retries are exhausted")
        return result
    when = f"{delay:g} second(s) from now" if delay else "immediately"
    world.tell_failed(f"{failed_with} - Retry {attempt_number}/{options.retries} will start {when}")
    reason = "timeout" if result.code == states.TIMED_OUT else result.reason
    return AttemptResult(states.AWAITING_RETRY, error=result.error, message=result.message, delay=delay, reason=reason)


def _running(world: AttemptWorld) -> State:
    state = _state(world, states.RETRYING if world.run.attempt > 1 else states.RUNNING)
    state.start_time = state.timestamp
    return state


def _state(world: AttemptWorld, code: int, message: str = "", data: Any = None) -> State:
    name, kind = states.NAMES[code]
    return State(kind, name, message, data, attempt=world.run.attempt, run_id=world.run.id)


def _as_state(world: AttemptWorld, result: AttemptResult) -> State:
    data = result.value if states.is_success(result.code) else result.error
    state = _state(world, result.code, result.message, data)
    if result.name:
        state.name = result.name
    if result.code == states.AWAITING_RETRY:
        state.start_time = state.timestamp + result.delay
    return state


def adopt(state: State) -> AttemptResult:
    """Return the end for a state that the function returned or a handler put in place."""
    name = state.name if state.name != states.NAMES[state.code][0] else ""
    if state.is_completed():
        return AttemptResult(state.code, states.resolve_data(state.data), message=state.message, name=name)
    if state.is_final():
        return AttemptResult(state.code, error=state.exception(), message=state.message, name=name)
    if state.is_retrying():
        delay = max(0.0, (state.start_time or 0.0) - time.time())
        return AttemptResult(states.AWAITING_RETRY, error=None, message=state.message, delay=delay)
    return AttemptResult(states.COMPLETED, state, message=state.message)
