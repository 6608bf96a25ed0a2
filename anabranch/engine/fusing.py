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


def materialize(ledger: Ledger, map: MapRun, items: Iterable[int] | None = None) -> None:
    """Expand the links that follow these items (or any) into the normal tables.

    Call it before cancelling, retrying or reading one separately: until then a link stands in `followers` alone.
    """
    followers = map.consumers.followers
    if not followers:
        return
    for before in list(followers) if items is None else [i for i in items if i in followers]:
        index = followers.pop(before)
        up = Upstream(map, before)
        map.inputs.args[index] = PIPE
        map.inputs.upstreams[index] = (up,)
        map.inputs.blocked[index] = 1
        ledger.hold(up)
        map.consumers.items.setdefault(before, []).insert(0, (map, index))  # first: other consumers came later


def follow(ledger: Ledger, map: MapRun, items: Sequence[int]) -> tuple[tuple[MapRun, ...], tuple[Sequence[int], ...]]:
    """Return the stages that travel along: each the only consumer, which waits for nothing else."""
    if not (map.consumers.maps or map.consumers.items or map.consumers.followers):
        return (map,), (items,)
    maps, per_stage, alike = [map], [items], True
    while len(maps) < MAX_STAGES:
        followers = _followers(map, per_stage[-1]) if alike else None
        if followers is not None:
            maps.append(map)
            per_stage.append(followers)
            continue
        materialize(ledger, maps[-1], per_stage[-1])
        step = _next_map(maps[-1], per_stage[-1]) or _next_items(maps[-1], per_stage[-1])
        if step is None:
            break
        if alike and step[0] is not map:  # a report on several maps is taken in stage by stage, from the tables
            alike = False
            for before in per_stage:
                materialize(ledger, map, before)
        maps.append(step[0])
        per_stage.append(step[1])
    return tuple(maps), tuple(per_stage)


def travels_along(map: MapRun) -> bool:
    """Return whether single runs of this series may travel with the one before them."""
    plain = not (map.sending.limits or map.values.resumable) and map.resume.previous is None
    return plain and map.options.trigger is None and bool(map.sending.pipe_ref)


def _followers(map: MapRun, items: Sequence[int]) -> Sequence[int] | None:
    """Return the links behind these items, if each has one as its only reader."""
    followers = map.consumers.followers
    if not followers or map.consumers.maps or not travels_along(map):
        return None
    if map.consumers.items and not map.consumers.items.keys().isdisjoint(items):
        return None
    found = [followers.get(index, -1) for index in items]
    return None if -1 in found else as_range(found)


def _next_map(map: MapRun, items: Sequence[int]) -> tuple[MapRun, Sequence[int]] | None:
    if len(map.consumers.maps) != 1 or not isinstance(items, range):
        return None
    other = map.consumers.maps[0]
    inputs, queue = other.inputs, other.queue
    simple = len(inputs.feeds) == 1 and not inputs.feeds[0].allow_failure and inputs.layout == (-1,)
    free = inputs.gate == 0 and inputs.constants_ready and not queue.cancelled and not queue.ready
    alike = other.sending.goes_with(map.sending) and other.sending.chunk_option is None
    if not (alike and simple and free and other.options.trigger is None):
        return None
    if any(other.codes[items[0] : items[-1] + 1]) or len(other.codes) <= items[-1]:
        return None
    if other.attempts and any(i in other.attempts for i in items):
        return None  # a chunk has attempt numbers for stage 0 alone
    if other.resume.previous is not None and other.resume.previous.attempts:
        return None  # some items have attempts of an earlier driver, and need numbers
    return other, items


def _next_items(map: MapRun, items: Sequence[int]) -> tuple[MapRun, Sequence[int]] | None:
    if not map.consumers.items or map.consumers.maps:
        return None
    target: MapRun | None = None
    found: list[int] = []
    for index in items:
        consumers = map.consumers.items.get(index)
        if consumers is None or len(consumers) != 1 or consumers[0][1] < 0:
            return None
        other, which = consumers[0]
        if target is None:
            target = other
        if other is not target or other.codes[which] or which in other.attempts:
            return None
        if other.inputs.args.get(which) is not PIPE or other.inputs.blocked.get(which) != 1:
            return None
        found.append(which)
    if target is None or not target.sending.goes_with(map.sending):
        return None
    if target.options.trigger is not None or not target.sending.pipe_ref:
        return None
    return target, as_range(found)
