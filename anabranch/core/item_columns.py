"""The states of a map's items as columns: a byte an item, and sparse tables of items that left the happy path."""

from __future__ import annotations

from anabranch.core.map_parts import Queue
from anabranch.core.states import (
    AWAITING_SLOT,
    CACHED,
    COMPLETED,
    FIRST_ENDED,
    ITEM_CODES,
    NAMES,
    PENDING,
    RETRYING,
    RUNNING,
    State,
)

ENDED = bytes(range(FIRST_ENDED, ITEM_CODES))  # codes of items that have ended


class ItemColumns:
    """The part of a map that has the states; `moment()` gives a copy that does not change."""

    __slots__ = ("attempts", "codes", "id", "messages", "queue", "state_names")

    def __init__(self, id: str) -> None:
        self.id = id
        self.codes = bytearray()
        self.queue = Queue()
        self.attempts: dict[int, int] = {}
        self.messages: dict[int, str] = {}
        self.state_names: dict[int, str] = {}

    def code(self, index: int) -> int:
        return self.codes[index] if index < len(self.codes) else 0

    def is_terminal(self, index: int) -> bool:
        return index < len(self.codes) and self.codes[index] >= FIRST_ENDED

    def attempt(self, index: int) -> int:
        return self.attempts.get(index, 1)

    def state(self, index: int) -> State:
        """Return the state of an item, without its value."""
        code, queue = self.code(index), self.queue
        waits = ""
        if code < FIRST_ENDED and index not in queue.delayed and self._started(index):
            code = RETRYING if self.attempt(index) > 1 else RUNNING
        elif code == PENDING and queue.short:
            waits = f"waits for a worker with {queue.short}"
        elif code == PENDING and queue.waits_under and self._ready(index):
            code = AWAITING_SLOT
            waits = f"waits for a slot of the limit {queue.waits_under!r}"
        name, kind = NAMES[code]
        return State(
            kind,
            self.state_names.get(index, name),
            self.messages.get(index, waits),
            attempt=self.attempt(index) if code not in (PENDING, AWAITING_SLOT) else 0,
            run_id=f"{self.id}/{index}",
        )

    def _started(self, index: int) -> bool:
        return index < len(self.codes) and not self._ready(index) and bool(self.queue.running)

    def _ready(self, index: int) -> bool:
        return any(lo <= index < hi for lo, hi, _ in tuple(self.queue.ready))

    def failures(self) -> list[int]:
        """Return the items that ended in any state but Completed."""
        bad = len(self.codes) - self.codes.count(COMPLETED) - self.codes.count(CACHED)
        if not bad:
            return []
        return [i for i, code in enumerate(self.codes) if code > CACHED]

    def moment(self) -> ItemColumns:
        """Return the states of all items as of now; the caller keeps others from changing them meanwhile."""
        found = ItemColumns(self.id)
        found.codes = bytearray(self.codes)
        if not found.codes.translate(None, ENDED):
            # The entries of an ended item do not change any more, so a million failures are not copied.
            found.attempts, found.messages, found.state_names = self.attempts, self.messages, self.state_names
            return found
        found.attempts, found.messages = dict(self.attempts), dict(self.messages)
        found.state_names, found.queue = dict(self.state_names), self.queue.moment()
        return found
