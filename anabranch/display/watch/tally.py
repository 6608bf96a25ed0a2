"""The items of one map as a reader of the record sees them end: counts, a strip of states, what each worker did."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from anabranch.core import states
from anabranch.core.counts import Counts

if TYPE_CHECKING:
    from collections.abc import Iterable

    from anabranch.core.runs import Ended, ItemBlock

RATE_SECONDS = 10.0  # the rate is taken over the last so many seconds
LONGEST = 1 << 26  # items; those beyond are not counted one by one
_OPEN = bytes(range(states.FIRST_ENDED))
_ENDED = bytes(range(states.FIRST_ENDED, states.ITEM_CODES))
_FAILING = bytes(states.FAILING)
_COMPLETED = bytes((states.COMPLETED,))


@dataclass(slots=True)
class Work:
    """What one worker did.

    Attributes:
        busy: seconds in which it ran items.
        last: when an item ended there last, in Unix seconds; 0.0 where times are not recorded.
    """

    items: int = 0
    busy: float = 0.0
    last: float = 0.0


class Share(NamedTuple):
    """A part of a map's items.

    Attributes:
        ended: from 0 to 1.
        failed: whether any of them failed or crashed.
    """

    ended: float
    failed: bool


class Tally:
    """Counts what `Records.ended` gives, look by look; what is given twice counts once.

    Attributes:
        over: whether the map had ended before the last look: nothing more comes.
    """

    def __init__(self) -> None:
        self.codes = bytearray()
        self.workers: dict[str, Work] = {}
        self.mark: object = None
        self.over = False
        self._later: dict[int, tuple[int, int]] = {}  # index -> attempt after the first, and its code
        self._left: list[tuple[int, int, int]] = []
        self._again: set[int] = set()  # items with a second attempt
        self._unbegun: set[int] = set()  # items of which the first one was ended before it began
        self._counts = Counts(b"")
        self._marks: deque[tuple[float, int]] = deque()

    @property
    def done(self) -> int:
        """How many items have ended."""
        return sum(self._counts.by_code[states.FIRST_ENDED :])

    @property
    def failed(self) -> int:
        """How many items have failed or crashed."""
        return sum(self._counts.by_code[code] for code in states.FAILING)

    @property
    def retried(self) -> int:
        """How many items were tried more than once."""
        once = self._unbegun & self._again
        return len(self._again) - sum(self._later.get(at, (2, 0))[0] <= 2 for at in once)

    def counts(self) -> dict[str, int]:
        """Return the number of items by state name; states that nothing tells of are left out."""
        return {name: n for name, n in self._counts.as_dict().items() if name != "Pending"}

    def take(self, ended: Ended) -> None:
        """Take in one look."""
        self.mark = ended.mark
        if ended.left is not None:
            self._left = ended.left
            self._again.update(index for index, attempt, state in ended.left if attempt > 1 or state in _WAITING)
        if not ended.blocks and ended.left is None:
            return
        for block in ended.blocks:
            if block.first + block.count <= LONGEST:
                self._lay(block)
        self._overlay()
        self._counts = Counts(self.codes)

    def rate(self, now: float) -> float:
        """Return the items a second over the last `RATE_SECONDS`; call it once a look."""
        done = self.done
        if not done:
            self._marks.clear()
        self._marks.append((now, done))
        while len(self._marks) > 2 and now - self._marks[1][0] >= RATE_SECONDS:
            self._marks.popleft()
        then, before = self._marks[0]
        return (done - before) / (now - then) if now > then else 0.0

    def strip(self, width: int, length: int | None) -> list[Share]:
        """Return the map's items in `width` parts of one size, by index."""
        total = max(length or 0, len(self.codes))
        if not total:
            return [Share(0.0, False)] * width
        edges = [total * n // width for n in range(width + 1)]
        return [self._share(low, max(high, low + 1)) for low, high in pairwise(edges)]

    def _share(self, low: int, high: int) -> Share:
        part = bytes(self.codes[low:high])
        ended = len(part.translate(None, _OPEN))
        return Share(ended / (high - low), len(part.translate(None, _FAILING)) < len(part))

    def _lay(self, block: ItemBlock) -> None:
        first, end = block.first, block.first + block.count
        if end > len(self.codes):
            self.codes.extend(bytes(end - len(self.codes)))
        piece = _COMPLETED * block.count if block.codes is None else block.codes
        fresh = len(self.codes[first:end].translate(None, _ENDED))
        if fresh and block.worker:
            self._work(block, fresh)
        if block.attempt == 1 and not block.started and states.CANCELLED in piece:
            self._unbegun.update(at for at, code in enumerate(piece, first) if code == states.CANCELLED)
        if block.attempt > 1:
            for at, code in enumerate(piece, first):
                if code and block.attempt >= self._later.get(at, (0, 0))[0]:
                    self._later[at] = (block.attempt, code)
            self._again.update(range(first, end))
        elif states.PENDING in piece:
            for at, code in enumerate(piece, first):
                if code:
                    self.codes[at] = code
        else:
            self.codes[first:end] = piece
        for at in self._later_in(first, end):
            self.codes[at] = self._later[at][1]

    def _later_in(self, first: int, end: int) -> Iterable[int]:
        if len(self._later) < end - first:
            return [at for at in self._later if first <= at < end]
        return [at for at in range(first, end) if at in self._later]

    def _work(self, block: ItemBlock, fresh: int) -> None:
        work = self.workers.setdefault(block.worker, Work())
        work.items += fresh
        if not block.started or not block.durations:
            return
        work.busy += max(0, sum(block.durations)) / 1e6 * fresh / block.count
        work.last = max(work.last, block.base + (block.started[-1] + max(0, block.durations[-1])) / 1e6)

    def _overlay(self) -> None:
        """Put the rows of items over their columns: a row tells what no column does, and waits for what one does."""
        for index, attempt, state in self._left:
            if index >= LONGEST:
                continue
            if index >= len(self.codes):
                self.codes.extend(bytes(index + 1 - len(self.codes)))
            code, known = self.codes[index], self._later.get(index, (1, 0))[0]
            if code >= states.FIRST_ENDED and (known > attempt or (known == attempt and state in _OPEN)):
                continue
            self.codes[index] = state if 0 <= state < states.ITEM_CODES else states.PENDING


_WAITING = (states.AWAITING_RETRY, states.RETRYING)
