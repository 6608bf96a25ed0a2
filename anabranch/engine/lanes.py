"""Lanes and chunks in flight: the dispatcher's view of runners."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anabranch.core.chunks import Chunk
    from anabranch.core.contracts import Capabilities
    from anabranch.core.maps import MapRun


class Lane:
    """One runner as the dispatcher sees it: slots, chunks in flight, maps with items to send."""

    __slots__ = ("blocked", "capabilities", "in_flight", "index", "lost", "maximum", "offers", "runnable", "slots")

    def __init__(self, index: int, capabilities: Capabilities, slots: int, maximum: int | None) -> None:
        self.index = index
        self.capabilities = capabilities
        self.slots = slots
        self.maximum = maximum
        self.offers = dict(capabilities.resources)  # the most of each that one worker has
        self.in_flight = 0
        self.blocked = 0  # of these, chunks with a task that waits for others
        self.runnable: list[tuple[int, bool, int, int, MapRun]] = []
        self.lost: str | None = None


class Flight:
    """A chunk in flight, with the items of its positions, stage by stage."""

    __slots__ = (
        "at", "at_once", "chunk", "dirty", "items", "lane", "limits", "maps", "once", "places", "reported", "taken",
        "waiting",
    )  # fmt: skip

    def __init__(
        self, chunk: Chunk, lane: Lane, maps: tuple[MapRun, ...], items: tuple[Sequence[int], ...], at: float = 0.0
    ) -> None:
        self.chunk = chunk
        self.at = at  # Unix seconds
        self.lane = lane
        self.maps = maps  # of each stage
        self.once = maps if len(maps) == 1 else tuple(dict.fromkeys(maps))  # each map once: a chain's links share one
        self.items = items
        self.reported = 0
        self.taken: set[int] = set()  # positions taken back while an earlier one waits
        self.waiting = 0
        self.dirty = False  # some position was cancelled or timed out: look at each one
        self.limits: tuple[str, ...] = ()
        self.at_once = 0  # the cap on running chunks of its map at its sending, after an out-of-memory; 0: none
        self.places = 1  # under each of them
