"""Readers: the events of handles, lists, streams and waiters."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from anabranch.core import states

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from anabranch.core.maps import MapRun
    from anabranch.engine.board import Board
    from anabranch.engine.intake import Intake


class Readers:
    """The readers of maps' values, and the waiters for them."""

    def __init__(self, board: Board, intake: Intake) -> None:
        self._board = board
        self._intake = intake
        self._tables = board.tables
        self._ledger = board.ledger
        self._windows = board.windows
        self._recipes = board.recipes

    # -- handles ---------------------------------------------------------------------------------

    def handle_taken(self, map: MapRun, index: int) -> None:
        map.consumers.future_refs[index] = map.consumers.future_refs.get(index, 0) + 1

    def handles_taken(self, map: MapRun, items: Sequence[int]) -> None:
        if map.consumers.future_refs.keys().isdisjoint(items):
            map.consumers.future_refs.update(dict.fromkeys(items, 1))
            return
        for index in items:
            map.consumers.future_refs[index] = map.consumers.future_refs.get(index, 0) + 1

    def handle_gone(self, map: MapRun, index: int) -> None:
        self._ledger.item_handle_gone(map, index)
        if (map.inputs.recipes or map.inputs.args) and map.is_terminal(index):
            self._recipes.forget(map, (index,))

    def handles_gone(self, gone: Iterable[tuple[MapRun, int]]) -> None:
        """Drop futures that are garbage, each of a known run."""
        for map, index in gone:
            if map.inputs.links:  # a link may have taken the value before, with its event still to come
                self._intake.append_links(map)
            consumers = map.consumers
            refs = consumers.future_refs
            if refs.get(index) == 1 and (consumers.list_refs > 0 or map.codes[index] < states.FIRST_ENDED):
                del refs[index]  # the list is held, or there is no value yet; taking it in checks its readers
            else:
                self.handle_gone(map, index)

    def list_gone(self, map: MapRun) -> None:
        map.consumers.list_refs -= 1
        self._ledger.list_gone(map)
        self._recipes.forget(map, range(len(map.codes)))

    # -- streams ---------------------------------------------------------------------------------

    def stream_opened(self, map: MapRun) -> None:
        map.consumers.stream = map.consumers.consumed
        for feed in map.inputs.feeds:
            if feed.map.consumers.stream is None:
                self._windows.seal(feed.map)
        self._windows.pull(map)

    def give_away(self, map: MapRun, lo: int, hi: int) -> None:
        """Let go of values that a stream has read: they belong to its reader, and are not made again."""
        self._ledger.give_up(map, lo, hi)
        handles, map.consumers.list_refs = map.consumers.list_refs, 0
        self._recipes.forget(map, range(lo, hi))
        map.consumers.list_refs = handles

    def stream_advanced(self, map: MapRun, upto: int) -> None:
        """Note that the stream's reader has come to item `upto`."""
        map.consumers.consumed = max(map.consumers.consumed, upto)
        self._windows.pull(map)
        self._tables.enqueue(map)

    def taken(self, map: MapRun, index: int) -> None:
        """Note that a stream in order of completion has taken one item."""
        map.consumers.consumed += 1
        self.give_away(map, index, index + 1)
        self._windows.pull(map)
        self._tables.enqueue(map)

    def stream_closed(self, map: MapRun, *, finished: bool) -> None:
        map.consumers.stream = None
        if not finished and not map.closed:
            self._board.cancelling.cancel_map(map, unpulled_only=True)
        self._tables.enqueue(map)

    # -- waiters ---------------------------------------------------------------------------------

    def wait_for(self, map: MapRun, index: int | None, call: Callable[[], None], seal: bool = True) -> None:
        """Call `call` once the item (None: the whole map) is terminal; at once if it is.

        A wait for a whole map pulls it to its end (`seal`); a callback for its end does not.
        """
        if map.finished if index is None else map.is_terminal(index):
            self._tables.wake.append(call)
            return
        if index is None:
            if seal:
                self._windows.seal(map)
        elif map.inputs.source is not None and index >= len(map.codes):
            if map.closed:
                self._tables.wake.append(call)
                return
            self._windows.pull(map)
        map.consumers.waiters.setdefault(index, []).append(call)

    def forget_waiter(self, map: MapRun, index: int | None, call: Callable[[], None]) -> None:
        found = map.consumers.waiters.get(index)
        if found and call in found:
            found.remove(call)
            if not found:
                del map.consumers.waiters[index]

    def subscribe(self, map: MapRun, call: Callable[[MapRun, Sequence[int]], None]) -> None:
        """Call `call` for items as they end, first for those that have ended."""
        if map.done:
            ended = (i for i, code in enumerate(map.codes) if code >= states.FIRST_ENDED)
            call(map, range(len(map.codes)) if map.done == len(map.codes) else array("q", ended))
        map.consumers.subscribers.append(call)

    def unsubscribe(self, map: MapRun, call: Callable[[MapRun, Sequence[int]], None]) -> None:
        if call in map.consumers.subscribers:
            map.consumers.subscribers.remove(call)
