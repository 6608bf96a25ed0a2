"""The reasons of unfinished runs, read from the dispatcher's tables without changing them.

The caller keeps the tables from changing meanwhile (`Pump.inspect`). One item stands for all with the same reason: no
loop here visits a million items, except the search for the run that a link waits for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from anabranch.core import states
from anabranch.core.reasons import Reason, make
from anabranch.engine import causes
from anabranch.engine.chunks import CHUNKS_PER_SLOT, window

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anabranch.core.maps import MapRun, Upstream
    from anabranch.engine.tables import Tables


class Standing(NamedTuple):
    """Items of a map with the same reason, and the time (monotonic seconds) at which they go on, if known."""

    first: int  # index of the first item
    many: int
    reason: Reason | None  # None: the record of its last attempt has it
    due: float | None = None


def of_item(tables: Tables, map: MapRun, index: int) -> Standing | None:
    """Return the reason of one item; None when it has ended."""
    if map.is_terminal(index):
        return None
    if index >= len(map.codes):
        return Standing(index, 1, make("input"))
    if index in map.queue.delayed:
        return _delayed(map, index)
    if map.codes[index] == states.RUNNING or tables.in_flight(map, index, index + 1):
        return Standing(index, 1, make("running"))
    upstream = _upstream(map, index)
    if upstream is not None:
        return Standing(index, 1, upstream)
    return Standing(index, 1, _not_sent(tables, map))


def of_map(tables: Tables, map: MapRun) -> list[Standing]:
    """Return the reasons of a map's unfinished items, in groups."""
    found: list[Standing] = []
    delayed: dict[str, list[Standing]] = {}
    for index in map.queue.delayed:
        one = _delayed(map, index)
        delayed.setdefault(one.reason.word if one.reason else "", []).append(one)
    found += [min(some)._replace(many=len(some)) for some in delayed.values()]
    flying = {index for index in tables.in_flight(map, 0, len(map.codes)) if not map.is_terminal(index)}
    calls = map.codes.count(states.RUNNING)  # in their callers' threads
    if calls:
        found.append(Standing(map.codes.find(states.RUNNING), calls, make("running")))
    if flying:
        found.append(Standing(min(flying), len(flying), make("running")))
    ready = sum(hi - lo for lo, hi, _ in map.queue.ready)
    if ready:
        found.append(Standing(min(lo for lo, _, _ in map.queue.ready), ready, _not_sent(tables, map)))
    rest = len(map.codes) - map.done - len(map.queue.delayed) - len(flying) - ready - calls
    if rest > 0:
        left = _first_left(map, flying)
        stands = None if left is None else of_item(tables, map, left)
        if stands is not None:
            found.append(stands._replace(many=rest))
    if not map.closed:
        found.append(Standing(len(map.codes), 0, make("input")))
    return found


def _delayed(map: MapRun, index: int) -> Standing:
    due, code = map.queue.delayed[index]
    if code == states.AWAITING_CACHE:
        return Standing(index, 1, make("cache-lock"), due)
    if due == float("inf"):
        return Standing(index, 1, make("handlers"))
    return Standing(index, 1, None, due)


def _first_left(map: MapRun, flying: set[int]) -> int | None:
    """Return the first unfinished item that is neither with a worker, nor delayed, nor ready."""
    ranges = sorted((lo, hi) for lo, hi, _ in map.queue.ready)
    at = 0
    while (at := map.codes.find(states.PENDING, at)) >= 0:
        inside = next((hi for lo, hi in ranges if lo <= at < hi), None)
        if inside is None and at not in flying and at not in map.queue.delayed:
            return at
        at = inside or at + 1
    return None


def _upstream(map: MapRun, index: int) -> Reason | None:
    """Return the reason for the first run that it waits for."""
    if map.inputs.gate:
        return _first_open(map.inputs.upstreams.get(-1, ()))
    if index in map.inputs.blocked:
        return _first_open(map.inputs.upstreams.get(index, ()))
    for before, follower in map.consumers.followers.items():
        if follower == index:
            return causes.upstream(map, before)
    for feed in map.inputs.feeds:
        if not feed.map.is_terminal(index):
            return causes.upstream(feed.map, index)
    return None


def _first_open(upstreams: Sequence[Upstream]) -> Reason | None:
    return next((causes.upstream(up.map, up.item) for up in upstreams if not up.ended), None)


def _not_sent(tables: Tables, map: MapRun) -> Reason:
    """Return why ready items are with no worker yet."""
    lane = tables.lanes[map.sending.lane]
    if map.header.flow_run_id in tables.halted:
        return make("halted")
    if tables.walltime is not None and (why := tables.walltime.holds(map)) is not None:
        return why
    if not map.inputs.constants_ready:
        return make("arguments")
    if map.queue.short:
        return make("resources", resources=map.queue.short)
    for name in map.sending.limits:
        used, places = tables.limits.used.get(name, 0), tables.limits.capacity.get(name)
        if places is not None and used >= places:
            return make("limit", limit=name, used=used, places=places)
    limit = map.queue.waits_under
    if limit and (limit in tables.limits.shared or limit in tables.limits.starts):
        return make("limit/shared", limit=limit, places=tables.limits.shared.get(limit, 0))
    if map.consumers.stream is not None and not map.inputs.sealed:
        ahead = map.queue.sent + map.done - map.consumers.consumed
        if ahead >= window(lane.slots, tables.pace(map), fixed=map.sending.window):
            return make("reader", ahead=ahead)
    busy = lane.in_flight - lane.blocked
    if tables.ledger.memory.behind and busy < CHUNKS_PER_SLOT * lane.slots:
        return make("spill")
    return make("slots", runner=lane.capabilities.name, busy=busy, slots=lane.slots)
