"""Runs the items of a chunk one after another, each through all its stages.

plain stage     the function is called here, and only failures enter the policy
other stages    (hooks of every run, caching, values stored one by one) the whole policy of engine/attempt.py

A call takes a tenth of a tiny item's half microsecond, so `in_turn` and `plainly` have their code inline.
"""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from anabranch.core import forks, observing, states
from anabranch.core.sizes import SMALL, sizeof
from anabranch.engine import drive, loops
from anabranch.engine.answers import plain_value
from anabranch.engine.attempt import AttemptResult, adopt, attempt
from anabranch.engine.steps import PastTime
from anabranch.worker import contexts
from anabranch.worker.chunk_run import STOPPED, Late

if TYPE_CHECKING:
    from collections.abc import Callable

    from anabranch.core.context import TaskContext
    from anabranch.worker.chunk_run import ChunkRun
    from anabranch.worker.stages import StagePlan

YIELD_SECONDS = 0.02  # between pauses for the thread that listens to the driver


def in_turn(work: ChunkRun, context: TaskContext) -> None:
    """Run the items and report, at the chunk's intervals and at the end."""
    chunk, port, buffer = work.chunk, work.port, work.buffer
    total, now = len(chunk), time.perf_counter_ns
    zero = buffer.zero
    stop = total
    close_ns = int(chunk.close_seconds * 1e9) or 1 << 62
    report_at = zero + work.report_ns
    look_at = 0
    fast = work.plans[0] if len(work.plans) == 1 and work.plans[0].plain and not work.contexts else None
    args, wants, copied = chunk.args, chunk.wants, work.copied
    yield_ns = 1 << 62 if port.in_process else int(YIELD_SECONDS * 1e9)
    yield_at = zero + yield_ns
    position = 0
    while position < stop:
        begun = now()
        if begun >= look_at:  # a look at the port costs as much as a tiny item: at most every 50 us
            look_at = begun + 50_000
            limit = port.limit(chunk.id)
            if limit is not None and limit < stop:  # holds from here on, also between two looks
                stop = limit
                if position >= stop:
                    break
        if port.cancelled(chunk.id, position):
            buffer.skip(position, states.CANCELLED, "cancelled before it started")
        elif fast is not None:
            plainly(work, 0, fast, position, work.item(position) if wants else args[position], context)
        else:
            _deep(work, position, context)
        if copied:
            forks.leave(None)
        ended = now()
        try:
            buffer.started.append((begun - zero) // 1000)
            buffer.durations.append((ended - begun) // 1000)
        except OverflowError:
            buffer.note_long((begun - zero) // 1000, (ended - begun) // 1000)
        position += 1
        if ended > yield_at:
            yield_at = ended + yield_ns
            time.sleep(0)  # gives the thread that listens to the driver its turn
        if ended >= report_at or buffer.nbytes >= chunk.close_bytes:
            if position == total:
                break
            if ended - zero >= close_ns or buffer.nbytes >= chunk.close_bytes:
                break
            work.report(position, final=False)
            report_at = now() + work.report_ns
    if work.timed:
        port.item(chunk.id, 0, -1, 0, None)
    if context.scope is not None and context.scope.feeds:  # ended items are reported before the wait
        work.report(position, final=False)
        context.scope.finish()
    work.report(position, final=True)


def plainly(work: ChunkRun, number: int, plan: StagePlan, position: int, item: Any, context: TaskContext) -> Any:
    """Run a plain stage: just the call, unless it fails. Returns the value, or `STOPPED` after any other end."""
    chunk = work.chunk
    context.run = run = work.runs[number]
    context.position = position
    context.item = item
    run.index = work.items[number][position]
    run.attempt, run.uncounted_attempts = (1, 0) if number or chunk.attempts is None else work.numbers(position)
    limit = plan.spec.options.timeout_seconds
    try:
        if work.timed:
            work.port.item(chunk.id, number, position, run.attempt, limit)
        begun = time.perf_counter() if limit else 0.0
        if plan.single:
            value = plan.fn(item)
        else:
            args, kwargs = plan.bind(item)
            value = plan.fn(*args, **kwargs)
        if type(value) not in SMALL:
            value = _checked(value, limit, begun)
        elif limit and time.perf_counter() - begun > limit:
            raise Late(limit)
    except BaseException as error:
        value = work.ended(error)
    buffer = work.buffer
    if type(value) is AttemptResult:
        if plan.watched:
            context.run = run = replace(run, start_time=buffer.item_began())
        result = work.finished(plan, run, value, item)
        return _settled(work, number, position, item, result)
    if buffer.holds[number]:
        buffer.values[number].append(value)
        size = 32 if type(value) in SMALL else sizeof(value)
        buffer.nbytes += size
        if number:
            buffer.behind[number] += size
    else:
        buffer.values[number].append(None)
    if buffer.codes is not None:
        buffer.codes[number].append(states.COMPLETED)
    return value


def _checked(value: Any, limit: float | None, begun: float) -> Any:
    """Check a value that is no plain number: resolve coroutines, futures and generators, adopt states."""
    if type(value) is CoroutineType:
        value = _awaited(value, limit, begun)
    value = plain_value(value)
    if limit and time.perf_counter() - begun > limit:
        raise Late(limit)
    if issubclass(type(value), states.State):
        return adopt(value)
    return value


def _awaited(work: CoroutineType[Any, Any, Any], limit: float | None, begun: float) -> Any:
    """Await a coroutine that a plain function has returned, in the time that is left."""
    if not limit:
        return loops.run(work)
    try:
        return drive.run_within(work, begun + limit - time.perf_counter(), limit)
    except PastTime:
        raise Late(limit) from None


def _deep(work: ChunkRun, position: int, context: TaskContext) -> None:
    """Run all stages of one position."""
    item = work.item(position)
    for number, plan in enumerate(work.plans):
        take = plainly if plan.plain else _policed
        if plan.stage.around and work.has_several:
            take = partial(_observed, take)
        if work.contexts:
            take = partial(contexts.apart, take)
        item = take(work, number, plan, position, item, context)
        if item is STOPPED:
            break


def _observed(take: Callable[..., Any], work: ChunkRun, number: int, plan: StagePlan, *args: Any) -> Any:
    """Run a stage of a position inside what its observers enter."""
    with observing.around(plan.stage.around):
        return take(work, number, plan, *args)


def _policed(work: ChunkRun, number: int, plan: StagePlan, position: int, item: Any, context: TaskContext) -> Any:
    """Run a stage through the whole policy; returns as `plainly`."""
    context.run = run = work.run_of(plan, number, position)
    context.position = position
    try:
        args, kwargs = plan.bind(item)
        plan.name_run(run, args, kwargs)
        limit = plan.spec.options.timeout_seconds
        if work.timed:
            work.port.item(work.chunk.id, number, position, run.attempt, limit)
        result = drive.run(attempt(work.world(plan, run, item), args, kwargs))
        del args, kwargs
    except BaseException as error:
        result = work.finished(plan, run, work.ended(error), item)
    return _settled(work, number, position, item, result)


def _settled(work: ChunkRun, number: int, position: int, item: Any, result: AttemptResult) -> Any:
    """Return the value of a completed stage; else skip the later stages, and keep the input for a later attempt."""
    buffer = work.buffer
    buffer.settle(number, position, result)
    if states.is_success(result.code):
        return result.value
    buffer.skip_rest(number + 1, position)
    buffer.keep_input(number, position, item, result)
    return STOPPED
