"""Stages that travel along with a chunk: links of chains, and consumers that read item by item.

    map A --items--> chunk [A, B, C]      B is the only consumer of A, C that of B; each waits for nothing else
    a1 -> a2 -> a3   chunk [a, a, a]      single runs of one series that each take the run before them

A link is noted in `followers` alone until anything else than this common way happens to it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from anabranch.core.maps import Upstream
from anabranch.engine.ranges import as_range

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from anabranch.core.maps import MapRun
    from anabranch.engine.ledger import Ledger

MAX_STAGES = 64


class Pipe:
    """Marks a single submit whose only argument is one future: it can travel behind its producer."""

    __slots__ = ()


PIPE = Pipe()


def spell_out(ledger: Ledger, map: MapRun, items: Iterable[int] | None = None) -> None:
    """Expand the links that follow these items (or any) into the normal tables.

    Call it before cancelling, retrying or reading one separately: until then a link stands in `followers` alone.
    """
    if not map.followers:
        return
    for before in list(map.followers) if items is None else [i for i in items if i in map.followers]:
        index = map.followers.pop(before)
        up = Upstream(map, before)
        map.args[index] = PIPE
        map.item_upstreams[index] = (up,)
        map.blocked_items[index] = 1
        ledger.hold(up)
        map.item_consumers.setdefault(before, []).insert(0, (map, index))  # first: other consumers came later


def follow(ledger: Ledger, map: MapRun, items: Sequence[int]) -> tuple[tuple[MapRun, ...], tuple[Sequence[int], ...]]:
    """Return the stages that travel along: each the only consumer, which waits for nothing else."""
    if not (map.map_consumers or map.item_consumers or map.followers):
        return (map,), (items,)
    maps, per_stage, alike = [map], [items], True
    while len(maps) < MAX_STAGES:
        followers = _followers(map, per_stage[-1]) if alike else None
        if followers is not None:
            maps.append(map)
            per_stage.append(followers)
            continue
        spell_out(ledger, maps[-1], per_stage[-1])
        step = _next_map(maps[-1], per_stage[-1]) or _next_items(maps[-1], per_stage[-1])
        if step is None:
            break
        if alike and step[0] is not map:  # a report on several maps is taken in stage by stage, from the tables
            alike = False
            for before in per_stage:
                spell_out(ledger, map, before)
        maps.append(step[0])
        per_stage.append(step[1])
    return tuple(maps), tuple(per_stage)


def travels_along(map: MapRun) -> bool:
    """Return whether single runs of this series may travel with the one before them."""
    plain = not (map.limits or map.resumable) and map.earlier is None
    return plain and map.options.trigger is None and bool(map.pipe_ref)


def _followers(map: MapRun, items: Sequence[int]) -> Sequence[int] | None:
    """Return the links behind these items, if each has one as its only reader."""
    followers = map.followers
    if not followers or map.map_consumers or not travels_along(map):
        return None
    if map.item_consumers and not map.item_consumers.keys().isdisjoint(items):
        return None
    found = [followers.get(index, -1) for index in items]
    return None if -1 in found else as_range(found)


def _next_map(map: MapRun, items: Sequence[int]) -> tuple[MapRun, Sequence[int]] | None:
    if len(map.map_consumers) != 1 or not isinstance(items, range):
        return None
    other = map.map_consumers[0]
    alike = other.lane == map.lane and other.resources == map.resources and not other.limits
    simple = len(other.feeds) == 1 and not other.feeds[0].allow_failure and other.layout == (-1,)
    free = other.gate == 0 and other.constants_ready and not other.cancelled and not other.ready
    if not (alike and simple and free and other.options.trigger is None and other.chunk_option is None):
        return None
    if any(other.codes[items[0] : items[-1] + 1]) or len(other.codes) <= items[-1]:
        return None
    if other.attempts and any(i in other.attempts for i in items):
        return None  # a chunk has attempt numbers for stage 0 alone
    if other.earlier is not None and other.earlier.attempts:
        return None  # some items have attempts of an earlier driver, and need numbers
    return other, items


def _next_items(map: MapRun, items: Sequence[int]) -> tuple[MapRun, Sequence[int]] | None:
    if not map.item_consumers or map.map_consumers:
        return None
    target: MapRun | None = None
    found: list[int] = []
    for index in items:
        consumers = map.item_consumers.get(index)
        if consumers is None or len(consumers) != 1 or consumers[0][1] < 0:
            return None
        other, which = consumers[0]
        if target is None:
            target = other
        if other is not target or other.args.get(which) is not PIPE or other.codes[which] or which in other.attempts:
            return None
        if other.blocked_items.get(which) != 1:
            return None
        found.append(which)
    if target is None or target.lane != map.lane or target.resources != map.resources or target.limits:
        return None
    if target.options.trigger is not None or not target.pipe_ref:
        return None
    return target, as_range(found)
