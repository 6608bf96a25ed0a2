"""A map as one object: packed per-item state and sparse sets for whatever left the happy path.

    MapRun  codes, attempts, messages, ...   how items stand (`ItemColumns`)
            queue, sending, budgets          what is to be sent, how, and how often it was tried
            inputs                           what items are called with, and what they wait for
            consumers                        the readers of their values, and waiters for their ends
            values, footprint                where the values are, and what they weigh
            header, resume                   what the record says, and what an earlier driver has left

Single submits of one task share one growing MapRun (kind "submit"), so that bursts are chunked
like a map and cost a byte, not an object, each. Only the dispatcher writes here, under the
pump's lock; futures read single bytes without it.
"""

from __future__ import annotations

import itertools
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from anabranch.core.errors import ResultReleased
from anabranch.core.footprint import Footprint
from anabranch.core.item_columns import ItemColumns
from anabranch.core.map_parts import Budgets, MapHeader, Resumption, Sending
from anabranch.core.value_index import ValueIndex

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from anabranch.core.options import TaskOptions
    from anabranch.core.reports import ErrorInfo
    from anabranch.core.scopes import ScopePort
    from anabranch.core.stored_call import KeptCall
    from anabranch.core.task_spec import TaskSpec


class Upstream(NamedTuple):
    """What an item reads or waits for: one item of a map, or (index None) all of it."""

    map: MapRun
    item: int | None
    allow_failure: bool = False
    value: bool = True  # False: only waited for (`wait_for`)

    @property
    def ended(self) -> bool:
        return self.map.finished if self.item is None else self.map.is_terminal(self.item)


def unchanged(upstreams: Sequence[Upstream], at: int | None = None) -> bool:
    """Whether all that is read is what it was for an earlier driver; `at`: this item of each map."""
    for up in upstreams:
        previous = up.map.resume.previous
        if previous is None:
            return False
        item = up.item if at is None else at
        if item is None:
            if not previous.all_hold(0, len(up.map.codes)):
                return False
        elif not previous.holds(item):
            return False
    return True


class Source(Protocol):
    """Where a map's arguments come from, see `core.params`."""

    random_access: bool
    exhausted: bool
    length: int | None  # None: nobody knows

    def at(self, index: int) -> Any: ...
    def slice(self, lo: int, hi: int) -> Sequence[Any]: ...


class Inputs:
    """What the items of a map are called with, and what they wait for before they begin.

    Attributes:
        source: None where all arguments come from other maps, or with each submit.
        feeds: item-wise upstreams, in the order of the binding's mapped columns.
        layout: per mapped column: source element k, or -(feed + 1).
        starred: items are whole calls: (args, kwargs).
        args: arguments of items that have not ended, where no source can be asked for them again.
        append_index: numbers of single runs to come.
        links: new single runs, each with the run that makes its argument.
        links_told: the dispatcher has an event that it will take them in at.
        pulling: the next elements of an iterator were asked for.
        sealed: somebody waits for all of the map: an iterator is pulled to its end.
        gate: how many upstreams the whole map waits for.
        once_read: what all items of a resumed map read or waited for, until it is known to be unchanged.
        upstreams: what single items read or wait for; at -1, what the whole map does.
        blocked: item -> upstreams it still waits for.
        recipes: what ended items read, where that may be needed again.
        causes: why an item was not admitted.
        call: the call of the map, in a resumable run or where hooks may ask for it.
    """

    __slots__ = (
        "append_index", "args", "blocked", "call", "causes", "constants_ready", "constants_ref", "feeds", "gate",
        "layout", "links", "links_told", "once_read", "pulling", "recipes", "sealed", "source", "starred", "upstreams",
    )  # fmt: skip

    def __init__(self, source: Source | None, feeds: tuple[Upstream, ...], *, starred: bool) -> None:
        self.source = source
        self.feeds = feeds
        self.layout: tuple[int, ...] | None = None
        self.starred = starred
        self.args: dict[int, Any] = {}
        self.append_index = itertools.count()
        self.links: deque[tuple[int, int]] = deque()
        self.links_told = False
        self.pulling = False
        self.sealed = False
        self.gate = 0
        self.once_read: tuple[Upstream, ...] = ()
        self.constants_ready = True
        self.constants_ref: int | None = None
        self.upstreams: dict[int, tuple[Upstream, ...]] = {}
        self.blocked: dict[int, int] = {}
        self.recipes: dict[int, tuple[Upstream, ...]] = {}
        self.causes: dict[int, tuple[tuple[MapRun, int], ...]] = {}
        self.call: KeptCall | None = None


class Consumers:
    """The readers of the values of a map's items, and the waiters for their ends.

    Attributes:
        future_refs: how many futures name an item.
        list_refs: how many future lists hold all items.
        unfinished: per item: unfinished consumers that read it; None as long as there are none.
        unfinished_lists: unfinished consumers of the whole list.
        maps: maps that read item by item.
        items: item -> single runs, or (index -1) whole maps, that wait for it.
        lists: single runs, or (None) whole maps, that wait for all of it.
        followers: item -> the link that waits for it, of which nothing else is written down: see `engine/fusing.py`.
        read_singly: by single runs, not item by item by a map.
        stream: an open ordered iterator has consumed up to here.
        waiters: called at the end of an item, or (None) of the map.
        subscribers: called with items as they end.
    """

    __slots__ = (
        "consumed", "followers", "future_refs", "items", "list_refs", "lists", "maps", "read_singly", "stream",
        "subscribers", "unfinished", "unfinished_lists", "waiters",
    )  # fmt: skip

    def __init__(self) -> None:
        self.future_refs: dict[int, int] = {}
        self.list_refs = 0
        self.unfinished: bytearray | None = None
        self.unfinished_lists = 0
        self.maps: list[MapRun] = []
        self.items: dict[int, list[tuple[MapRun, int]]] = {}
        self.lists: list[tuple[MapRun, int | None]] = []
        self.followers: dict[int, int] = {}
        self.read_singly = False
        self.stream: int | None = None
        self.consumed = 0
        self.waiters: dict[int | None, list[Callable[[], None]]] = {}
        self.subscribers: list[Callable[[MapRun, Sequence[int]], None]] = []


class MapRun(ItemColumns):
    """See the module's head. Made by the session, filled by the dispatcher.

    Attributes:
        closed: no more items will come.
        done: how many items are in a terminal state.
        error: the user's iterator raised, or lengths differ.
        handled: failures that reached the flow's code.
        keep: values are kept for the list that `map` returned.
    """

    __slots__ = (
        "__weakref__", "budgets", "closed", "consumers", "done", "error", "errors", "footprint", "handled",
        "header", "inputs", "keep", "kind", "options", "resume", "scope", "sending", "spec", "values",
    )  # fmt: skip

    def __init__(
        self,
        id: str,
        spec: TaskSpec,
        options: TaskOptions,
        *,
        kind: str,
        lane: int,
        flow_run_id: str = "",
        parent_id: str = "",
        tags: tuple[str, ...] = (),
        keep: bool = True,
        source: Source | None = None,
        feeds: tuple[Upstream, ...] = (),
        scope: ScopePort = None,  # type: ignore[assignment]  # of a map that no future leads to
    ) -> None:
        super().__init__(id)
        self.spec = spec
        self.options = options
        self.kind = kind
        self.scope = scope
        self.keep = keep
        self.closed = False
        self.done = 0
        self.error: BaseException | None = None
        self.errors: dict[int, ErrorInfo] = {}
        self.handled: set[int] = set()
        self.header = MapHeader(flow_run_id, parent_id, tags)
        self.sending = Sending(lane, options)
        self.inputs = Inputs(source, feeds, starred=kind == "submit")
        self.consumers = Consumers()
        self.values = ValueIndex(gaps=not keep)
        self.footprint = Footprint()
        self.budgets = Budgets()
        self.resume = Resumption()

    @property
    def finished(self) -> bool:
        return self.closed and self.done >= len(self.codes)

    @property
    def unheld(self) -> bool:
        """It is under way, its list is gone, and nobody else could ask for a value."""
        readers = self.consumers
        read = readers.future_refs or readers.maps or readers.lists or readers.items or readers.stream is not None
        return self.header.dropped and not self.finished and not read

    def counted(self, index: int) -> int:
        """The attempt as the user's `retries` count it: without those that the infrastructure lost."""
        return self.attempts.get(index, 1) - self.budgets.uncounted.get(index, 0)

    @property
    def retried(self) -> int:
        """How many items were tried more than once."""
        return len(self.attempts) - len(self.resume.unbegun)

    def next_attempt(self, index: int, *, uncounted: bool) -> None:
        """The item begins anew; `uncounted`: what it loses was not its own doing."""
        self.attempts[index] = self.attempt(index) + 1
        self.resume.unbegun.discard(index)
        if uncounted:
            known = self.budgets.uncounted
            known[index] = known.get(index, 0) + 1

    def mark_handled(self, index: int) -> None:
        """The item's failure reached the flow's code; so did the failures that caused it."""
        if index in self.handled:
            return
        self.handled.add(index)
        for cause, at in self.inputs.causes.get(index, ()):
            cause.mark_handled(at)

    def run_name(self, index: int) -> str:
        return self.header.names.get(index, self.spec.name)

    def released_error(self, index: int) -> ResultReleased:
        if not self.keep:
            return ResultReleased(f'item {index} of {self.spec.name!r} has no value: the map was made with keep="none"')
        return ResultReleased(
            f"the value of {self.spec.name!r} item {index} was released with its last reader; keep the future (or the "
            "list that map returned) while you need it, or store it with persist_result=True"
        )
