"""The slots that this program holds of shared limits in its record.

    maps that wait -> Dispatcher.limits --WantSlots--.
    concurrency(), flows, plain calls -----Ticket----+--nudge--> one thread <--> LimitStore: acquire, release, renew,
    maps may send <- open_limits -- slots, starts ---'                           standing, start

One thread does all input and output and owns all tables, so the dispatcher sees only free room. Slots are taken in
batches and pass from run to run here while there is work. They go back after a moment without work, or when other
programs wait and this one has more than its share. Without limits in the record there is no thread and no query.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING

from anabranch import logs
from anabranch.core.errors import AnabranchError, OptionError
from anabranch.core.limits import LEASE_SECONDS, RENEW_SECONDS, Ask
from anabranch.limits.known import KnownLimits
from anabranch.limits.rates import Rates
from anabranch.limits.tickets import Ticket

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from anabranch.core.contracts import Clock
    from anabranch.core.limits import Holder, LimitStore
    from anabranch.engine.limits import Look
    from anabranch.limits.known import LimitedWork

    Taker = Ticket | tuple[str, ...]  # takes slots: a ticket, or the maps under these limits

SHORTEST_SECONDS = 0.002  # between turns while starts under a rate are due
POLL_SECONDS = 0.05  # between turns while slots are held or waited for
LATEST_SECONDS = 0.2  # the longest time between two requests for slots that were not free
LINGER_SECONDS = 0.2  # slots without use here are kept for so long
LOOK_SECONDS = 1.0  # between looks at other programs that wait


class Round:
    """One turn of the thread: the spare slots, the room of maps, the slots to give back."""

    def __init__(self, now: float, look: Look, held: dict[str, int], inside: dict[str, int]) -> None:
        self.now = now
        self.look = look
        self.spare = {n: max(0, have - inside.get(n, 0) - look.used.get(n, 0)) for n, have in held.items()}
        self.rooms = dict(look.used)
        self.back: dict[str, int] = {}

    def give(self, names: Sequence[str], places: int) -> None:
        """Give maps so much more room."""
        for name in names:
            self.rooms[name] = self.rooms.get(name, 0) + places


class SharedLimits:
    """See the module's head; one per session.

    Args:
        store: the record's limits.
        holder: this program.
        maps: the maps under limits; `nudge` tells that they want slots.
        clock: source of time.
    """

    def __init__(self, store: LimitStore, holder: Holder, maps: LimitedWork, clock: Clock) -> None:
        self._store = store
        self._holder = holder
        self._maps = maps
        self._known = KnownLimits(store, maps)
        self._start_lock = threading.Lock()  # taken while the pump's lock is held
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._closed = False
        self._came: deque[Ticket] = deque()
        # The fields from here on belong to the thread.
        self._waiting: list[Ticket] = []
        self._inside: list[Ticket] = []
        self._held: dict[str, int] = {}
        self._keep: dict[str, int] = {}  # the most slots to keep while others wait
        self._idle: dict[str, float] = {}  # the time since which slots are held without use
        self._rates = Rates(store, clock, maps, self._grant)
        self._asked: list[Ask] = []  # requests that were not met
        self._ask_at = self._look_at = self._renewed = 0.0
        self._patience = POLL_SECONDS

    # -- for everybody ---------------------------------------------------------------------------

    def known(self, name: str) -> bool:
        """Return whether the record has a limit of this name, even an inactive one."""
        return self._known.knows(name)

    def of_task(self, name: str, tags: Sequence[str]) -> dict[str, int]:
        """Return the slots that a run of a task needs: one of each limit that holds for it."""
        holding = self._known.holding
        if not holding:
            return {}
        return {limit: 1 for limit in (f"task:{name}", *(f"tag:{tag}" for tag in tags)) if limit in holding}

    def refresh(self) -> None:
        """Read the limits of the record. Raises RecordsError."""
        if self._known.refresh() and self._thread is not None:
            self.nudge()

    def keep_up(self) -> None:
        """Read the limits, unless that was done a moment ago (the keeper does it while runs go on)."""
        if self._known.old():
            self.refresh()

    def ticket(
        self, names: Mapping[str, int], *, hold: bool = True, on_ready: Callable[[], None] | None = None
    ) -> Ticket | None:
        """Queue for starts and, with `hold`, for slots; None when none of these limits is in the record.

        The thread here calls `on_ready`, which must not block.
        """
        holding = self._known.holding
        known = [(limit, count) for name, count in names.items() if (limit := holding.get(name)) is not None]
        for limit, count in known:
            if hold and count > (limit.slots or count):
                raise OptionError(f"{count} slots of the limit {limit.name!r} can never be had: it has {limit.slots}")
        needs = {limit.name: count for limit, count in known if hold and limit.slots is not None}
        starts = {limit.name: count for limit, count in known if limit.rate is not None}
        if not needs and not starts:
            return None
        ticket = Ticket(needs, starts, self.nudge, on_ready)
        self._came.append(ticket)
        self.nudge()
        return ticket

    def nudge(self) -> None:
        """Wake the thread; never blocks."""
        if self._thread is None:
            with self._start_lock:
                if self._thread is None and not self._closed:
                    self._thread = threading.Thread(target=self._main, name="anabranch-limits", daemon=True)
                    self._thread.start()
        self._wake.set()

    def close(self) -> None:
        """Give all slots back."""
        self._closed = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(5.0)
            try:
                self._store.leave(self._holder)
            except AnabranchError as error:
                logs.warn(f"slots of limits were not given back, their lease ends with this process: {error}")

    # -- the thread ------------------------------------------------------------------------------

    def _main(self) -> None:
        pause: float | None = None
        while True:
            self._wake.wait(pause)
            self._wake.clear()
            if self._closed:
                return
            try:
                pause = self._round(time.monotonic())
            except AnabranchError as error:  # the record cannot be used just now: held slots stay held
                logs.warn(f"limits: {error}")
                pause = 1.0

    def _round(self, now: float) -> float | None:
        """Read, hand out, give back, request; returns the seconds until the next turn."""
        self._tickets()
        if self._known.changed:
            self._known.changed = False
            self._rates.ask_anew()
        if now >= self._look_at and (self._held or self._asked):
            self._look_around(now)
        look = self._maps.look_at_limits()
        this = Round(now, look, self._held, _sums(self._inside))
        self._too_many(this)
        asks = self._share_out(this)
        self._linger(this, {name for ask, _ in asks for name in ask.needs})
        self._open(this.rooms)
        if this.back:
            self._held = {name: n for name, held in self._held.items() if (n := held - this.back.get(name, 0)) > 0}
            self._store.release(self._holder, this.back)
        waits = self._ask(asks, this)
        due = self._rates.pace(self._waiting, look.starts, now)
        if not (self._held or self._waiting or waits or look.starts):
            unused = [limit.name for limit in self._known.holding.values() if limit.rate is not None]
            self._maps.open_limits({}, dict.fromkeys(unused, 0))
            return None
        return min(POLL_SECONDS, max(SHORTEST_SECONDS, due - time.monotonic()))

    def _tickets(self) -> None:
        while self._came:
            self._waiting.append(self._came.popleft())
        self._waiting = [ticket for ticket in self._waiting if not ticket.given_back]
        self._inside = [ticket for ticket in self._inside if not ticket.given_back]

    def _look_around(self, now: float) -> None:
        """Read the limits, the leases and the waiting programs; renew the leases when it is time."""
        late = now - self._renewed
        if late >= RENEW_SECONDS:
            self._store.renew(self._holder)
            self._renewed = now
        self._look_at = now + LOOK_SECONDS
        self.refresh()
        self._held = {name: count for name, count in self._held.items() if name in self._known.holding}
        standing = self._store.standing(self._holder)
        beyond = {name: slots - self._held.get(name, 0) for name, (slots, _) in standing.items()}
        if any(count > 0 for count in beyond.values()):  # given back before, when the record could not be used
            self._store.release(self._holder, {name: count for name, count in beyond.items() if count > 0})
        self._keep.clear()
        for name, count in list(self._held.items()):
            slots, keep = standing.get(name, (0, 0))
            if slots < count:
                why = f"nothing was heard of this process for {late:.0f} s" if late > LEASE_SECONDS else "freed by hand"
                logs.warn(f"lost {count - slots} slots of the limit {name!r} ({why}); runs under them go on")
                self._held[name] = slots
            if not slots:
                del self._held[name]
            elif keep < slots:
                self._keep[name] = keep

    def _too_many(self, this: Round) -> None:
        """Give unused slots back that other programs wait for."""
        for name, keep in self._keep.items():
            count = min(this.spare.get(name, 0), self._held.get(name, 0) - keep)
            if count > 0:
                this.spare[name] -= count
                this.back[name] = count

    def _share_out(self, this: Round) -> list[tuple[Ask, Taker]]:
        """Hand out spare slots, tickets first, and return the requests for the rest, with their takers."""
        asks: list[tuple[Ask, Taker]] = []
        for ticket in [ticket for ticket in self._waiting if not ticket.held]:
            left = _missing(ticket.needs, 1, this.spare)
            if not left:
                self._admit(ticket)
            asks += [(ask, ticket) for ask in left]
        for wanted in this.look.wanted:
            left = _missing(dict.fromkeys(wanted.names, 1), wanted.places, this.spare)
            this.give(wanted.names, wanted.places - sum(ask.times for ask in left))
            asks += [(ask, wanted.names) for ask in left]
        return asks

    def _admit(self, ticket: Ticket) -> None:
        """Note that a ticket has its slots; without a rate, grant it."""
        ticket.held = True
        if ticket.needs:
            self._inside.append(ticket)
        if not ticket.starts:
            self._grant(ticket)

    def _grant(self, ticket: Ticket) -> None:
        self._waiting.remove(ticket)
        ticket.grant()

    def _linger(self, this: Round, asked: set[str]) -> None:
        """Keep unused slots for a moment, then give them back."""
        for name, count in this.spare.items():
            if count and name in asked:  # too few for what asks: kept here they would be missing in the record
                self._idle.pop(name, None)
                this.back[name] = this.back.get(name, 0) + count
                continue
            if not count or name in this.look.busy:
                self._idle.pop(name, None)
            elif this.now - self._idle.setdefault(name, this.now) >= LINGER_SECONDS:
                this.back[name] = this.back.get(name, 0) + count
                continue
            this.give((name,), count)

    def _open(self, rooms: dict[str, int]) -> None:
        """Set the room of maps: held slots that are not inside blocks, at most as many as other programs leave."""
        inside = _sums(self._inside)
        for name, count in rooms.items():
            held = self._held.get(name, 0)
            rooms[name] = min(count, max(0, min(held, self._keep.get(name, held)) - inside.get(name, 0)))
        self._maps.open_limits(rooms, {})

    def _ask(self, asks: list[tuple[Ask, Taker]], this: Round) -> bool:
        """Request missing slots from the record; returns whether any are still waited for."""
        wanted = [ask for ask, _ in asks]
        if not wanted and not self._asked:
            return False
        if wanted == self._asked and this.now < self._ask_at:
            return True
        if not self._held and not self._asked:
            self._renewed, self._look_at = this.now, this.now + LOOK_SECONDS
        found = self._store.acquire(self._holder, wanted)
        for (ask, taker), times in zip(asks, found, strict=True):
            if times:
                self._got(ask, taker, times, this)
        if any(found):
            self._open(this.rooms)
        self._patience = POLL_SECONDS if any(found) else min(2 * self._patience, LATEST_SECONDS)
        self._ask_at = this.now + self._patience
        self._asked = [ask for ask, times in zip(wanted, found, strict=True) if times < ask.times]
        return bool(self._asked)

    def _got(self, ask: Ask, taker: Taker, times: int, this: Round) -> None:
        for name, count in ask.needs.items():
            self._held[name] = self._held.get(name, 0) + count * times
            self._keep.pop(name, None)  # they were free, though others may wait
        if isinstance(taker, Ticket):
            self._admit(taker)
        else:
            this.give(taker, times)


def _sums(tickets: list[Ticket]) -> dict[str, int]:
    """Return the slots that tickets hold, by limit."""
    found: dict[str, int] = {}
    for ticket in tickets:
        for name, count in ticket.needs.items():
            found[name] = found.get(name, 0) + count
    return found


def _missing(needs: Mapping[str, int], times: int, spare: dict[str, int]) -> list[Ask]:
    """Take slots for `needs`, so many times, from `spare`; returns the missing ones. Partial sets are put aside."""
    asks: list[Ask] = []
    while times:
        have = [name for name, count in needs.items() if spare.get(name, 0) >= count]
        units = min([times, *(spare[name] // needs[name] for name in have)])
        for name in have:
            spare[name] -= units * needs[name]
        missing = {name: count for name, count in needs.items() if name not in have}
        if missing:
            asks.append(Ask(missing, units))
        times -= units
    return asks
