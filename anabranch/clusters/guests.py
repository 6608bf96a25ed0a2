"""The sets of other jobs, at the head of the run that they have joined: each leaves before its job ends.

    set --hello: number, end--> here --too little time for one more chunk--> drained --leave--> gone
                                  '----leaving: its job is being ended-----> drained, in the time that is left

How long a chunk takes is judged by the longest of those that ended, and of those that run on the set.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

LOOK_SECONDS = 1.0  # between looks at how long chunks take, on the workers of all sets
MARGIN = 30.0  # seconds before the end of its job in which a set is to be gone; of a short job
SHARE = 10  # it is such a part
NEAR = "its walltime is near"
TOO_SHORT = "its walltime was near before a chunk had ended on it"


class Engine(Protocol):
    """What is asked of an engine's server about the workers of a set."""

    def longest(self, names: Collection[str]) -> Mapping[str, float]:
        """Return for each of these sets how many seconds a chunk took at most, or runs already on a worker of it."""
        ...

    def worked(self, name: str) -> bool:
        """Return whether a chunk has ended on a worker of this set."""
        ...

    async def let_go(self, name: str, seconds: float) -> None:
        """Begin nothing on the set's workers, wait for what runs there, and remove them."""
        ...


class Guest:
    """One set.

    Args:
        hello: what it said of itself.
        say: writes to it.
        now: Unix seconds.
    """

    def __init__(self, guests: Guests, hello: dict[str, Any], say: Callable[[dict[str, Any]], None], now: float):
        self.name = str(hello["name"])
        self.number = int(hello["number"])
        self.job = str(hello["job"])
        self.cpus = int(hello["cpus"])
        self.end = float(hello["end"]) or None
        self.margin = min(MARGIN, (self.end - now) / SHARE) if self.end else 0.0
        self.say = say
        self.leaves = False
        self.why = ""
        self.again = False  # another one is to take its place
        self._guests = guests

    def up(self) -> None:
        """Note that its workers are there."""
        self._guests.here.add(self)
        self._guests.tell(self, "joined", "")

    def leaving(self, seconds: float) -> None:
        """Let it go, in so many seconds: its job is being ended."""
        self._guests.begin(self, "its job is being ended", seconds)

    def trouble(self, text: str) -> None:
        self.why = text

    def gone(self) -> None:
        """Note that its line has ended."""
        if self in self._guests.here:
            self._guests.here.discard(self)
            self._guests.judge(self)  # its line may have ended before it was let go
            self._guests.tell(self, "left" if self.leaves else "lost", self.why)
        elif self.why:
            self._guests.tell(self, "failed", self.why)


class Guests:
    """The sets of other jobs that work here.

    Args:
        news: takes what the driver is to hear.
    """

    def __init__(self, engine: Engine, news: Callable[..., None], now: Callable[[], float] = time.time) -> None:
        self.here: set[Guest] = set()
        self.over = False  # the driver closes all lines: no set is lost by that
        self._engine = engine
        self._news = news
        self._now = now
        self._looked = -LOOK_SECONDS
        self._tasks: set[asyncio.Task[None]] = set()

    def welcome(self, hello: dict[str, Any], say: Callable[[dict[str, Any]], None]) -> Guest | None:
        """Return what stands for a set; None for one of this job."""
        return Guest(self, hello, say, self._now()) if "number" in hello else None

    def tell(self, guest: Guest, news: str, why: str) -> None:
        if not self.over:
            self._news(pilot=guest.number, job=guest.job, cpus=guest.cpus, news=news, why=why, again=guest.again)

    def look(self) -> None:
        """Begin to let go of those that have too little time for one more chunk; may be called at any moment."""
        now = self._now()
        if abs(now - self._looked) < LOOK_SECONDS:  # a clock that was set back does not end the looks
            return
        self._looked = now
        there = [(guest, guest.end) for guest in self.here if guest.end and not guest.leaves]
        if not there:
            return
        longest = self._engine.longest([guest.name for guest, _ in there])
        for guest, end in there:
            left = end - guest.margin - now
            if left <= guest.margin + longest[guest.name]:
                self.begin(guest, NEAR, max(1.0, left))

    def begin(self, guest: Guest, why: str, seconds: float) -> None:
        if not guest.leaves:
            guest.leaves, guest.why = True, why
            task = asyncio.ensure_future(self._let_go(guest, seconds))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _let_go(self, guest: Guest, seconds: float) -> None:
        self.tell(guest, "leaves", guest.why)
        await self._engine.let_go(guest.name, seconds)
        self.judge(guest)
        guest.say({"leave": guest.why})

    def judge(self, guest: Guest) -> None:
        """Find whether another set is to take its place, if it leaves because its time is over.

        A set that has too little time for a single chunk would be followed by another such one, for ever.
        """
        if guest.leaves and guest.why == NEAR:
            guest.again = self._engine.worked(guest.name)
            guest.why = NEAR if guest.again else TOO_SHORT
