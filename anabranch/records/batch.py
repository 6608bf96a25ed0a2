"""Rows that wait for a commit, by table; blocks of one map are merged as they come."""

from __future__ import annotations

import json
import sys
from array import array
from threading import Event
from typing import TYPE_CHECKING, Any, NamedTuple

from anabranch.core.runs import FlowRunRow, HeartbeatRow, ItemBlock, ItemRow, LogRow, MapRow, StoredRow, TransitionRow
from anabranch.core.states import SUSPENDED, is_final
from anabranch.records.blocks import SEAL, Pack, encode, parted, times_of
from anabranch.records.views import state_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from anabranch.core.runs import Row
    from anabranch.records.database import Values

_ROW, _ITEM = 500, 10  # bytes, about
_AT_ONCE = 8_192  # a pack of so many items is sealed without waiting for more


class Mark(Event):
    """Put between rows; set when all rows before it are committed, or when nobody is to wait for that any longer.

    Args:
        patient: it is not given up while what commits them is out of reach.

    Attributes:
        given_up: whether it was set though they are not committed.
    """

    def __init__(self, *, patient: bool = False) -> None:
        super().__init__()
        self.given_up = False
        self._patient = patient

    def give_up(self) -> None:
        """Let the caller go, unless it has patience."""
        if not self._patient and not self.is_set():
            self.given_up = True
            self.set()


class BlockRow(NamedTuple):
    """A blob of items in the form that the database keeps."""

    map: str
    first: int
    last: int
    attempt: int
    sealed: bool
    data: bytes
    items: int

    @classmethod
    def of(cls, map: str, attempt: int, pack: Pack, *, sealed: bool) -> BlockRow:
        return cls(map, pack.first, pack.last, attempt, sealed, encode(pack, sealed=sealed), pack.count)

    @property
    def values(self) -> Values:
        return (self.map, self.first, self.last, self.attempt, int(self.sealed), self.data)


class Batch:
    """Rows taken since the last commit; a row that replaces an earlier one is kept alone."""

    def __init__(self) -> None:
        self.flow_runs: dict[str, FlowRunRow] = {}
        self.maps: dict[str, MapRow] = {}
        self.items: list[ItemRow] = []
        self.stored: list[StoredRow] = []
        self.transitions: list[TransitionRow] = []
        self.logs: list[LogRow] = []
        self.beats: dict[str, float] = {}
        self.packs: dict[tuple[str, int, int], Pack] = {}  # by map, attempt, times
        self.full: list[BlockRow] = []
        self.marks: list[Mark] = []
        self._takers: dict[type, Callable[[Any], None]] = {
            FlowRunRow: self._flow_run,
            MapRow: self._map,
            ItemBlock: self._block,
            ItemRow: self.items.append,
            StoredRow: self._stored,
            TransitionRow: self.transitions.append,
            LogRow: self.logs.append,
            HeartbeatRow: self._heartbeat,
            Mark: self.marks.append,
        }

    def __bool__(self) -> bool:
        return any(
            (self.flow_runs, self.maps, self.items, self.stored, self.transitions, self.logs, self.beats, self.packs,
             self.full)
        )  # fmt: skip

    @property
    def weight(self) -> int:
        """About how many bytes the rows take."""
        rows = len(self.flow_runs) + len(self.maps) + len(self.items) + len(self.stored) + len(self.transitions)
        items = sum(pack.count for pack in self.packs.values())
        return _ROW * (rows + len(self.logs)) + _ITEM * items + sum(len(row.data) for row in self.full)

    def take(self, row: Row | Mark) -> None:
        """Take a row; raises KeyError for an object that is no row, RecordsError for an inconsistent block."""
        self._takers[type(row)](row)

    def ends(self) -> Iterator[tuple[str, Callable[[Any], Values], Iterable[Any]]]:
        """Yield the writes to orders of runs that have ended, as `writes` does.

        They go before all others, and before the fence: orders are locked before their runs. Each compares tokens.
        """
        ended = [
            (row.id, row.token)
            for row in self.flow_runs.values()
            if row.token and is_final(row.state) and row.state != SUSPENDED
        ]
        if ended:
            yield "end_turn", tuple, ended
            yield "end_order", tuple, ended

    def writes(self) -> Iterator[tuple[str, Callable[[Any], Values], Iterable[Any]]]:
        """Yield the writes in order: the name of a query, the function from a row to its values, the rows."""
        if self.flow_runs:
            yield "put_flow_run", flow_run_values, self.flow_runs.values()
        if self.maps:
            yield "put_map", map_values, self.maps.values()
        if self.items:
            yield "put_item", item_values, self.items
        if self.stored:
            yield "add_stored", stored_values, self.stored
        if self.transitions:
            yield "add_transition", transition_values, self.transitions
        if self.logs:
            yield "add_log", log_values, self.logs
        if self.beats:
            yield "beat", beat_values, self.beats.items()

    def blocks(self) -> list[BlockRow]:
        """Return the blobs to add."""
        loose = [
            BlockRow.of(map, attempt, pack, sealed=pack.count >= _AT_ONCE)
            for (map, attempt, _), pack in self.packs.items()
        ]
        return self.full + loose

    def _flow_run(self, row: FlowRunRow) -> None:
        self.flow_runs[row.id] = row
        if row.heartbeat:
            self._beat(row.id, row.heartbeat)

    def _map(self, row: MapRow) -> None:
        self.maps[row.id] = row

    def _stored(self, row: StoredRow) -> None:
        if len(row.items):
            self.stored.append(row)

    def _heartbeat(self, row: HeartbeatRow) -> None:
        self._beat(row.flow_run, row.when)

    def _beat(self, flow_run: str, when: float) -> None:
        self.beats[flow_run] = max(when, self.beats.get(flow_run, 0.0))

    def _block(self, block: ItemBlock) -> None:
        if not block.count:
            return
        key = (block.map, block.attempt, times_of(block))
        if block.count > SEAL:
            for part in parted(block, SEAL):
                self._block(part)
            return
        pack = self.packs.get(key)
        if pack is None:
            pack = self.packs[key] = Pack(block.base, key[2])
        pack.add(block)
        if pack.count >= SEAL:
            self.full.append(BlockRow.of(block.map, block.attempt, self.packs.pop(key), sealed=True))


def flow_run_values(r: FlowRunRow) -> Values:
    return (
        r.id, r.flow, r.name, r.state, state_name(r.state, r.state_name), r.message, r.created, r.started, r.ended,
        r.attempt, r.parent_run, r.version, r.runner, json.dumps(r.tags), r.parameters, r.pid, r.pid_started, r.host,
        r.heartbeat, int(r.resumable), r.run_key, r.entry, r.token, r.incarnation,
    )  # fmt: skip


def map_values(r: MapRow) -> Values:
    return (
        r.id, r.flow_run, r.task, r.kind, r.length, r.created, r.ended, json.dumps(r.counts), r.parent,
        json.dumps(r.tags), r.call_key, r.code, r.superseded, json.dumps(r.upstreams), r.slots, json.dumps(r.account),
    )  # fmt: skip


def stored_values(r: StoredRow) -> Values:
    whole = isinstance(r.items, range) and r.items.step == 1
    first, last = (r.items[0], r.items[-1]) if whole else (min(r.items), max(r.items))
    items = b"" if whole else numbers("Q", r.items)
    slots = b"" if r.slots == range(len(r.items)) else numbers("I", r.slots)
    return (r.map, r.kind, r.name, first, last, items, slots, r.digests)


def stored_row(values: Values) -> StoredRow:
    """Return the row of which `stored_values` made these values."""
    map, name, first, last, items, slots, digests, kind = values
    found = range(first, last + 1) if not items else from_numbers("Q", items)
    return StoredRow(map, name, found, from_numbers("I", slots) if slots else range(len(found)), digests, kind)


def numbers(kind: str, values: Iterable[int]) -> bytes:
    found = array(kind, values)
    if sys.byteorder == "big":
        found.byteswap()
    return found.tobytes()


def from_numbers(kind: str, data: bytes) -> array[int]:
    found: array[int] = array(kind)
    found.frombytes(data)
    if sys.byteorder == "big":
        found.byteswap()
    return found


def item_values(r: ItemRow) -> Values:
    return (
        r.map, r.index, r.attempt, r.state, state_name(r.state, r.state_name), r.name, r.message, r.started, r.ended,
        r.worker, r.error_type, r.error_text, r.reason, r.details,
    )  # fmt: skip


def transition_values(r: TransitionRow) -> Values:
    return (r.run, r.index, r.attempt, r.state, state_name(r.state, r.state_name), r.message, r.when)


def log_values(r: LogRow) -> Values:
    return (r.when, r.level, r.logger, r.message, r.flow_run, r.map, r.index)


def beat_values(beat: tuple[str, float]) -> Values:
    return (beat[1], beat[0])
