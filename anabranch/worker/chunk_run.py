"""One chunk being run: the data that its attempts need, one after another or together."""

from __future__ import annotations

import random
import threading
import time
from typing import TYPE_CHECKING, Any

from anabranch import logs
from anabranch.core import forks
from anabranch.core.context import TaskContext, TaskRun, current_task
from anabranch.core.errors import StoreError
from anabranch.core.walk import fill
from anabranch.engine import drive
from anabranch.engine.attempt import AttemptResult, AttemptWorld, crashed, failed, finish, timed_out, unstored
from anabranch.worker import storing
from anabranch.worker.reports import ReportBuffer

if TYPE_CHECKING:
    from anabranch.core.chunks import Chunk
    from anabranch.core.contracts import WorkerPort
    from anabranch.worker.stages import StagePlan

STOPPED = object()  # in place of a value: the later stages of this position do not run
_RNG = random.Random()  # shared: seeding a new one reads from the system, which releases the GIL for milliseconds


class ChunkRun:
    """One chunk, its stages' plans, and the buffer of its ended positions."""

    def __init__(self, chunk: Chunk, port: WorkerPort, plans: list[StagePlan]) -> None:
        self.chunk = chunk
        self.port = port
        self.plans = plans
        self.runs: list[TaskRun] = []  # one per stage, reused for plain runs one after another
        self.isasync = self.prints = self.persists = False
        self.items = chunk.stage_items or (chunk.items,) * len(plans)
        holds: list[bool] = []
        runs: dict[StagePlan, TaskRun] = {}
        for plan, keep in zip(plans, chunk.keep, strict=True):  # one loop, which for most chunks is one step
            if plan not in runs:
                runs[plan] = plan.new_run()
            self.runs.append(runs[plan])
            holds.append(keep or plan.blocks is not None)
            self.isasync = self.isasync or plan.isasync
            self.prints = self.prints or plan.prints
            self.persists = self.persists or plan.blocks is not None or plan.unseen is not None
        self.fns = {} if port.in_process else {plan.stage.map_id: plan.fn for plan in plans}
        self.buffer = ReportBuffer(chunk, port, plans, self.items, holds)
        self.report_ns = int(chunk.report_seconds * 1e9)
        self.copied = forks.mark()
        self.timed = bool(chunk.timeout) or getattr(port, "tracks", False)
        self.contexts = False  # whether items or stages have different contexts, and each runs in its own

    @property
    def has_several(self) -> bool:
        """Whether what surrounds its items differs from one to the next."""
        return self.contexts or len(self.plans) > 1

    # -- what an attempt is given ------------------------------------------------------------------

    def item(self, position: int) -> Any:
        item = self.chunk.args[position]
        wanted = self.chunk.wants.get(position)
        if wanted:
            item = fill(item, [self._input(n) for n in wanted])
        return item

    def _input(self, number: int) -> Any:
        """Return a value that an item reads: from the runner, or from the store of an earlier driver."""
        if number >= 0:
            handle, slot = self.chunk.inputs[number]
            return self.port.values(handle)[slot]
        name, slot = self.chunk.saved[-1 - number]
        store = self.plans[0].stage.store
        found = store.blocks.read(name, [slot])[0] if store is not None and store.blocks is not None else None
        if found is None:
            raise StoreError(f"a value stored earlier, which this task reads, is gone: {name}, value {slot}")
        return found.value

    def numbers(self, position: int) -> tuple[int, int]:
        """Return a position's attempt in the first stage, and how many before it are not counted."""
        chunk = self.chunk
        attempt = 1 if chunk.attempts is None else chunk.attempts[position]
        return attempt, chunk.uncounted_attempts[position] if chunk.uncounted_attempts else 0

    def run_of(self, plan: StagePlan, number: int, position: int) -> TaskRun:
        run = plan.new_run()
        run.index = self.items[number][position]
        if number == 0:
            run.attempt, run.uncounted_attempts = self.numbers(position)
        run.start_time = time.time()
        return run

    def context_of(self, plan: StagePlan, run: TaskRun, position: int) -> TaskContext:
        return TaskContext(
            run, self.port, self.chunk.id, position, self.buffer.log.append, plan.stage.level, spec=plan.spec
        )

    def world(self, plan: StagePlan, run: TaskRun, item: Any) -> AttemptWorld:
        def bound() -> dict[str, Any]:
            return plan.parameters(*plan.bind(item))

        if run.start_time and item is not STOPPED:  # no run that is reused for the next item
            run.bound = bound
        return AttemptWorld(
            plan.spec, run, bound, plan.stage.parameters,
            lambda text: logs.run_warning(text), _RNG, plan.isasync, plan.digest,
            plan.blocks is not None and not plan.soft,
            self._capped, unheard=self._unheard, tell_failed=logs.attempt_failed,
        )  # fmt: skip

    def parameters(self, context: TaskContext) -> dict[str, Any]:
        """Return the arguments of the plain run that goes on now, by name."""
        for plan, run in zip(self.plans, self.runs, strict=True):
            if run is context.run:
                return plan.parameters(*plan.bind(context.item))
        return {}

    # -- how an attempt ends -----------------------------------------------------------------------

    def finished(self, plan: StagePlan, run: TaskRun, result: AttemptResult, item: Any) -> AttemptResult:
        """Finish a failed attempt: decide about a retry, call hooks."""
        return drive.run(finish(self.world(plan, run, item), result))

    def ended(self, error: BaseException) -> AttemptResult:
        """Return the end of an attempt after an exception; raises exceptions that must end the chunk."""
        if self.copied:  # this is a forked copy of the worker, and the item belongs to the worker
            forks.leave(error.error if isinstance(error, forks.Copied) else error)
        if isinstance(error, Late):
            return timed_out(error.seconds)
        if isinstance(error, MemoryError) and self._capped():
            raise error
        if isinstance(error, Exception):
            return failed(error)
        if type(error).__name__ == "WrittenOff" or self._must_pass(error):
            raise error
        return crashed(error)

    def _capped(self) -> bool:
        """Return whether the process has a memory limit, so that a MemoryError is not the code's fault."""
        return bool(getattr(self.port, "capped", False))

    def _unheard(self) -> bool:
        """Return whether the runner has written this chunk's thread off; the driver has ended the item."""
        return bool(getattr(self.port, "off", False))

    def _must_pass(self, error: BaseException) -> bool:
        """Return whether this is a Ctrl-C in the main program, which the driver handles."""
        main = threading.current_thread() is threading.main_thread()
        return isinstance(error, KeyboardInterrupt) and main and self.port.in_process

    # -- reports -----------------------------------------------------------------------------------

    def report(self, upto: int, *, final: bool) -> None:
        """Store the persistent values of the positions before `upto`, and report these."""
        count = upto - self.buffer.first
        stored = self._persist(count) if count and self.persists else ()
        self.buffer.send(upto, stored, final=final)

    def _persist(self, count: int) -> tuple[str, ...]:
        """Store the persistent values of the columns; a slow store is written to less often."""
        buffer = self.buffer
        if self.timed:
            self.port.item(self.chunk.id, 0, -1, 0, None)
        begun = time.perf_counter_ns()
        items = [column[buffer.first : buffer.first + count] for column in self.items]
        names = storing.store(self.plans, items, buffer.values, buffer.codes, self._unstored)
        buffer.storing_ns = time.perf_counter_ns() - begun
        self.report_ns = max(int(self.chunk.report_seconds * 1e9), 10 * buffer.storing_ns)
        return names

    def _unstored(self, stage: int, slot: int, error: Exception) -> None:
        """Fail an attempt after all, because its value could not be stored."""
        plan, position = self.plans[stage], self.buffer.first + slot
        run = self.run_of(plan, stage, position)
        token = current_task.set(self.context_of(plan, run, position))
        try:
            item = self.item(position) if stage == 0 else STOPPED
            result = self.finished(plan, run, unstored(error), item)
        finally:
            current_task.reset(token)
        self.buffer.settle_anew(stage, position, result)


class Late(Exception):
    """Raised for a sync item that ended after its time, where it could not be stopped."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds
