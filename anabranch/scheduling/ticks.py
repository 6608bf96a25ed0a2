"""Which ticks of a schedule are to be ordered now: pure functions of schedule, cursor and time.

... decided | cursor ............ now ....... horizon |
                     missed ticks     ticks ahead
                     by catchup       all of them
"""

from __future__ import annotations

import hashlib
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from anabranch.core.errors import ServiceError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anabranch.scheduling.schedule import Schedule

MOST = 1000  # ticks that are made up for, or filled in
PUNCTUAL = 60.0  # seconds; a tick no older than this is on time, whatever `catchup` says


class Due(NamedTuple):
    """The answer of `due`.

    Attributes:
        ticks: instants to order runs for, in order.
        cursor: all ticks up to there are decided.
        next_tick: the first one behind the cursor; None: there is none any more.
    """

    ticks: tuple[float, ...]
    cursor: float
    next_tick: float | None


def due(schedule: Schedule, cursor: float, now: float, *, ahead: float = 0.0) -> Due:
    """Return the ticks to order now.

    However the time is divided into calls, each tick is decided once, in order. A clock that goes back finds all
    ticks up to the cursor decided.

    Args:
        cursor: Unix seconds; all ticks up to there are decided.
        ahead: seconds from now for which ticks are decided before their time.
    """
    horizon = now + ahead
    if cursor >= horizon:
        return Due((), cursor, schedule.after(cursor))
    ticks = _missed(schedule, cursor, now) if cursor < now else []
    for tick in _between(schedule, max(cursor, now), horizon):
        if len(ticks) >= 2 * MOST:
            return Due(tuple(ticks), ticks[-1], tick)
        ticks.append(tick)
    return Due(tuple(ticks), horizon, schedule.after(horizon))


def upcoming(schedule: Schedule, after: float, count: int) -> list[float]:
    """Return the next ticks after an instant, at most `count`."""
    ticks: list[float] = []
    while len(ticks) < count and (tick := schedule.after(ticks[-1] if ticks else after)) is not None:
        ticks.append(tick)
    return ticks


def backfill(schedule: Schedule, start: float, end: float) -> list[float]:
    """Return all ticks from `start` to `end`, both included.

    Raises:
        ServiceError: they are more than 1,000.
    """
    ticks: list[float] = []
    for tick in _between(schedule, start - 1e-6, end):
        if len(ticks) == MOST:
            raise ServiceError(
                f"a backfill makes up for at most {MOST:,} ticks, and there are more: take a shorter time"
            )
        ticks.append(tick)
    return ticks


def delay(schedule: Schedule, schedule_id: str, tick: float) -> float:
    """Return the seconds by which jitter delays a tick: the same ones wherever they are computed."""
    if not schedule.jitter:
        return 0.0
    digest = hashlib.blake2b(key(schedule_id, tick).encode(), digest_size=6).digest()
    return schedule.jitter * int.from_bytes(digest) / (1 << 48)


def key(schedule_id: str, tick: float) -> str:
    """Return the key that makes one run of a tick, however often it is ordered."""
    return f"tick:{schedule_id}:{f'{tick:.6f}'.rstrip('0').rstrip('.')}"


def tick_of(key: str) -> float:
    """Return the tick of a key that `key` has made."""
    return float(key.rpartition(":")[2])


def _between(schedule: Schedule, after: float, until: float) -> Iterator[float]:
    tick = schedule.after(after)
    while tick is not None and tick <= until:
        yield tick
        tick = schedule.after(tick)


def _missed(schedule: Schedule, cursor: float, now: float) -> list[float]:
    """Return the ticks to make up for among those behind the cursor and not in the future."""
    if schedule.catchup == "all":
        return _newest(schedule, cursor, now, MOST)
    window = max(schedule.window, PUNCTUAL) if schedule.catchup == "latest" else PUNCTUAL
    return _newest(schedule, max(cursor, now - window), now, 1)


def _newest(schedule: Schedule, after: float, until: float, count: int) -> list[float]:
    """Return the last ticks of a time, without a walk through all of it."""
    span = 64.0
    while True:
        low = max(after, until - span)
        ticks = deque(_between(schedule, low, until), maxlen=count)
        if len(ticks) == count or low == after:
            return list(ticks)
        span *= 4
