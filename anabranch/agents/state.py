"""An agent as a state machine: events in, instructions out. No I/O, no threads, no clock.

    Joined ------> Ask, Beat            Claimed, Told.launch --> Start
    Told.drop, Told.kill, Stop --> End  Seen (an end) --> Send;  Sent --> Beat, at once
    Failed ------> the same once more, later and later; an agent that is not known joins again and keeps what it has

An instruction is not given again while its answer is outstanding. So a lost answer has to be told as `Failed`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from anabranch.agents.holding import Holding, Stage, reference_of
from anabranch.agents.words import (
    Ask,
    Beat,
    Claimed,
    Discard,
    End,
    Failed,
    Join,
    Joined,
    Keep,
    Look,
    NotEnded,
    NotSent,
    NotStarted,
    Seen,
    Send,
    Sent,
    Start,
    Started,
    Stop,
    Told,
)
from anabranch.core.orders import BEAT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from anabranch.agents.words import Event, Instruction, Key
    from anabranch.core.launching import Reference, Sight
    from anabranch.core.orders import Claim

LOOK = 0.5  # seconds between two looks at processes; queues and clusters are asked less often
_EMPTY = 0.2  # seconds from an answer without orders to the next question: a service that closes answers at once
_LENT = 1.0  # seconds between two questions for orders in lent places: none waits, as these may be taken back
_LONGEST_PAUSE = 15.0  # seconds between two tries to reach the service
_LAST_WORDS = 15.0  # seconds in which a stopping agent tries to tell the ends of its jobs
_IDLE = 2  # times as rare are the beats of an agent without jobs: what it waits with at the service tells of it, too
_REMEMBERED = 1000  # claims that are over and told of: a late answer may name them once more


class Due:
    """One kind of instruction: whether its answer is outstanding, and when it is due."""

    __slots__ = ("at", "failures", "out")

    def __init__(self) -> None:
        self.out = False
        self.at = 0.0
        self.failures = 0

    def ready(self, now: float) -> bool:
        return not self.out and now >= self.at

    def answered(self, again: float) -> None:
        self.out, self.at, self.failures = False, again, 0

    def failed(self, now: float) -> None:
        self.failures += 1
        self.out, self.at = False, now + min(2.0 ** (self.failures - 1), _LONGEST_PAUSE)


class AgentState:
    """What an agent knows and does next.

    Args:
        capacity: jobs at once.
        look: seconds between two looks at its jobs.
        once: it takes what waits now, and leaves when that has ended.
        reaches: whether its launcher can look at a job that another agent started.
        time_to_begin: seconds that the driver of a claim has to begin, once its job runs; infinite: any.
        waits_count: whether they run while the job waits for its infrastructure, too.
    """

    def __init__(
        self, capacity: int, *, look: float = LOOK, beat: float = BEAT, once: bool = False,
        reaches: Callable[[Reference], bool] = lambda _: True,
        time_to_begin: Callable[[Claim], float] = lambda _: math.inf, waits_count: bool = False,
    ) -> None:  # fmt: skip
        self.capacity = capacity
        self.held: dict[Key, Holding] = {}
        self._look_every, self._beat_every, self._once = look, beat, once
        self._reaches = reaches
        self._time_to_begin, self._waits_count = time_to_begin, waits_count
        self._joined = False
        self._stopping = False
        self._leave_by = math.inf
        self._claimed_none = False  # with `once`: nothing waits any more
        self._forgotten: dict[Key, None] = {}
        self._lent: frozenset[str] = frozenset()  # runs that leave their places to others
        self._have_lent: set[str] = set()  # runs that it has with others in their places, perhaps
        self._news = False  # a handle or an end that the service does not know of
        self._left: list[Instruction] = []  # about folders of jobs that are over
        self._due: dict[type, Due] = {kind: Due() for kind in (Join, Ask, Beat, Look)}

    # -- what its loop asks ----------------------------------------------------------------------

    def finished(self, now: float) -> bool:
        """Return whether it has nothing to do any more and may leave."""
        if self._once and self._claimed_none and not self.held:
            return True
        if not self._stopping:
            return False
        # A stopping agent waits for the jobs that it ends, until the service has heard of their ends.
        return now >= self._leave_by or not any(one.ended or one.end_by < math.inf for one in self.held.values())

    def wake(self) -> float:
        """Return when a `Tick` is due, in seconds of the clock that `handle` gets."""
        kinds: list[type] = [Look] if any(one.stage is Stage.STARTED for one in self.held.values()) else []
        kinds += [Beat, *([Ask] if self._places() else [])] if self._joined else [Join]
        times = [self._due[kind].at for kind in kinds if not self._due[kind].out]
        times += [one.wake() for one in self.held.values()]
        return min(times, default=math.inf) if not self._stopping else min([*times, self._leave_by])

    # -- events ----------------------------------------------------------------------------------

    def handle(self, event: Event, now: float) -> list[Instruction]:
        """Take an event in; returns what is to be done now."""
        match event:
            case Joined():
                self._joined = True
                self._due[Join].answered(math.inf)
            case Claimed(claims):
                self._due[Ask].answered(now if claims else now + (_EMPTY if self._own_places() else _LENT))
                self._claimed_none = not claims
                self._take(claims)
            case Started(key, reference) if key in self.held:
                self.held[key].started(reference)
                self._news = True  # its handle: another agent may need it
            case NotStarted(key, why) if key in self.held:
                self.held[key].never_started(why)
                self._news = True
            case Seen(sights):
                self._due[Look].answered(now + self._look_every)
                self._saw(sights, now)
            case Sent(key) if key in self.held:
                self.held[key].sent()
                self._news = True
            case NotSent(key, away) if key in self.held:
                self.held[key].not_sent(now, away=away)
                self._news |= self.held[key].over
            case Told():
                self._told(event, now)
                self._due[Beat].answered(now + self._beat_every * (1 if self.held else _IDLE))
            case NotEnded(reference):
                for one in self.held.values():
                    if one.reference == reference:
                        one.not_ended(now)
            case Failed(what, unknown):
                self._failed(what, unknown, now)
            case Stop(grace):
                self._stop(grace, now)
        return [*self._next(now)]

    def _take(self, claims: Iterable[Claim]) -> None:
        if self._stopping:  # what it has not started waits again when it leaves
            return
        for claim in claims:
            key = (claim.order.run, claim.order.token)
            if key not in self.held and key not in self._forgotten:
                self.held[key] = Holding(
                    key, claim, time_to_begin=self._time_to_begin(claim), waits_count=self._waits_count
                )

    def _saw(self, sights: Mapping[Reference, Sight], now: float) -> None:
        for one in self.held.values():
            if one.reference is not None and one.reference in sights:
                one.saw(sights[one.reference], now)

    def _told(self, told: Told, now: float) -> None:
        for hold in told.holds:
            one = self.held.get((hold.run, hold.token))
            if one is not None and one.over and one.hold() == hold:
                self._forget(one)
        self._lent = frozenset(told.heard.lent)
        self._have_lent = {run for run, _ in self.held if run in self._have_lent or run in self._lent}
        if self._lent:
            self._claimed_none = False  # what their drivers wait for may be for this agent
        self._take(told.heard.launch)
        for order in told.heard.adopt:
            self._adopt((order.run, order.token), reference_of(order.handle))
        for kill in (*told.heard.drop, *told.heard.kill):
            one = self.held.get((kill.run, kill.token))
            if one is not None:
                dropped = kill in told.heard.drop  # with a grace: its run has ended, and its driver is about to
                one.ours = one.ours and not dropped
                one.end(now + kill.grace, ask=not dropped)
                self._news |= one.over and one.ours

    def _adopt(self, key: Key, reference: Reference | None) -> None:
        new = key not in self.held and key not in self._forgotten
        if new and reference is not None and self._reaches(reference):
            self.held[key] = Holding(key, None, reference, Stage.STARTED)

    def _failed(self, what: type, unknown: bool, now: float) -> None:
        self._due[what].failed(now)
        if unknown and what is not Join:
            self._joined = False
            self._due[Join].at = now
            self._due[Beat].at = now  # at once after the join: it says what it has

    def _stop(self, grace: float | None, now: float) -> None:
        self._stopping = True
        for one in [one for one in self.held.values() if one.stage is Stage.CLAIMED]:
            del self.held[one.key]  # it waits again when this agent leaves
        self._leave_by = min(self._leave_by, now if grace is None else now + grace + _LAST_WORDS)
        if grace is not None:
            for one in self.held.values():
                one.end(now + grace)

    def _forget(self, one: Holding) -> None:
        del self.held[one.key]
        self._forgotten[one.key] = None
        if one.ended and one.reference is not None:
            self._left.append((Discard if one.ended_well else Keep)(one.reference))
        if len(self._forgotten) > _REMEMBERED:
            del self._forgotten[next(iter(self._forgotten))]

    # -- instructions ----------------------------------------------------------------------------

    def _next(self, now: float) -> Iterator[Instruction]:
        for one in [one for one in self.held.values() if not one.ours and (one.ended or one.out_of_sight)]:
            self._forget(one)
        yield from self._starts()
        for one in self.held.values():
            for at_once in one.ends(now):
                assert one.reference is not None
                yield End(one.reference, at_once)
            if one.sends(now):
                assert one.reference is not None
                yield Send(one.key, one.reference)
        yield from self._left
        self._left.clear()
        looked_at = [one.reference for one in self.held.values() if one.stage is Stage.STARTED]
        if looked_at and self._goes(Look, now):
            yield Look([reference for reference in looked_at if reference is not None])
        if not self._joined:
            if not self._stopping and self._goes(Join, now):
                yield Join()
            return
        if self._news and not self._due[Beat].out and not self._due[Beat].failures:
            self._due[Beat].at = now
        if self._goes(Beat, now):
            self._news = False
            yield Beat([one.hold() for one in self.held.values() if one.ours])
        if (places := self._places()) and self._goes(Ask, now):
            yield Ask(places, wait=not self._once and self._own_places() > 0)

    def _goes(self, kind: type, now: float) -> bool:
        """Return whether an instruction is due; its answer is outstanding from then on."""
        due = self._due[kind]
        if not due.ready(now):
            return False
        due.out = True
        return True

    def _places(self) -> int:
        """Return how many orders it asks for; only where it has no place of its own, those that fit in lent ones."""
        if self._stopping or (self._once and self._claimed_none):
            return 0
        return self._own_places() or self._free(self._lent)

    def _own_places(self) -> int:
        return self._free(frozenset())

    def _free(self, lent: frozenset[str]) -> int:
        return max(0, self.capacity - sum(not one.ended and one.key[0] not in lent for one in self.held.values()))

    def _starts(self) -> Iterator[Instruction]:
        """Start what is claimed, up to the capacity: healed claims may be more than there is room for.

        An order in a lent place starts though that was taken back meanwhile: else it would wait here, with others free.
        """
        under_way = [one for one in self.held.values() if one.stage in (Stage.STARTING, Stage.STARTED)]
        room = self.capacity - sum(one.key[0] not in self._have_lent for one in under_way)
        for one in self.held.values():
            if one.stage is Stage.CLAIMED and one.claim is not None and room > 0 and not self._stopping:
                one.stage = Stage.STARTING
                room -= 1
                yield Start(one.key, one.claim)
