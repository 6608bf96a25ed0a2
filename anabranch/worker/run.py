"""The worker's composition root: runs a chunk's items through its stages and reports.

    for each position:   item -> stage 0 -> stage 1 -> ...     depth first, one attempt each
    every 100 ms:        port.report(columns of what has ended)

Runners hand `run_chunk` to their workers by reference; a port is all it sees of them. Stages
without hooks, caching and the like take a short way: the function is called here, and only what
goes wrong enters the policy in `engine.attempt`.
"""

from __future__ import annotations

import pickle
import random
import threading
import time
from array import array
from dataclasses import replace
from functools import partial
from types import CoroutineType
from typing import TYPE_CHECKING, Any

import cloudpickle

from anabranch import logs, prints
from anabranch.core import forks, secrets, states
from anabranch.core.context import TaskContext, TaskRun, current_task
from anabranch.core.contracts import Inline, Outcome, Report
from anabranch.core.errors import StoreError, TaskTimeoutError
from anabranch.core.failures import capture
from anabranch.core.own_code import pickler
from anabranch.core.sizes import SMALL, sizeof
from anabranch.core.walk import fill
from anabranch.engine import drive, loops
from anabranch.engine.answers import plain_value
from anabranch.engine.attempt import (
    Around,
    AttemptResult,
    adopt,
    attempt,
    crashed,
    failed,
    finish,
    timed_out,
    unstored,
)
from anabranch.worker import contexts, storing
from anabranch.worker.nested_scope import WorkerScope
from anabranch.worker.stages import StagePlan, plan_of
from anabranch.worker.together import together

if TYPE_CHECKING:
    from anabranch.core.contracts import Block, Chunk, WorkerPort

_Pickler = pickler(cloudpickle.Pickler)
REPORT_SECONDS = 0.1
REPORT_NS = int(REPORT_SECONDS * 1e9)
YIELD_SECONDS = 0.02  # between pauses for the thread that hears the driver
_RNG = random.Random()  # seeding one reads from the system, which gives the interpreter away for milliseconds
_STOPPED = object()  # in the place of a value: the later stages of this position do not run


def run_chunk(chunk: Chunk, port: WorkerPort) -> None:
    """Run a chunk to its end: exactly one final report, whatever the user's code does."""
    plans = [plan_of(port, ref) for ref in chunk.stages]
    work = Work(chunk, port, plans)
    if not port.in_process:
        loops.main_owns_loop()
    contexts.run(_run, work)


def _run(work: Work) -> None:
    chunk, port, plans = work.chunk, work.port, work.plans
    if work.isasync:
        with prints.prints(work.prints):
            loops.run(together(work))
        return
    context = TaskContext(work.runs[0], port, chunk.id, 0, work.log.append, plans[0].stage.level)
    if not port.in_process:
        context.scope, context.fns = WorkerScope(context), work.fns
    token = current_task.set(context)
    printing = prints.start_prints(work.prints)
    try:
        work.in_turn(context)
    finally:
        prints.end_prints(printing)
        current_task.reset(token)
        context.over = True


class Work:
    """One chunk being run: columns of what has ended since the last report."""

    def __init__(self, chunk: Chunk, port: WorkerPort, plans: list[StagePlan]) -> None:
        self.chunk = chunk
        self.port = port
        self.plans = plans
        self.runs: list[TaskRun] = []  # for plain runs, one after another
        self.holds: list[bool] = []
        self.values: list[list[Any]] = []
        self.isasync = self.prints = self.persists = False
        runs: dict[StagePlan, TaskRun] = {}
        for plan, keep in zip(plans, chunk.keep, strict=True):  # one loop: of most chunks it is one step
            if plan not in runs:
                runs[plan] = plan.new_run()
            self.runs.append(runs[plan])
            self.holds.append(keep or plan.blocks is not None)
            self.values.append([])
            self.isasync = self.isasync or plan.isasync
            self.prints = self.prints or plan.prints
            self.persists = self.persists or plan.blocks is not None or plan.unseen is not None
        self.fns = {} if port.in_process else {plan.stage.map_id: plan.fn for plan in plans}
        self.failing: list[tuple[int, int, Any]] = []  # stage, item and input of what failed for good, if it is kept
        self.report_ns = REPORT_NS
        self.items = chunk.stage_items or (chunk.items,) * len(plans)
        self.log = logs.Buffer()
        self.base = self.told_at = time.time()
        self.zero = time.perf_counter_ns()
        self.codes: list[bytearray] | None = None  # made when something does not just complete
        self.outcomes: list[Outcome] = []
        self.started = array("i")
        self.durations = array("i")
        self.first = 0
        self.nbytes = 0
        self.behind = [0] * len(plans)  # of these, those of later stages; the first one has the rest
        self.copied = forks.mark()
        self.timed = bool(chunk.timeout) or getattr(port, "tracks", False)
        self.contexts = False  # its items, or stages, have several: each is run in its own

    # -- one after another -----------------------------------------------------------------------

    def in_turn(self, context: TaskContext) -> None:
        chunk, port, plans = self.chunk, self.port, self.plans
        total, now = len(chunk), time.perf_counter_ns
        stop = total
        close_ns = int(chunk.close_seconds * 1e9) or 1 << 62
        report_at = self.zero + REPORT_NS
        look_at = 0
        fast = plans[0] if len(plans) == 1 and plans[0].plain and not self.contexts else None
        args, wants, copied = chunk.args, chunk.wants, self.copied
        yield_ns = 1 << 62 if port.in_process else int(YIELD_SECONDS * 1e9)
        yield_at = self.zero + yield_ns
        position = 0
        while position < stop:
            begun = now()
            if begun >= look_at:  # asking costs as much as a tiny item: ask at most every 50 us
                look_at = begun + 50_000
                limit = port.limit(chunk.id)
                if limit is not None and limit < stop:  # known from here on, also between two looks
                    stop = limit
                    if position >= stop:
                        break
            if port.cancelled(chunk.id, position):
                self.skip(position, states.CANCELLED, "cancelled before it started")
            elif fast is not None:
                self.plainly(0, fast, position, self.item(position) if wants else args[position], context)
            else:
                self.deep(position, context)
            if copied:
                forks.leave(None)
            ended = now()
            self.started.append((begun - self.zero) // 1000)
            self.durations.append((ended - begun) // 1000)
            position += 1
            if ended > yield_at:
                yield_at = ended + yield_ns
                time.sleep(0)  # let the thread that hears the driver have its turn
            if ended >= report_at or self.nbytes >= chunk.close_bytes:
                if position == total:
                    break
                if ended - self.zero >= close_ns or self.nbytes >= chunk.close_bytes:
                    break
                self.report(position, final=False)
                report_at = now() + self.report_ns
        if self.timed:
            port.item(chunk.id, 0, -1, 0, None)
        if context.scope is not None and context.scope.feeds:  # what has ended is told before the wait
            self.report(position, final=False)
            context.scope.finish()
        self.report(position, final=True)

    def plainly(self, number: int, plan: StagePlan, position: int, item: Any, context: TaskContext) -> Any:
        """A plain stage: nothing but the call, unless it goes wrong. The value, or `_STOPPED` after any other end."""
        chunk = self.chunk
        context.run = run = self.runs[number]
        context.position = position
        run.index = self.items[number][position]
        run.attempt, run.excused = (1, 0) if number or chunk.attempts is None else numbers_of(chunk, position)
        limit = plan.spec.options.timeout_seconds
        try:
            if self.timed:
                self.port.item(chunk.id, number, position, run.attempt, limit)
            begun = time.perf_counter() if limit else 0.0
            if plan.single:
                value = plan.fn(item)
            else:
                args, kwargs = plan.bind(item)
                value = plan.fn(*args, **kwargs)
            if type(value) not in SMALL:
                value = self.checked(plan, value, limit, begun)
            elif limit and time.perf_counter() - begun > limit:
                raise _Late(limit)
        except BaseException as error:
            value = self.ended(error)
        if type(value) is AttemptResult:
            if plan.watched:
                context.run = replace(run, start_time=self.item_began())
            result = self.finished(plan, context, value, item)
            self.settle(number, position, result)
            if states.is_success(result.code):
                return result.value
            self.stopped(number, position, item, result)
            return _STOPPED
        if self.holds[number]:
            self.values[number].append(value)
            size = 32 if type(value) in SMALL else sizeof(value)
            self.nbytes += size
            if number:
                self.behind[number] += size
        else:
            self.values[number].append(None)
        if self.codes is not None:
            self.codes[number].append(states.COMPLETED)
        return value

    def checked(self, plan: StagePlan, value: Any, limit: float | None, begun: float) -> Any:
        """A value that is no plain number: coroutines, futures and generators are resolved, states adopted."""
        if type(value) is CoroutineType:
            value = self.awaited(value, limit, begun)
        value = plain_value(value)
        if limit and time.perf_counter() - begun > limit:
            raise _Late(limit)
        if issubclass(type(value), states.State):
            return adopt(value)
        return value

    def awaited(self, work: CoroutineType[Any, Any, Any], limit: float | None, begun: float) -> Any:
        """What a coroutine gives that a plain function has returned, in the time that is left to it."""
        if not limit:
            return loops.run(work)
        try:
            return drive.run_within(work, begun + limit - time.perf_counter(), limit)
        except TaskTimeoutError as error:
            if error.state is not None:  # an inner task's
                raise
            raise _Late(limit) from None

    def finished(self, plan: StagePlan, context: TaskContext, result: AttemptResult, item: Any) -> AttemptResult:
        """The failure part of the attempt: retry or not, hooks."""
        return drive.run(finish(self.around(plan, context.run, item), result))

    def item_began(self) -> float:
        """When a plain item began that has not ended: as the one before it ended, or the last report was sent."""
        if not self.started:
            return self.told_at
        return self.base + (self.started[-1] + self.durations[-1]) / 1e6

    def ended(self, error: BaseException) -> AttemptResult:
        if self.copied:  # what runs here is a forked copy of the worker, and its item is not its own
            forks.leave(error.error if isinstance(error, forks.Copied) else error)
        if isinstance(error, _Late):
            return timed_out(error.seconds)
        if isinstance(error, MemoryError) and self.capped():
            raise error
        if isinstance(error, Exception):
            return failed(error)
        if type(error).__name__ == "WrittenOff" or self.must_pass(error):
            raise error
        return crashed(error)

    def capped(self) -> bool:
        """Whether a MemoryError is no fault of the code: the process has a limit of its own."""
        return bool(getattr(self.port, "capped", False))

    def unheard(self) -> bool:
        """Whether the runner has written this chunk's thread off: the driver has told of its end."""
        return bool(getattr(self.port, "off", False))

    def must_pass(self, error: BaseException) -> bool:
        """Ctrl-C in the main program is the driver's business, not the item's."""
        main = threading.current_thread() is threading.main_thread()
        return isinstance(error, KeyboardInterrupt) and main and self.port.in_process

    def deep(self, position: int, context: TaskContext) -> None:
        """All stages of one position, each through the whole policy."""
        item = self.item(position)
        for number, plan in enumerate(self.plans):
            take = self.plainly if plan.plain else self.policed
            call = partial(contexts.apart, self, take) if self.contexts else take
            item = call(number, plan, position, item, context)
            if item is _STOPPED:
                break

    def policed(self, number: int, plan: StagePlan, position: int, item: Any, context: TaskContext) -> Any:
        """A stage through the whole policy; as `plainly`."""
        context.run = run = self.run_of(plan, number, position)
        context.position = position
        try:
            args, kwargs = plan.bind(item)
            plan.name_run(run, args, kwargs)
            limit = plan.spec.options.timeout_seconds
            if self.timed:
                self.port.item(self.chunk.id, number, position, run.attempt, limit)
            result = drive.run(attempt(self.around(plan, run, item), args, kwargs))
            del args, kwargs
        except BaseException as error:
            result = self.finished(plan, context, self.ended(error), item)
        self.settle(number, position, result)
        if states.is_success(result.code):
            return result.value
        self.stopped(number, position, item, result)
        return _STOPPED

    def stopped(self, number: int, position: int, item: Any, result: AttemptResult) -> None:
        """A stage did not succeed: those after it do not begin, and what failed for good may be called again."""
        self.skip_rest(number + 1, position)
        self.keep_input(number, position, item, result)

    def keep_input(self, number: int, position: int, item: Any, result: AttemptResult) -> None:
        """Keep the input of what failed for good, if anybody may ask for it."""
        if self.plans[number].inputs is not None and _is_failure(result.code):
            self.failing.append((number, self.items[number][position], item))

    def item(self, position: int) -> Any:
        item = self.chunk.args[position]
        wanted = self.chunk.wants.get(position)
        if wanted:
            item = fill(item, [self.input(n) for n in wanted])
        return item

    def input(self, number: int) -> Any:
        """A value that an item reads: of the runner's, or one that an earlier driver of the run has stored."""
        if number >= 0:
            handle, slot = self.chunk.inputs[number]
            return self.port.values(handle)[slot]
        name, slot = self.chunk.saved[-1 - number]
        store = self.plans[0].stage.store
        found = store.blocks.read(name, [slot])[0] if store is not None and store.blocks is not None else None
        if found is None:
            raise StoreError(f"a value stored earlier, which this task reads, is gone: {name}, value {slot}")
        return found.value

    def run_of(self, plan: StagePlan, number: int, position: int) -> TaskRun:
        run = plan.new_run()
        run.index = self.items[number][position]
        if number == 0:
            run.attempt, run.excused = numbers_of(self.chunk, position)
        run.start_time = time.time()
        return run

    def around(self, plan: StagePlan, run: TaskRun, item: Any) -> Around:
        def bound() -> dict[str, Any]:
            return plan.parameters(*plan.bind(item))

        if plan.watched and item is not _STOPPED:
            run.bound = bound
        return Around(
            plan.spec, run, bound, plan.stage.parameters,
            lambda text: logs.run_warning(text), _RNG, plan.isasync, plan.digest,
            plan.blocks is not None and not plan.soft,
            self.capped, unheard=self.unheard,
        )  # fmt: skip

    # -- together, on a loop: see worker_together ------------------------------------------------

    def settle_all(self, position: int, found: list[AttemptResult], at: tuple[int, int]) -> None:
        for number, result in enumerate(found):
            self.settle(number, position, result)
        if len(found) < len(self.plans):
            self.skip_rest(len(found), position)
        self.started.append(at[0])
        self.durations.append(at[1])

    # -- columns ---------------------------------------------------------------------------------

    def settle(self, stage: int, position: int, result: AttemptResult) -> None:
        """Note how one stage of one position ended."""
        plain = result.code == states.COMPLETED and not (result.message or result.name)
        if not plain and self.codes is None:
            self.codes = [bytearray([states.COMPLETED]) * len(column) for column in self.values]
        value = result.value if states.is_success(result.code) and self.holds[stage] else None
        self.values[stage].append(value)
        size = 0 if value is None else sizeof(value)
        self.nbytes += size
        if stage:
            self.behind[stage] += size
        if self.codes is not None:
            self.codes[stage].append(result.code)
        if not plain:
            self.outcomes.append(self.outcome(stage, position, result))

    def outcome(self, stage: int, position: int, result: AttemptResult) -> Outcome:
        error = None
        if result.error is not None:
            error = capture(
                result.error, in_process=self.port.in_process, dumps=_Pickler.dumps, loads=pickle.loads
            )
        message, name = secrets.mask(result.message), secrets.mask(result.name)
        end = (result.code, message, name, error, result.delay, result.cache_key, result.reason)
        return Outcome(stage, position, *end)

    def skip(self, position: int, code: int, message: str) -> None:
        for stage in range(len(self.plans)):
            self.settle(stage, position, AttemptResult(code, message=message))

    def skip_rest(self, stage: int, position: int) -> None:
        """Stages after one that did not succeed do not run; what becomes of them is the driver's to say."""
        for number in range(stage, len(self.plans)):
            self.settle(number, position, AttemptResult(states.PENDING))

    def persist(self, count: int) -> tuple[str, ...]:
        """Store what is to persist of the columns; a store that is slow is written to less often."""
        if self.timed:
            self.port.item(self.chunk.id, 0, -1, 0, None)
        begun = time.perf_counter_ns()
        items = [column[self.first : self.first + count] for column in self.items]
        names = storing.store(self.plans, items, self.values, self.codes, self.unstored)
        self.report_ns = max(REPORT_NS, 10 * (time.perf_counter_ns() - begun))
        return names

    def unstored(self, stage: int, slot: int, error: Exception) -> None:
        """A value that could not be stored: its attempt has failed after all."""
        plan, position = self.plans[stage], self.first + slot
        run = self.run_of(plan, stage, position)
        context = TaskContext(run, self.port, self.chunk.id, position, self.log.append, plan.stage.level)
        token = current_task.set(context)
        try:
            item = self.item(position) if stage == 0 else _STOPPED
            result = self.finished(plan, context, unstored(error), item)
        finally:
            current_task.reset(token)
        if self.codes is None:
            self.codes = [bytearray([states.COMPLETED]) * len(column) for column in self.values]
        storing.overwrite(
            stage, slot, self.outcome(stage, position, result), self.values, self.codes, self.outcomes
        )

    def report(self, upto: int, *, final: bool) -> None:
        count = upto - self.first
        stored = self.persist(count) if count and self.persists else ()
        lines, dropped = self.log.take()
        if lines or dropped:
            self.port.log(lines, dropped)
        self.behind[0] = self.nbytes - sum(self.behind)
        blocks: list[Block] = [
            Inline(values, size) if keep and count else None
            for values, size, keep in zip(self.values, self.behind, self.chunk.keep, strict=True)
        ]
        codes = None if self.codes is None else tuple(bytes(c) for c in self.codes)
        report = Report(
            self.chunk.id, self.first, count, final, self.base, self.started, self.durations, codes, self.outcomes,
            tuple(blocks), self.port.worker, stored,
        )  # fmt: skip
        if self.plans[0].stage.hashed is not None:
            report.digests = storing.digests(self.plans[0], self.chunk.args[self.first : upto])
        if self.failing:
            report.notes, self.failing = storing.store_inputs(self.plans, self.failing), []
        self.values = [[] for _ in self.plans]
        self.codes, self.outcomes = None, []
        self.started, self.durations = array("i"), array("i")
        self.first, self.nbytes, self.behind = upto, 0, [0] * len(self.plans)
        self.told_at = time.time()
        self.port.report(report)


def _is_failure(code: int) -> bool:
    return code >= states.FAILED and code != states.CANCELLED


def numbers_of(chunk: Chunk, position: int) -> tuple[int, int]:
    """A position's attempt in the first stage, and how many before it were excused."""
    attempt = 1 if chunk.attempts is None else chunk.attempts[position]
    return attempt, chunk.excused[position] if chunk.excused else 0


class _Late(Exception):
    """A sync item ended after its time, where nothing could stop it."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds
