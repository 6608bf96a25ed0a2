"""The dispatcher: events in, instructions out; no I/O, no threads, no clock of its own.

    submit / append / pulled ----+                      intake.py
    report, lost, timed out -----+--> Dispatcher --> [Send, Free, Rows, Wake, ...]
    cancel, halt, tick(now) -----+                      halting.py, losses.py, board.py, readers.py below

Its unit is the chunk and the index range; single items appear only in sparse sets. Called by
the pump alone, under its lock, so nothing here waits or locks.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

from anabranch.core import states
from anabranch.core.contracts import Handle, Held
from anabranch.core.events import CancelChunk, Free, Pull, Rows, Send, Wake, WantSlots
from anabranch.core.maps import ValueBlock
from anabranch.core.user_code import is_async
from anabranch.engine import assemble, causes
from anabranch.engine.chunks import CHUNKS_PER_SLOT, window
from anabranch.engine.halting import Halting
from anabranch.engine.ranges import as_range, runs_of
from anabranch.engine.rows import block_row, links_of, note_stored, rows_of, timed

if TYPE_CHECKING:
    from collections.abc import Container, Sequence

    from anabranch.core.contracts import Block, Chunk, Outcome, Report
    from anabranch.core.events import Instruction
    from anabranch.core.maps import MapRun
    from anabranch.core.runs import ItemRow
    from anabranch.engine.lanes import Sent

_COMPLETED = bytes([states.COMPLETED])


class Dispatcher(Halting):
    """Adds the way out to runners and back."""

    # -- sending ---------------------------------------------------------------------------------

    def schedule(self) -> None:
        """Fill every lane that changed, up to two chunks a slot."""
        held_up = self._held_up() if self.ledger.memory.behind else set()
        while self.dirty_lanes:
            lane = self.lanes[self.dirty_lanes.pop()]
            chunks: list[Chunk] = []
            room = CHUNKS_PER_SLOT * lane.slots
            skipped = []
            later = []
            while lane.in_flight - lane.blocked < room and lane.runnable:
                entry = heapq.heappop(lane.runnable)
                map = entry[-1]
                map.on_lane = False
                while map.ready and lane.in_flight - lane.blocked < room:
                    if map.limits and len(map.running) >= lane.slots and self.limits.paced(map):
                        later.append(entry)
                        skipped.append(map)
                        break
                    if self._held_back(map) or (map.limits and not self.limits.take(map)):
                        skipped.append(map)
                        break
                    chunk = assemble.next_chunk(self, lane, map)
                    if chunk is None:
                        self.limits.give_back(map.limits)
                        break
                    chunks.append(chunk)
                    lane.in_flight += 1
                if map.ready and map not in skipped:
                    map.on_lane = True
                    heapq.heappush(lane.runnable, entry)
            for entry in later:  # when a worker is free
                entry[-1].on_lane = True
                heapq.heappush(lane.runnable, entry)
            if chunks:
                self.out.append(Send(lane.index, chunks))
        self.dirty_lanes |= held_up

    def _held_up(self) -> set[int]:
        """Lanes that wait for the disk; inline's work would go on in another thread then, so it does not."""
        found = {n for n in self.dirty_lanes if self.lanes[n].capabilities.name != "inline"}
        self.dirty_lanes -= found
        return found

    def _held_back(self, map: MapRun) -> bool:
        """Only an open stream holds its producer back, and a flow run that is to end."""
        if map.flow_run_id in self.halted:
            return True
        if map.stream is None or map.sealed:
            return False
        room = window(self.lanes[map.lane].slots, self.pace(map), fixed=map.window)
        if map.sent + map.done - map.consumed < room:
            return False
        # Later items may have filled the window (kept from an earlier driver, or while this one waited for a retry):
        # the one that the reader waits for must not stay behind them.
        return map.is_terminal(map.consumed) or not _bring_forward(map, map.consumed + room)

    # -- reports ---------------------------------------------------------------------------------

    def report(self, report: Report) -> None:
        """A worker tells what became of some positions; what was refused before stays refused."""
        sent = self.sent.get(report.chunk)
        if sent is None:
            self._refuse(report)
            return
        stop = report.first + report.count
        if report.first < sent.reported:  # the same report twice, after an engine's own repetition
            if report.final:
                self._end_chunk(sent)
            return
        sent.reported = stop
        outcomes = {(o.stage, o.position): o for o in report.outcomes} if report.outcomes else {}
        if report.count:
            seconds = sum(report.durations) / 1e6 if report.durations is not None else 0.0
            nbytes = 0
            for block in report.blocks:
                nbytes += block.nbytes if block is not None else 0
            self.pace(sent.maps[0]).learn(report.count, seconds, nbytes)
            links = _links(sent, report) if len(sent.maps) > 1 else None
            if links:
                self._accept_links(sent, links, report)
            else:  # last stage first: a consumer that travelled along has ended before its producer tells
                for stage in range(len(sent.maps) - 1, -1, -1):
                    self._accept_stage(sent, stage, report, outcomes)
            self.rows += report.notes
        if report.final:
            self._end_chunk(sent)

    def _accept_links(self, sent: Sent, links: list[Sequence[int]], report: Report) -> None:
        """Chains of single runs of one task, all gone well: their ends are one."""
        map = sent.maps[0]
        map.sent -= report.count
        for stage, content in enumerate(report.blocks):
            if content is None:
                map.gaps = True
            else:
                self._take_block(sent, stage, map, links[stage], report.first, content)
            if report.stored or map.resumable:
                note_stored(self.rows, map, stage, links[stage], range(report.count), report)
        ended = [index for items in links for index in items]
        for index in ended:
            map.codes[index] = states.COMPLETED
        if map.messages:  # of attempts before this one
            for index in ended:
                map.messages.pop(index, None)
        map.done += len(ended)
        self.rows += links_of(map, links, report)
        self.links_ended(map, links, ended)
        for items, content in zip(links, report.blocks, strict=False):
            if content is not None:
                self._settle_new(map, items)

    def _accept_stage(self, sent: Sent, stage: int, report: Report, outcomes: dict[tuple[int, int], Outcome]) -> None:
        map = sent.maps[stage]
        items = sent.items[stage][report.first : report.first + report.count]
        codes = report.codes[stage] if report.codes is not None else None
        if map.followers:
            self.spell_out(map, items if codes is None and not sent.dirty else None)
        if stage == 0:
            map.sent -= len(items)
        content = report.blocks[stage] if stage < len(report.blocks) else None
        if content is None:
            map.gaps = True
        else:
            self._take_block(sent, stage, map, items, report.first, content)
        if codes is not None or sent.dirty:
            self._accept_each(map, items, stage, report, codes, outcomes, sent.taken)
            return
        if report.stored or map.resumable:
            note_stored(self.rows, map, stage, items, range(len(items)), report)
        if isinstance(items, range):
            map.codes[items[0] : items[-1] + 1] = _COMPLETED * len(items)
            if map.messages and sent.chunk.attempts is not None:  # of attempts before this one
                for index in items:
                    map.messages.pop(index, None)
            if sent.chunk.attempts is not None:
                self.rows += rows_of(map, items, range(len(items)), report)
            else:
                self.rows.append(block_row(map, items[0], len(items), None, report))
        else:
            for index in items:
                map.codes[index] = states.COMPLETED
                if map.messages:
                    map.messages.pop(index, None)
            self.rows += rows_of(map, items, range(len(items)), report)
        map.done += len(items)
        if content is not None:
            self._settle_new(map, items)
        self.ended(map, items)

    def _accept_each(
        self,
        map: MapRun,
        items: Sequence[int],
        stage: int,
        report: Report,
        codes: bytes | None,
        outcomes: dict[tuple[int, int], Outcome],
        taken: set[int],
    ) -> None:
        ended: list[int] = []
        offsets: list[int] = []
        for offset, index in enumerate(items):
            if taken and report.first + offset in taken:
                continue
            if map.is_terminal(index) or index in map.delayed:
                continue  # cancelled, timed out or written off meanwhile: a late answer is refused
            code = codes[offset] if codes is not None else states.COMPLETED
            outcome = outcomes.get((stage, report.first + offset))
            if outcome is not None and not self._take_outcome(map, index, outcome):
                continue
            map.codes[index] = code
            ended.append(index)
            offsets.append(offset)
            if outcome is None:
                if map.messages:
                    map.messages.pop(index, None)
                continue
            row = self._told_row(map, index, outcome)
            self.rows.append(timed(row, report, offset))
        if not ended:
            self._settle_new(map, items)
            self.check_finished(map)
            return
        if report.stored or map.resumable:
            note_stored(self.rows, map, stage, ended, offsets, report)
        map.done += len(ended)
        self.rows += rows_of(map, ended, offsets, report)
        self._settle_new(map, items)
        self.ended(map, as_range(ended))

    def _take_outcome(self, map: MapRun, index: int, outcome: Outcome) -> bool:
        """Keep what is told of one item; False when it comes back for another attempt."""
        if outcome.code == states.PENDING:  # its producer did not complete: it waits on, untouched
            return False
        if outcome.message:
            map.messages[index] = outcome.message
        if outcome.code in (states.AWAITING_RETRY, states.AWAITING_CACHE):
            if outcome.code == states.AWAITING_RETRY:
                self.rows.append(self._told_row(map, index, outcome))
                map.next_attempt(index, excused=False)
            self.delay(map, index, outcome.delay, outcome.code)
            return False
        if outcome.error is not None:
            map.errors[index] = outcome.error
        if outcome.name:
            map.state_names[index] = outcome.name
        return True

    def _told_row(self, map: MapRun, index: int, outcome: Outcome) -> ItemRow:
        why = causes.of_end(map, index, outcome.code, outcome.error, outcome.reason, outcome.cache_key)
        return self.item_row(map, index, outcome.code, outcome.message, outcome.error, why)

    def _take_block(
        self, sent: Sent, stage: int, map: MapRun, items: Sequence[int], first: int, content: Block
    ) -> None:
        assert content is not None
        handle = Handle(sent.chunk.id, stage, first)
        block = ValueBlock(handle, sent.lane.index, items, content, content.nbytes)
        overlay = map.kind == "submit" or sent.chunk.attempts is not None or not isinstance(items, range)
        stale: set[int] = set()
        if sent.dirty:  # refused positions have no value here: theirs is, or will be, elsewhere
            stale = {i for p, i in enumerate(items, first) if p in sent.taken or map.is_terminal(i)}
        overlay = overlay or map.block_of(items[0]) is not None
        before: list[ValueBlock] = []
        if overlay and (map.moved or map.blocks):
            before = [old for i in items if i not in stale and (old := map.block_of(i)) is not None]
        map.layered = map.layered or bool(before)
        map.add_block(block, overlay=overlay, stale=stale)
        self.ledger.added(map, block, here=sent.lane.capabilities.spills)
        for old in before:
            old.live -= 1
        for old in dict.fromkeys(before):
            if not self.ledger.read_here(map, old):
                self.ledger.drop(map, old)  # what kept it has moved on to the new one
        if stale and not any(map.block_of(i) is block for i in block.indices()):
            self.ledger.drop(map, block)  # nothing of it will be found

    def _settle_new(self, map: MapRun, items: Sequence[int]) -> None:
        """Values that nobody waits for go at once."""
        if map.list_handles > 0 or map.list_readers > 0 or (len(items) == 1 and items[0] in map.handles):
            return
        if isinstance(items, range):
            self.ledger.settle(map, items[0], items[-1] + 1)
            return
        for index in items:
            self.ledger.settle(map, index, index + 1)

    def _refuse(self, report: Report) -> None:
        """A report of a chunk that was given up: its values are dropped where they are."""
        if report.chunk not in self.lost_chunks:
            return
        lane, accepted = self.lost_chunks[report.chunk]
        if report.first < accepted:  # told twice: the first time it was taken in
            return
        held = [Handle(report.chunk, s, report.first) for s, b in enumerate(report.blocks) if isinstance(b, Held)]
        if held:
            self.out.append(Free(lane, held))

    def _end_chunk(self, sent: Sent) -> None:
        """The chunk's last word: what it did not start goes back, uncounted, and its place is free."""
        rest = sent.items[0][sent.reported :]
        map = sent.maps[0]
        map.sent -= len(rest)
        self._retire(sent)
        if rest:
            if sent.taken:
                rest = [i for p, i in enumerate(rest, sent.reported) if p not in sent.taken]
            back = [i for i in rest if not map.is_terminal(i) and i not in map.delayed]
            for lo, hi in runs_of(reversed(self.with_inputs(map, back))):
                self.make_ready(map, lo, hi, front=True)
        self._readmit(sent)
        for stage_map in sent.once:
            self.check_finished(stage_map)

    def chunk_waits(self, chunk: int, position: int, waiting: bool) -> None:
        """A task of this chunk waits for other runs (or goes on): its slot is somebody else's meanwhile.

        What stands behind it in the chunk is taken back, for it may be what the task waits for.
        """
        sent = self.sent.get(chunk)
        if sent is None:
            return
        before = sent.waiting > 0
        sent.waiting += 1 if waiting else -1
        sent.lane.blocked += (sent.waiting > 0) - before
        self.dirty_lanes.add(sent.lane.index)
        self._look_halted()
        if not waiting or any(is_async(m.spec.fn) for m in sent.maps):
            return
        behind = tuple(p for p in range(position + 1, len(sent.chunk)) if p not in sent.taken)
        if not behind:
            return
        sent.taken.update(behind)
        sent.dirty = True
        self.out.append(CancelChunk(sent.lane.index, chunk, behind, False))
        map = sent.maps[0]
        back = [i for p in behind if not map.is_terminal(i := sent.items[0][p]) and i not in map.delayed]
        for lo, hi in runs_of(self.with_inputs(map, back)):
            self.make_ready(map, lo, hi)

    # -- cancelling ------------------------------------------------------------------------------

    def cancel_items(self, map: MapRun, indices: Sequence[int], *, force: bool = True, by: str = "user") -> None:
        """Give up items: those not started never start; running ones are stopped where that is possible."""
        wanted = [i for i in indices if not map.is_terminal(i)]
        if not wanted:
            return
        chosen = set(wanted)
        for chunk_id in list(map.running):
            sent = self.sent[chunk_id]
            for stage_map, items in zip(sent.maps, sent.items, strict=True):
                positions = tuple(p for p, i in enumerate(items) if i in chosen) if stage_map is map else ()
                if positions:
                    sent.dirty = True
                    stops = force and sent.lane.capabilities.stops_items
                    self.out.append(CancelChunk(sent.lane.index, chunk_id, positions, stops))
        self.end_items(map, wanted, states.CANCELLED, "cancelled", reason=causes.of_cancel(by))

    def cancel_map(self, map: MapRun, *, unpulled_only: bool = False, by: str = "user") -> None:
        """Give up the rest of a map; with `unpulled_only` just what was not taken from its iterator."""
        if not map.closed:
            self.close_map(map)
            if map.source is not None and not map.source.random_access:
                self.out.append(Pull(map, 0))  # the iterator is let go of
        if unpulled_only:
            return
        map.cancelled = by
        self.cancel_items(map, range(len(map.codes)), by=by)
        self.check_finished(map)

    def cancel_together(
        self, maps: Sequence[MapRun], by: str = "user", spared: Container[tuple[str, int]] = ()
    ) -> None:
        """Give up several maps that may wait for each other: all of it is cancelled, nothing fails for it.

        Args:
            spared: series and items of submitted flows that have decided how they end.
        """
        before = self.cancelling, self.cancelled_by
        self.cancelling, self.cancelled_by = before[0].union(maps), by
        try:
            for map in maps:
                if map.kind == "map":
                    self.cancel_map(map, by=by)
                else:
                    self.cancel_items(map, [i for i in range(len(map.codes)) if (map.id, i) not in spared], by=by)
        finally:
            self.cancelling, self.cancelled_by = before

    # -- the end of an event ---------------------------------------------------------------------

    def take(self) -> list[Instruction]:
        """Instructions of the events so far, in the order to carry them out."""
        self.schedule()
        self.relieve()
        if self.ledger.freed:
            by_lane: dict[int, list[Handle]] = {}
            for block in self.ledger.take_freed():
                by_lane.setdefault(block.lane, []).append(block.handle)
            self.out.extend(Free(lane, handles) for lane, handles in by_lane.items())
        if self.rows:
            self.out.append(Rows(self.rows))
            self.rows = []
        if self.wake:
            self.out.append(Wake(self.wake))
            self.wake = []
        if self.limits.stirred:
            self.limits.stirred = False
            self.out.append(WantSlots())
        out, self.out = self.out, []
        return out


def _bring_forward(map: MapRun, upto: int) -> bool:
    """Put ready items from before `upto` first in line; False when there are none."""
    for at, (lo, _, _) in enumerate(map.ready):
        if lo < upto:
            entry = map.ready[at]
            del map.ready[at]
            map.ready.appendleft(entry)
            return True
    return False


def _links(sent: Sent, report: Report) -> list[Sequence[int]]:
    """The stages' items of a report that tells of chains of one series, all gone well; else nothing."""
    if len(sent.once) > 1 or sent.dirty or report.codes is not None:
        return []
    return [items[report.first : report.first + report.count] for items in sent.items]
