"""Parts of a map that know nothing of other maps: its place in the record, and how its items are sent and counted."""

from __future__ import annotations

import itertools
from collections import deque
from typing import TYPE_CHECKING

from anabranch.core.item_reads import ItemReads

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anabranch.core.carried import Carried
    from anabranch.core.chunks import Surroundings
    from anabranch.core.draws import Source
    from anabranch.core.options import TaskOptions
    from anabranch.core.previous_items import PreviousItems
    from anabranch.core.runs import ItemRow
    from anabranch.core.spent import Numbers

_serials = itertools.count(1)


class MapHeader:
    """What the record says of a map as a whole, and of the runs in it that have a name.

    Attributes:
        serial: counts the maps of this program in the order they were made.
        created: Unix time.
        began: by the clock that nobody sets.
        names: names of runs that have one of their own, by item.
        carried: the contexts that its runs have in this process.
        forgotten: its flow run has ended.
        log_items: each failed attempt of its items has a line of its own.
        detached: a stop that ends a wait for it does not cancel it.
        dropped: its list was gone before its items had ended.
        draws: of the random numbers of its items.
        upstreams: the maps that it reads or waits for, by id.
        reads: of a series, which runs its single runs read or wait for.
        slots: of its runner, when the map was made or later.
        spent: what its chunks' slots spent that no row says yet.
        recording: seconds that the driver has waited for the record of it.
        around: what observers enter around its items.
        unshown: nothing of it is shown.
    """

    __slots__ = (
        "around", "began", "carried", "created", "detached", "draws", "dropped", "ended_at", "flow_run_id",
        "forgotten", "log_items", "names", "parent_id", "reads", "recording", "serial", "slots", "spent", "tags",
        "unshown", "upstreams",
    )  # fmt: skip

    def __init__(self, flow_run_id: str, parent_id: str, tags: tuple[str, ...]) -> None:
        self.serial = next(_serials)
        self.flow_run_id = flow_run_id
        self.parent_id = parent_id
        self.tags = tags
        self.created = 0.0
        self.began = 0.0
        self.ended_at: float | None = None
        self.names: dict[int, str] = {}
        self.carried: Carried | None = None
        self.forgotten = False
        self.log_items = False
        self.detached = False
        self.dropped = False
        self.draws: Source | None = None
        self.upstreams: dict[str, None] = {}
        self.reads = ItemReads()
        self.slots = 0
        self.spent: Numbers | None = None
        self.recording = 0.0
        self.around: tuple[Surroundings, ...] = ()
        self.unshown = False

    def ended_by(self, now: float) -> float:
        """The Unix time of `now` by the clock that nobody sets: as if the wall clock had not been set meanwhile."""
        return self.created + now - self.began


class Queue:
    """Which items of a map are to be sent, are on their way, or come back later.

    Attributes:
        ready: ranges of items that may be sent: (lo, hi, send exactly so).
        running: chunks in flight.
        delayed: item -> (due, code).
        sent: number of items in flight.
        on_lane: the map stands among those that its lane sends from.
        short: the resources that it waits for, no worker having them.
        waits_under: the limit that has no place for its ready items.
        cancelled: the canceller, a word of `core.reasons`.
        refused: why nothing of it can be sent.
    """

    __slots__ = (
        "cancelled", "delayed", "on_lane", "ready", "refused", "running", "sent", "short", "waits_under",
    )  # fmt: skip

    def __init__(self) -> None:
        self.ready: deque[tuple[int, int, bool]] = deque()
        self.running: set[int] = set()
        self.delayed: dict[int, tuple[float, int]] = {}
        self.sent = 0
        self.on_lane = False
        self.short = ""
        self.waits_under = ""
        self.cancelled = ""
        self.refused = ""

    def moment(self) -> Queue:
        """A copy, for states as of one moment."""
        found = Queue()
        found.short, found.waits_under = self.short, self.waits_under
        found.ready, found.running, found.delayed = deque(self.ready), set(self.running), dict(self.delayed)
        return found


class Sending:
    """How the items of a map are to be sent.

    Attributes:
        spec_ref, stage_ref, pipe_ref: shared ids of its task, of its stage, and of a stage behind another (0: none).
        chunk_option, window: as given to `map`; None where they are measured.
        limits: the concurrency limits that its items count against.
        depth: the longest way to it over the maps that it reads.
    """

    __slots__ = (
        "chunk_option", "depth", "lane", "limits", "pipe_ref", "resources", "spec_ref", "stage_ref", "window",
    )  # fmt: skip

    def __init__(self, lane: int, options: TaskOptions) -> None:
        self.lane = lane
        self.spec_ref = self.stage_ref = self.pipe_ref = 0
        self.chunk_option: int | None = None
        self.window: int | None = None
        self.resources = options.needs()
        self.limits: tuple[str, ...] = ()
        self.depth = 0

    def goes_with(self, before: Sending) -> bool:
        """Whether items may travel behind those of the map before, in one chunk."""
        return self.lane == before.lane and self.resources == before.resources and not self.limits


class Budgets:
    """What is known of items that had more than one attempt, beside its number.

    Attributes:
        uncounted: attempts that do not count against the user's retries.
        crashes: deaths of an item's worker while it ran.
        starved: of these, those for want of memory.
    """

    __slots__ = ("crashes", "starved", "uncounted")

    def __init__(self) -> None:
        self.uncounted: dict[int, int] = {}
        self.crashes: dict[int, int] = {}
        self.starved: dict[int, int] = {}


class Resumption:
    """What a map is known by to a later driver of its flow run, and what an earlier one has left of it.

    Attributes:
        call_key: of the call that made it.
        code_hash: of its task's source.
        keys: of single runs: a digest of its inputs for each.
        interrupted: by item: the recorded attempts of one that the end of a walltime has interrupted.
        unbegun: items of which no attempt but the one that goes on has begun: an earlier driver ended them before.
    """

    __slots__ = ("call_key", "code_hash", "interrupted", "keys", "previous", "unbegun")

    def __init__(self) -> None:
        self.call_key = self.code_hash = ""
        self.keys: bytearray | None = None
        self.previous: PreviousItems | None = None
        self.interrupted: dict[int, Sequence[ItemRow]] = {}
        self.unbegun: set[int] = set()
