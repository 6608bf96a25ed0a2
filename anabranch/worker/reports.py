"""The positions of a chunk that ended since its last report, in columns: one per stage, a slot per position."""

from __future__ import annotations

import pickle
import threading
import time
from array import array
from typing import TYPE_CHECKING, Any

import cloudpickle

from anabranch import logs
from anabranch.core import secrets, states
from anabranch.core.failures import capture
from anabranch.core.microseconds import joined
from anabranch.core.own_code import pickler
from anabranch.core.reports import Inline, Outcome, Report
from anabranch.core.sizes import sizeof
from anabranch.core.spent import LATER
from anabranch.engine.attempt import AttemptResult
from anabranch.worker import storing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anabranch.core.chunks import Chunk
    from anabranch.core.contracts import WorkerPort
    from anabranch.core.reports import Block
    from anabranch.worker.stages import StagePlan

_Pickler = pickler(cloudpickle.Pickler)


class Slot(threading.local):
    """The time of this thread that no report has told of.

    Attributes:
        ended_ns: when its last chunk ended; 0: it had none.
        sending_ns: how long its last report took to leave, beyond what that report says.
    """

    ended_ns = 0
    sending_ns = 0


slot = Slot()


class ReportBuffer:
    """Collects the ends of positions in order; each report empties it.

    `in_turn.plainly` itself puts items that just complete into the columns: a call costs a tenth of a tiny item.

    Args:
        items: the items of each stage.
        holds: for each stage, whether its values are kept here until the report.
    """

    def __init__(
        self, chunk: Chunk, port: WorkerPort, plans: Sequence[StagePlan], items: Sequence[Sequence[int]],
        holds: list[bool],
    ) -> None:  # fmt: skip
        self.chunk = chunk
        self.port = port
        self.plans = plans
        self.items = items
        self.holds = holds
        self.log = logs.Buffer()
        self.base = self.told_at = time.time()
        self.zero = self.told_ns = time.perf_counter_ns()
        self.noted = LATER
        self.storing_ns = 0  # since the last report
        self.first = 0
        self._clear()

    def _clear(self) -> None:
        self.values: list[list[Any]] = [[] for _ in self.plans]
        self.codes: list[bytearray] | None = None  # made when an item does not just complete
        self.outcomes: list[Outcome] = []
        self.started = array("i")
        self.durations = array("i")
        self.nbytes = 0
        self.behind = [0] * len(self.plans)  # of these, those of later stages; the first one has the rest
        self.failing: list[tuple[int, int, Any]] = []  # stage, item and input of items that failed for good, if kept

    def item_began(self) -> float:
        """Return the start of the running plain item: the end of the one before, or the last report."""
        if not self.started:
            return self.told_at
        return self.base + (self.started[-1] + self.durations[-1]) / 1e6

    # -- ends ------------------------------------------------------------------------------------

    def settle(self, stage: int, position: int, result: AttemptResult) -> None:
        """Note the end of one stage of one position."""
        plain = result.code == states.COMPLETED and not (result.message or result.name)
        if not plain and self.codes is None:
            self.codes = self._all_completed()
        value = result.value if states.is_success(result.code) and self.holds[stage] else None
        self.values[stage].append(value)
        size = 0 if value is None else sizeof(value)
        self.nbytes += size
        if stage:
            self.behind[stage] += size
        if self.codes is not None:
            self.codes[stage].append(result.code)
        if not plain:
            self.outcomes.append(self._outcome(stage, position, result))

    def settle_all(self, position: int, found: list[AttemptResult], at: tuple[int, int]) -> None:
        """Note the ends of all stages of one position, with its start and duration."""
        for number, result in enumerate(found):
            self.settle(number, position, result)
        if len(found) < len(self.plans):
            self.skip_rest(len(found), position)
        try:
            self.started.append(at[0])
            self.durations.append(at[1])
        except OverflowError:
            self.note_long(*at)

    def note_long(self, started: int, took: int) -> None:
        """Note the times of a position, of any length; a start that was noted alone is replaced."""
        del self.started[len(self.durations) :]
        self.started = joined(self.started, array("q", (started,)))
        self.durations = joined(self.durations, array("q", (took,)))

    def skip(self, position: int, code: int, message: str) -> None:
        for stage in range(len(self.plans)):
            self.settle(stage, position, AttemptResult(code, message=message))

    def skip_rest(self, stage: int, position: int) -> None:
        """Skip the stages after one that did not succeed; the driver decides about them."""
        for number in range(stage, len(self.plans)):
            self.settle(number, position, AttemptResult(states.PENDING))

    def settle_anew(self, stage: int, position: int, result: AttemptResult) -> None:
        """Replace the end of a stage at this position; the stages after it have not begun."""
        slot = position - self.first
        if self.codes is None:
            self.codes = self._all_completed()
        self.outcomes = [one for one in self.outcomes if one.position != position or one.stage < stage]
        self.outcomes.append(self._outcome(stage, position, result))
        self.codes[stage][slot], self.values[stage][slot] = result.code, None
        for later in range(stage + 1, len(self.plans)):
            self.codes[later][slot], self.values[later][slot] = states.PENDING, None
            self.outcomes.append(Outcome(later, position, states.PENDING))

    def keep_input(self, number: int, position: int, item: Any, result: AttemptResult) -> None:
        """Keep the input of an item that failed for good, if inputs are stored."""
        failed = result.code >= states.FAILED and result.code != states.CANCELLED
        if failed and self.plans[number].inputs is not None:
            self.failing.append((number, self.items[number][position], item))

    def _all_completed(self) -> list[bytearray]:
        return [bytearray([states.COMPLETED]) * len(column) for column in self.values]

    def _outcome(self, stage: int, position: int, result: AttemptResult) -> Outcome:
        error = None
        if result.error is not None:
            here = self.port.in_process
            error = capture(result.error, in_process=here, dumps=_Pickler.dumps, loads=pickle.loads)
        message, name = secrets.mask(result.message), secrets.mask(result.name)
        end = (result.code, message, name, error, result.delay, result.cache_key, result.reason)
        return Outcome(stage, position, *end)

    # -- reports ---------------------------------------------------------------------------------

    def send(self, upto: int, stored: tuple[str, ...], *, final: bool) -> None:
        """Report all positions before `upto`.

        Args:
            stored: the names of the blocks that hold their values in the result store, one a stage.
        """
        count = upto - self.first
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
            report.notes = storing.store_inputs(self.plans, self.failing)
        idle, reading, _, _ = self.noted
        now, stored_ns = time.perf_counter_ns(), self.storing_ns
        packing = (stored_ns + slot.sending_ns) // 1000
        report.noted = (idle, reading, (now - self.told_ns - stored_ns) // 1000, packing)
        if final:  # the last report: after it nothing here may keep a value alive
            self.values, self.outcomes, self.failing = [], [], []
        else:
            self.first = upto
            self.told_at = time.time()
            self._clear()
            self.noted, self.storing_ns = LATER, 0
        self.port.report(report)
        self.told_ns = time.perf_counter_ns()
        slot.sending_ns = self.told_ns - now - (report.noted[3] - packing) * 1000
