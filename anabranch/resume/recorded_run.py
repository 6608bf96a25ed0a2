"""The results of an earlier driver of a resumable run: recorded calls by their keys, with the places of values.

    first driver   call --key--> record <--names-- blocks of values, written by workers before "Completed" is recorded
    next driver    call --key--> record --items, names--> PreviousItems --> Completed, or sent (engine/adopting.py)
"""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from anabranch.core.errors import CodeChanged
from anabranch.core.keys import DIGEST_BYTES
from anabranch.core.previous_items import PreviousItems
from anabranch.core.states import CANCELLED, NAMES
from anabranch.engine import walltime

if TYPE_CHECKING:
    from collections.abc import Callable

    from anabranch.core.maps import MapRun
    from anabranch.core.runs import MapRow, Records, StoredRow
    from anabranch.core.stores import BlockStore

Place = tuple[str, int]  # name of a block in the result store, and a slot of it
LOOKS = 16  # parallel requests for blocks, since the store may be far away
# An item that waited for a retry at its driver's death is SCHEDULED.
UNFINISHED = ("FAILED", "CRASHED", "CANCELLED", "SCHEDULED")
_UNFINISHED = frozenset(name for name, kind in NAMES if kind.value in UNFINISHED)


class RecordedRun:
    """The recorded calls of a run; each is handed out once.

    Args:
        write: takes rows for the record.
        kept: takes the places of blocks that are not needed once the run has completed, see `Resume`.
        changed: the rule for items of a task with changed code: "keep", "rerun", or "ask": an error.
    """

    def __init__(
        self, records: Records, blocks: BlockStore, run_id: str, write: Callable[[list[Any]], None], kept: list[str],
        changed: str = "ask",
    ) -> None:  # fmt: skip
        self._records = records
        self._write = write
        self._blocks = blocks
        self.changed = changed
        self._kept = kept
        self._there: dict[str, bool] = {}
        rows = [row for row in records.maps(run_id) if row.call_key and not row.superseded]
        self._maps = {row.call_key: row for row in rows if row.kind == "map"}
        self._series: dict[str, list[MapRow]] = {}
        for row in rows:
            if row.kind != "map":
                self._series.setdefault(row.call_key, []).append(row)
        self._left: list[tuple[str, Callable[[], int]]] = []  # tasks handed out, with unclaimed items

    def map(self, map: MapRun) -> PreviousItems | None:
        """Return the completed items of the map with this key; the new map takes over its id."""
        row = self._maps.pop(map.resume.call_key, None)
        if row is None:
            return None
        if self._outdated(row, map.resume.code_hash):
            self._supersede([row], map)
            return None
        map.id, map.header.created = row.id, row.created
        found = PreviousItems(self._stored(row), self._lost, bare=not map.keep)
        found.numbered = True
        for view in self._records.items(row.id, limit=1 << 60, states=(*UNFINISHED, "Retried")):
            if view.attempt > 1 and view.state not in _UNFINISHED:  # completed, judging by the state's name
                found.attempts[view.index] = view.attempt
            else:  # set at once, because an item that travels behind another one is not asked about
                map.attempts[view.index] = view.attempt + 1
                if view.attempt == 1 and view.started is None and view.state == NAMES[CANCELLED][0]:
                    map.resume.unbegun.add(view.index)
                map.budgets.uncounted[view.index] = view.attempt  # earlier drivers' do not count against `retries`
                if view.message == walltime.MESSAGE:
                    map.resume.interrupted[view.index] = self._records.attempts(row.id, view.index)
        self._left.append((row.task, found.unclaimed))
        return found

    def series(self, map: MapRun) -> dict[bytes, Place | None]:
        """Return recorded single runs by their keys; this series replaces theirs."""
        rows = self._series.pop(map.resume.call_key, [])
        found: dict[bytes, Place | None] = {}
        for row in rows:
            if self._outdated(row, map.resume.code_hash):
                continue
            for stored in self._stored(row):
                self._take(found, stored)
        if found:
            self._left.append((rows[0].task, found.__len__))
        self._supersede(rows, map)
        return found

    def _supersede(self, rows: list[MapRow], map: MapRun) -> None:
        for row in rows:
            row.superseded = map.id
            self._kept.append(row.id)
        if rows:
            self._write(list(rows))

    def _take(self, found: dict[bytes, Place | None], row: StoredRow) -> None:
        there = bool(row.name) and not self._lost(row.name)
        for n, slot in enumerate(row.slots):
            key = row.digests[n * DIGEST_BYTES : (n + 1) * DIGEST_BYTES]
            if key:
                found[key] = (row.name, slot) if there else None

    def _stored(self, row: MapRow) -> list[StoredRow]:
        """Return the recorded places of a map's values in existing blocks, which are looked up in parallel."""
        found = self._records.stored(row.id)
        names = {stored.name for stored in found if stored.name} - self._there.keys()
        if not names:
            return found
        with ThreadPoolExecutor(min(LOOKS, len(names))) as pool:
            self._there.update(zip(names, pool.map(lambda name: bool(self._blocks.items(name)), names), strict=True))
        return found

    def _lost(self, name: str) -> bool:
        return not self._there[name]

    def _outdated(self, row: MapRow, code: str) -> bool:
        if row.code == code or not row.code or self.changed == "keep":
            return False
        if self.changed == "rerun":
            return True
        known, now = row.code.partition("-"), code.partition("-")
        if known[0] == now[0] and "?" in known[2] + now[2]:
            return True
        same = known[0] == now[0]
        what = f"what task {row.task!r} reads (globals, closures)" if same else f"the code of task {row.task!r}"
        raise CodeChanged(
            f"{what} has changed since the run was recorded: resume with --keep-changed (changed='keep') to keep what "
            "it has made, or --rerun-changed (changed='rerun') to run it again"
        )

    def unmatched(self) -> dict[str, int]:
        """Return the numbers of recorded items that were not called again, by task."""
        found: Counter[str] = Counter()
        for row in (*self._maps.values(), *(r for rows in self._series.values() for r in rows)):
            found[row.task] += row.counts.get("Completed", 0) or (row.length or 0)
        for task, left in self._left:
            found[task] += left()
        return {task: count for task, count in found.items() if count}
