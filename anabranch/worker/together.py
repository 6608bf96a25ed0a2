"""Async items of a chunk, run at the same time on one loop, at most `async_concurrency` of them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from anabranch import prints
from anabranch.core import observing, states
from anabranch.core.context import current_task
from anabranch.engine import drive
from anabranch.engine.attempt import AttemptResult, attempt, finish
from anabranch.worker import contexts
from anabranch.worker.nested_scope import WorkerScope

if TYPE_CHECKING:
    import asyncio

    from anabranch.worker.chunk_run import ChunkRun


async def together(work: ChunkRun) -> None:
    """Run a chunk's items; reports have them in order."""
    import asyncio

    chunk, port, buffer = work.chunk, work.port, work.buffer
    total = len(chunk)
    results: list[list[AttemptResult] | None] = [None] * total
    times: list[tuple[int, int]] = [(0, 0)] * total
    width = min(plan.spec.options.async_concurrency for plan in work.plans if plan.isasync)
    loop = asyncio.get_running_loop()
    running: set[asyncio.Task[None]] = set()
    broken: list[asyncio.Task[None]] = []  # tasks whose exception must end the chunk; others are in results
    woken = loop.create_future()
    position = done = 0

    async def one(at: int) -> None:
        begun = time.perf_counter_ns()
        results[at] = await _deep(work, at)
        times[at] = ((begun - buffer.zero) // 1000, (time.perf_counter_ns() - begun) // 1000)

    def over(task: asyncio.Task[None]) -> None:
        running.discard(task)
        if task.cancelled() or task.exception() is not None:
            broken.append(task)
        if not woken.done():
            woken.set_result(None)

    try:
        while position < total or running:
            limit = port.limit(chunk.id)
            upto = total if limit is None else min(total, limit)
            while position < upto and len(running) < width:
                task = loop.create_task(one(position))
                task.add_done_callback(over)
                running.add(task)
                position += 1
            if not running:
                break
            await woken
            for task in broken:
                task.result()
            woken = loop.create_future()
            before = done
            while done < position and (found := results[done]) is not None:
                buffer.settle_all(done, found, times[done])
                results[done] = None
                done += 1
            if done > before and time.perf_counter_ns() - buffer.zero > work.report_ns and done < total:
                work.report(done, final=False)
    finally:
        for task in running:  # the chunk is interrupted
            task.cancel()
    work.report(done, final=True)


async def _deep(work: ChunkRun, position: int) -> list[AttemptResult]:
    """Run all stages of one position, each through the whole policy."""
    import asyncio

    found: list[AttemptResult] = []
    item = work.item(position)
    for number in range(len(work.plans)):
        if work.port.cancelled(work.chunk.id, position):
            found.append(AttemptResult(states.CANCELLED, message="cancelled before it started"))
            break
        if work.contexts:
            here = contexts.of(work, number, position)
            result = await asyncio.create_task(_inside(work, number, position, item), context=here)
        else:
            result = await _stage(work, number, position, item)
        found.append(result)
        if not states.is_success(result.code):
            work.buffer.keep_input(number, position, item, result)
            break
        item = result.value
    return found


async def _inside(work: ChunkRun, number: int, position: int, item: Any) -> AttemptResult:
    """Run a stage in a context without anabranch's variables."""
    with prints.prints(work.prints):
        return await _stage(work, number, position, item)


async def _stage(work: ChunkRun, number: int, position: int, item: Any) -> AttemptResult:
    import asyncio

    plan = work.plans[number]
    run = work.run_of(plan, number, position)
    context = work.context_of(plan, run, position)
    if not work.port.in_process:
        context.scope, context.fns = WorkerScope(context), work.fns
    token = current_task.set(context)
    try:
        args, kwargs = plan.bind(item)
        plan.name_run(run, args, kwargs)
        with observing.around(plan.stage.around if work.has_several else ()):
            result = await drive.run_async(attempt(work.world(plan, run, item), args, kwargs))
        if context.scope is not None and context.scope.feeds:
            await asyncio.to_thread(context.scope.finish)
    except BaseException as error:
        result = await drive.run_async(finish(work.world(plan, run, item), work.ended(error)))
    finally:
        current_task.reset(token)
        context.over = True
    return result
