"""The worker's composition root: runs a chunk's items through its stages and reports.

    for each position:   item -> stage 0 -> stage 1 -> ...     depth first, one attempt each
    now and then:        port.report(columns of ended positions)

Runners hand `run_chunk` to their workers by reference; it sees a runner through its port alone.
"""

from __future__ import annotations

from time import perf_counter_ns
from typing import TYPE_CHECKING

from anabranch import prints
from anabranch.core import observing
from anabranch.core.context import current_task
from anabranch.engine import loops
from anabranch.worker import contexts
from anabranch.worker.chunk_run import ChunkRun
from anabranch.worker.in_turn import in_turn
from anabranch.worker.nested_scope import WorkerScope
from anabranch.worker.reports import slot
from anabranch.worker.stages import plan_of
from anabranch.worker.together import together

if TYPE_CHECKING:
    from anabranch.core.chunks import Chunk
    from anabranch.core.contracts import WorkerPort


def run_chunk(chunk: Chunk, port: WorkerPort) -> None:
    """Run a chunk to its end: exactly one final report, whatever the user's code does."""
    begun, reading, last = perf_counter_ns(), getattr(port, "reading_ns", 0), slot.ended_ns
    plans = [plan_of(port, ref) for ref in chunk.stages]
    work = ChunkRun(chunk, port, plans)
    idle = (begun - last - reading) // 1000 if last else -1
    work.buffer.noted, work.buffer.told_ns = (idle, reading // 1000, 0, 0), begun
    if not port.in_process:
        loops.main_owns_loop()
    contexts.run(_observed if plans[0].stage.around else _run, work)
    slot.ended_ns = perf_counter_ns()


def _observed(work: ChunkRun) -> None:
    with observing.around(() if work.has_several else work.plans[0].stage.around):
        _run(work)


def _run(work: ChunkRun) -> None:
    if work.isasync:
        with prints.prints(work.prints):
            loops.run(together(work))
        return
    context = work.context_of(work.plans[0], work.runs[0], 0)
    if not work.port.in_process:
        context.scope, context.fns = WorkerScope(context), work.fns
    context.bound = work.parameters
    token = current_task.set(context)
    printing = prints.start_prints(work.prints)
    try:
        in_turn(work, context)
    finally:
        prints.end_prints(printing)
        current_task.reset(token)
        context.over, context.item, context.bound = True, None, None
