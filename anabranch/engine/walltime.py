"""The known end of an allocation: what cannot end before it does not begin, and when nothing else can, the run drains.

      begin                          latest start of task A     of task B      end of work      end of the allocation
        |------------ all begins -------------|-- A is held back --|-- B too ------|---- margin ------|
                                              `-- what has not begun comes back: `Shorten`
                         nothing runs, something is held back, for a second --> NearEnd
                                                                                   `--------> NearEnd

How long an item takes is judged by those of its task that have ended: a high quantile of the last thousand. A task of
which nothing is known begins.

An item is interrupted if it is the first without a report in a chunk that is known to have begun: the runner said so,
or a report came, or its lane has had no more chunks than slots. Chunks wait on workers too; their items did not run.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, NamedTuple, Protocol

from anabranch.core.errors import ResourceError
from anabranch.core.instructions import NearEnd, Shorten
from anabranch.core.reasons import Reason, details_of, make
from anabranch.core.reports import ErrorInfo
from anabranch.engine.ranges import common

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from anabranch.core.chunks import Chunk
    from anabranch.core.instructions import Instruction
    from anabranch.core.maps import MapRun
    from anabranch.core.reports import Report
    from anabranch.core.runs import ItemRow
    from anabranch.engine.chunks import Pace
    from anabranch.engine.lanes import Flight, Lane

SAMPLE = 4  # items of a large report that are looked at, or a few more; a small one is looked at whole
SEEN = 1024  # durations of a task's last items that are kept
QUANTILE = 0.95  # of these; an item that takes longer is interrupted by the end
SETTLE = 1.0  # seconds without anything running, after which the rest is left to the next allocation
SHARE = 10  # the margin is at most this part of an allocation
NEARLY = 0.8  # of an allocation: an item that ran so long of it and did not end
TIMES = 2  # would not end in the next one either, if that happened so often
MESSAGE = "interrupted by the end of the walltime"

INTERRUPTED = "walltime/interrupted"
NEVER_FITS = "walltime/too-short"


class Span(NamedTuple):
    """The time that a program has in its allocation, in monotonic seconds: the end leaves the margin."""

    begin: float
    end: float

    @property
    def whole(self) -> float:
        return self.end - self.begin


class End(NamedTuple):
    """The end of an item that does not run to its own."""

    message: str
    error: ErrorInfo | None
    reason: Reason


def span_of(now: float, left: float, margin: float) -> Span:
    """Return what is left of an allocation that ends in `left` seconds, without the margin for all that comes last."""
    return Span(now, now + left - max(0.0, min(margin, left / SHARE)))


def longest(seen: Iterable[float]) -> float | None:
    """Return how long an item takes at most, judged by others of its task; None where there are no others."""
    ordered = sorted(seen)
    if not ordered:
        return None
    return ordered[min(len(ordered), math.ceil(QUANTILE * (len(ordered) + 1))) - 1]


def room(left: float, mean: float, most: float) -> int:
    """Return how many items, one after another, end within `left` seconds."""
    if left <= most:
        return 0
    return 1 + int((left - most) / max(mean, 1e-9))


def outlasted(attempts: Iterable[ItemRow], whole: float) -> str:
    """Return why an item is not begun in an allocation of `whole` seconds; "" where it may end in it.

    Args:
        attempts: the item's attempts, as earlier drivers recorded them.
    """
    ran = [found for row in attempts if row.reason == INTERRUPTED and (found := _nearly(row.details))]
    if len(ran) < TIMES or whole * NEARLY > max(ran):
        return ""
    return (
        f"it ran for {max(ran):.0f} s and did not end before its walltime, {len(ran)} times, and {whole:.0f} s are not "
        "enough either: ask for a longer walltime, or make its items smaller"
    )


def _nearly(details: str) -> float:
    """Return the seconds of an interrupted attempt that had nearly a whole walltime, else 0.0."""
    told = details_of(details)
    ran = float(told.get("ran", 0.0))
    return ran if ran >= NEARLY * float(told.get("walltime", math.inf)) else 0.0


def _begins_in_a_slot(lane: Lane, chunk: Chunk) -> bool:
    """Return whether a free slot is all that the chunk waits for: other runners say when a worker has begun it."""
    return lane.capabilities.in_process and not chunk.resources


class _Task:
    """What is known of one task's items."""

    __slots__ = ("fresh", "most", "seen", "total")

    def __init__(self) -> None:
        self.seen: deque[int] = deque(maxlen=SEEN)  # microseconds
        self.fresh = 0  # since `most` was found
        self.most = 0.0
        self.total = 0

    def took(self, durations: Sequence[int]) -> None:
        durations = durations[:: len(durations) // SAMPLE or 1]
        self.seen.extend(durations)
        self.fresh += len(durations)
        if self.fresh * 16 >= len(self.seen):
            self.fresh = 0
            self.most = (longest(self.seen) or 0) / 1e6


class Shared(Protocol):
    """The tables of the dispatcher that are looked at here; see `engine.tables`."""

    now: float
    out: list[Instruction]
    sent: dict[int, Flight]
    maps: dict[str, MapRun]

    def pace(self, map: MapRun) -> Pace: ...
    def enqueue(self, map: MapRun) -> None: ...


class Walltime:
    """Holds items back, by task; `tables.walltime`, where the end is known.

    Attributes:
        span: the time that there is.
        ended: how many items and calls have ended.
        due: the next moment at which a task's last items must have begun, or all must have ended.
    """

    __slots__ = ("_begun", "_held", "_idle", "_late", "_tables", "_tasks", "_told", "due", "ended", "span")

    def __init__(self, tables: Shared, span: Span) -> None:
        self._tables = tables
        self._tasks: dict[int, _Task] = {}  # by the shared id of the task
        self._held: dict[str, MapRun] = {}  # maps with ready items that are not begun
        self._late: set[int] = set()  # tasks of which nothing begins any more
        self._begun: dict[int, float] = {}  # chunks in flight that have begun: when that was known, or the last report
        self._idle: float | None = None  # since when nothing runs
        self._told = False
        self.ended = 0
        self.span = span
        self.due = span.end

    # -- sending ---------------------------------------------------------------------------------

    def room(self, map: MapRun) -> float:
        """Return how many items of this map may begin now, one after another; 0: none, and the map is held back."""
        left = self.span.end - self._tables.now
        task = self._tasks.get(map.sending.spec_ref)
        if left <= 0:
            found = 0.0
        elif task is None or not task.seen:
            found = math.inf
        else:
            found = room(left, self._tables.pace(map).seconds or task.most, task.most)
        if not found:
            self._held[map.id] = map
        return found

    def sent(self, lane: Lane, chunk: Chunk) -> None:
        """Note a chunk that was sent, and is counted in its lane."""
        if lane.in_flight <= lane.slots and _begins_in_a_slot(lane, chunk):
            self._begun[chunk.id] = self._tables.now

    # -- reports ---------------------------------------------------------------------------------

    def began(self, chunk: int) -> None:
        """Note that a worker has begun a chunk."""
        if chunk in self._tables.sent:
            self._begun.setdefault(chunk, self._tables.now)

    def took(self, sent: Flight, report: Report) -> None:
        """Learn from a report how long items of its task take."""
        self.ended += report.count
        ref = sent.maps[0].sending.spec_ref
        if report.durations is not None and report.count:
            task = self._tasks.setdefault(ref, _Task())
            task.took(report.durations)
            latest = self.span.end - task.most
            if ref in self._late and self._tables.now < latest:  # items have become shorter
                self._late.discard(ref)
                self._release(ref)
            if ref not in self._late:
                self.due = min(self.due, latest)
        self._begun[report.chunk] = self._tables.now

    def over(self, sent: Flight) -> None:
        """Forget a chunk that is in flight no more, and is not counted in its lane: one that waited may begin."""
        self._begun.pop(sent.chunk.id, None)
        lane = sent.lane
        if lane.in_flight == lane.slots and lane.capabilities.in_process:
            for other in self._tables.sent.values():
                if other.lane is lane and _begins_in_a_slot(lane, other.chunk):
                    self._begun.setdefault(other.chunk.id, self._tables.now)

    def _release(self, ref: int) -> None:
        for map in [m for m in self._held.values() if m.sending.spec_ref == ref]:
            del self._held[map.id]
            self._tables.enqueue(map)

    def forget(self, maps: Sequence[MapRun]) -> None:
        """Forget the maps of a flow run that has ended."""
        for map in maps:
            self._held.pop(map.id, None)

    # -- time ------------------------------------------------------------------------------------

    def next_due(self) -> float | None:
        """Return the next moment at which `look` has something to do."""
        if self._told:
            return None
        return self.due if self._idle is None else min(self.due, self._idle + SETTLE)

    def look(self, delayed: float | None) -> None:
        """Take back what has not begun of tasks that are past their latest start; tell of the end.

        Args:
            delayed: when the next delayed item comes back.
        """
        now = self._tables.now
        if now >= self.due:
            self._take_back(now)
        idle = self._idles(delayed)
        if not idle:
            self._idle = None
        elif self._idle is None:
            self._idle = now
        over = now >= self.span.end
        if not self._told and (over or (self._idle is not None and now >= self._idle + SETTLE)):
            self._told = True
            why = "The walltime is over" if over else "Nothing that waits can end within the walltime"
            self._tables.out.append(NearEnd(f"{why}."))

    def _take_back(self, now: float) -> None:
        fresh = {
            ref for ref, task in self._tasks.items() if ref not in self._late and now >= self.span.end - task.most
        }
        self._late |= fresh
        left = [self.span.end - task.most for ref, task in self._tasks.items() if ref not in self._late]
        self.due = min([*left, self.span.end if now < self.span.end else math.inf])
        for sent in self._tables.sent.values():
            if sent.maps[0].sending.spec_ref in fresh:
                self._tables.out.append(Shorten(sent.lane.index, sent.chunk.id, 0))

    def _idles(self, delayed: float | None) -> bool:
        """Return whether nothing runs and nothing can begin, and something would."""
        tables = self._tables
        self._held = {id: map for id, map in self._held.items() if map.queue.ready and not map.finished}
        if not self._held or (delayed is not None and delayed < self.span.end):
            return False
        if any(not sent.waiting for sent in tables.sent.values()):
            return False
        return not any(map.inputs.pulling for map in tables.maps.values())

    # -- explaining and ending -------------------------------------------------------------------

    def holds(self, map: MapRun) -> Reason | None:
        """Return why ready items of this map do not begin, where this is why."""
        if map.id not in self._held:
            return None
        task = self._tasks.get(map.sending.spec_ref)
        takes = task.most if task is not None else 0.0
        return make("walltime", takes=round(takes, 1), left=round(max(0.0, self.span.end - self._tables.now), 1))

    def refused(self, map: MapRun, lo: int, hi: int) -> Iterator[tuple[int, End]]:
        """Yield items of [lo, hi) that would be interrupted for ever."""
        for index in common(range(lo, hi), map.resume.interrupted):
            why = outlasted(map.resume.interrupted.pop(index, ()), self.span.whole)
            if why:
                text = f"item {index} of {map.spec.name!r}: {why}"
                error = ErrorInfo("ResourceError", text, "", exception=ResourceError(text))
                yield index, End(text, error, make(NEVER_FITS))

    def interrupted(self, map: MapRun) -> Iterator[tuple[int, End]]:
        """Yield the items of this map that are known to run now."""
        for chunk in map.queue.running:
            sent = self._tables.sent[chunk]
            begun = self._begun.get(chunk)
            position = next((p for p in range(sent.reported, len(sent.chunk)) if p not in sent.taken), None)
            if begun is None or position is None or sent.maps[0] is not map or map.is_terminal(sent.items[0][position]):
                continue
            why = make(INTERRUPTED, ran=round(self._tables.now - begun, 1), walltime=round(self.span.whole, 1))
            yield sent.items[0][position], End(MESSAGE, None, why)
