"""The pilots of a run beside its first job: what is known of them, what is told, and which are asked for anew.

    asked for --starts, joins--> here --its walltime is near--> left --> asked for anew, together with others
        |                         '----its line breaks--------> lost --.
        '--ends before it joins: told with the reason                  '--> the queue is asked what became of it

A state machine without a queue, threads or a clock. The queue is asked by one question for all of them, and only while
one of them is neither here nor known to have ended; each wait for the next question is twice as long as the last.
A request that the queue refuses is repeated after such waits too, a few times; before each the queue is asked, which
may have taken the one before without an answer. A place is given up if its jobs end one after another without a word
to the driver: the way between them is closed.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from anabranch.core.launching import Phase

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from anabranch.core.launching import Sight

FIRST_LOOK = 30.0  # seconds from the start of the driver to the first question
LATEST_LOOK = 240.0  # Slurm forgets jobs 300 s after their end
GATHER_SECONDS = 30.0  # from the first pilot that left to one request for all that left
REFUSALS = 10  # in a row, after which no more is asked for: half an hour
MISSES = 5  # jobs of one place in a row that have not reached the driver, after which none is asked for
TELLING = 5  # last lines of a log that are told


class Crew:
    """What the driver knows of its pilots.

    Args:
        numbers: of the pilots that were asked for.
        now: monotonic seconds, as in all methods.
        there: whether they were asked for by an earlier start of the driver: then the queue is asked at once.
    """

    def __init__(self, numbers: Iterable[int], now: float, *, there: bool = False) -> None:
        self._open = set(numbers)  # neither here nor known to have ended
        self._here: set[int] = set()
        self._left: dict[int, str] = {}  # why they left, of those whose place no other is to take
        self._vain: set[int] = set()  # of which one has ended so: another such one is the last
        self._missed: Counter[int] = Counter()  # jobs in a row that have not reached the driver
        self._anew: set[int] = set()
        self._anew_at = 0.0
        self._refused: set[int] = set()  # of the open ones, those that the queue did not take when it was last asked
        self._refusals = 0  # in a row
        self._not_before = 0.0  # nothing is asked for earlier
        self._fill = there
        self._wait = FIRST_LOOK
        self.next_look = now if there else now + FIRST_LOOK

    @property
    def here(self) -> int:
        """How many work."""
        return len(self._here)

    def joined(self, number: int) -> None:
        """Note that a pilot works."""
        self._open.discard(number)
        self._anew.discard(number)
        self._refused.discard(number)
        self._left.pop(number, None)
        del self._missed[number]
        self._here.add(number)

    def left(self, number: int, now: float, *, again: bool, why: str = "") -> None:
        """Note that a pilot works no more.

        Args:
            again: whether another one is to take its place: its time was over, and not the work.
            why: it was let go for this reason; "": it was lost, and joins again where it can.
        """
        if number not in self._here:
            return
        self._here.discard(number)
        if again:
            self._anew_at = self._anew_at if self._anew else max(now + GATHER_SECONDS, self._not_before)
            self._anew.add(number)
            self._vain.discard(number)
        else:
            self._wait = FIRST_LOOK
            self.next_look = min(self.next_look, now + FIRST_LOOK) if self._open else now + FIRST_LOOK
            self._open.add(number)
            if why:
                self._left[number] = why

    def looks(self, now: float) -> bool:
        """Return whether the queue is to be asked now."""
        return now >= self.next_look and bool(self._open)

    def unanswered(self, now: float) -> None:
        """Note that the queue did not answer."""
        self._later(now)

    def looked(self, seen: Mapping[int, Sight], now: float) -> list[str]:
        """Take the queue's answer in; returns what is to be told."""
        self._later(now)
        found = []
        for number in sorted(self._open):
            sight = seen.get(number)
            if sight is not None and sight.phase is not Phase.ENDED:
                if number in self._refused:  # the request was taken after all
                    self._refused.discard(number)
                    self.taken()
                continue
            self._open.discard(number)
            refused = number in self._refused
            self._refused.discard(number)
            why = self._left.pop(number, "")
            in_vain = number in self._vain
            if why:
                self._vain.add(number)
            if in_vain and why and (sight is None or sight.code == 0):
                found.append(f"pilot {number} has ended: {why}; no other one takes its place")
            elif refused or self._fill:
                self._again(number, now)
            elif sight is None or sight.code == 0:  # it has found no driver
                self._missed[number] += 1
                if self._missed[number] < MISSES:
                    self._again(number, now)
                else:
                    found.append(_out_of_reach(number))
            else:
                found.append(_ended(number, sight))
        self._fill = False
        return found

    def _again(self, number: int, now: float) -> None:
        self._anew.add(number)
        self._anew_at = max(now, self._not_before)

    def _later(self, now: float) -> None:
        self.next_look = now + self._wait
        self._wait = min(2 * self._wait, LATEST_LOOK)

    def asks(self, now: float) -> list[int]:
        """Return the numbers of the pilots that are to be asked for anew now; they count as asked for."""
        if not self._anew or now < self._anew_at:
            return []
        found = sorted(self._anew)
        self._anew.clear()
        self._open.update(found)
        if not self._refusals:
            self._wait = FIRST_LOOK
            self.next_look = now + FIRST_LOOK
        return found

    def taken(self) -> None:
        """Note that the queue took the last request."""
        self._refusals, self._not_before = 0, 0.0

    def refused(self, numbers: Iterable[int], why: str, now: float) -> str:
        """Note that the queue did not take the last request; returns what is to be told, "" for nothing."""
        missing = self._open.intersection(numbers)
        self._refusals += 1
        if self._refusals == REFUSALS:
            self.taken()
            self._open -= missing
            return f"{_taking(missing)} any more: {REFUSALS} requests were refused, the last with: {why}"
        self._refused |= missing
        self._not_before = now + min(FIRST_LOOK * 2 ** (self._refusals - 1), LATEST_LOOK)
        only = missing == self._open  # others are looked for no later than without the refusal
        self.next_look = self._not_before if only else min(self.next_look, self._not_before)
        first = f"{_taking(missing)} so far: {why}. They are asked for again, ever more rarely"
        return first if self._refusals == 1 else ""

    def due(self) -> float | None:
        """Return the next moment at which something is to be done; None: nothing until a pilot comes or goes."""
        times = ([self.next_look] if self._open else []) + ([self._anew_at] if self._anew else [])
        return min(times, default=None)


def _taking(numbers: Iterable[int]) -> str:
    return f"no other pilots take the place of {', '.join(map(str, sorted(numbers)))}"


def _out_of_reach(number: int) -> str:
    return (
        f"pilot {number} has ended: {MISSES} jobs in a row have not reached the driver, and no other one takes its "
        "place: see their logs, and whether nodes may open connections to this one"
    )


def _ended(number: int, sight: Sight) -> str:
    reason = sight.reason or (f"exit {sight.code}" if sight.code is not None else "no reason is known")
    last = f", last lines: {' | '.join(sight.last[-TELLING:])}" if sight.last else ""
    return f"pilot {number} has ended: {reason}{last}"
