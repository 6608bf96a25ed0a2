"""Reports of workers: their positions end, come back for another attempt, or are refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anabranch.core import states
from anabranch.core.chunks import BlockHandle
from anabranch.core.instructions import CancelChunk, Free
from anabranch.core.reports import Held
from anabranch.core.spent import both, spent_of
from anabranch.core.user_code import is_async
from anabranch.engine import causes
from anabranch.engine.fusing import materialize
from anabranch.engine.ranges import as_range, runs_of
from anabranch.engine.rows import block_row, item_row, links_of, note_stored, rows_of, timed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anabranch.core.maps import MapRun
    from anabranch.core.reports import Outcome, Report
    from anabranch.core.runs import ItemRow
    from anabranch.engine.board import Board
    from anabranch.engine.flights import Flights
    from anabranch.engine.halting import Halts
    from anabranch.engine.lanes import Flight

_COMPLETED = bytes([states.COMPLETED])


class Reports:
    """Takes in workers' reports of chunks."""

    def __init__(self, board: Board, flights: Flights, halts: Halts) -> None:
        self._board = board
        self._tables = board.tables
        self._values = board.values
        self._flights = flights
        self._halts = halts

    def take_in(self, report: Report) -> None:
        """Take in a report; positions that were refused before stay refused."""
        sent = self._tables.sent.get(report.chunk)
        if sent is None:
            self._refuse(report)
            return
        stop = report.first + report.count
        if report.first < sent.reported:  # the same report twice, because the engine repeated the chunk
            if report.final:
                self._end_chunk(sent)
            return
        first, sent.reported = sent.reported == 0, stop
        outcomes = {(o.stage, o.position): o for o in report.outcomes} if report.outcomes else {}
        if report.count:
            seconds = sum(report.durations) / 1e6 if report.durations is not None else 0.0
            nbytes = 0
            for block in report.blocks:
                nbytes += block.nbytes if block is not None else 0
            self._tables.pace(sent.maps[0]).learn(report.count, seconds, nbytes)
            if self._tables.walltime is not None:
                self._tables.walltime.took(sent, report)
            if report.noted is not None:
                _note(sent, report, seconds, first=first)
            links = _links(sent, report) if len(sent.maps) > 1 else None
            if links:
                self._accept_links(sent, links, report)
            else:  # last stage first: a consumer that travelled along must end before its producer
                for stage in range(len(sent.maps) - 1, -1, -1):
                    self._accept_stage(sent, stage, report, outcomes)
            self._tables.rows += report.notes
        if report.final:
            self._end_chunk(sent)

    def _accept_links(self, sent: Flight, links: list[Sequence[int]], report: Report) -> None:
        """Take in chains of single runs of one task that have all completed, as one end."""
        map = sent.maps[0]
        map.queue.sent -= report.count
        for stage, content in enumerate(report.blocks):
            if content is None:
                map.values.gaps = True
            else:
                self._values.take_in(sent, stage, map, links[stage], report.first, content)
            if report.stored or map.values.resumable:
                note_stored(self._tables.rows, map, stage, links[stage], range(report.count), report)
        ended = [index for items in links for index in items]
        for index in ended:
            map.codes[index] = states.COMPLETED
        if map.messages:  # of attempts before this one
            for index in ended:
                map.messages.pop(index, None)
        map.done += len(ended)
        self._tables.rows += links_of(map, links, report)
        self._board.links_ended(map, links, ended)
        for stage, items in enumerate(links):
            if map.values.unfilled or (stage < len(report.blocks) and report.blocks[stage] is not None):
                self._values.settle_new(map, items)

    def _accept_stage(self, sent: Flight, stage: int, report: Report, outcomes: dict[tuple[int, int], Outcome]) -> None:
        map = sent.maps[stage]
        items = sent.items[stage][report.first : report.first + report.count]
        codes = report.codes[stage] if report.codes is not None else None
        if map.consumers.followers:
            materialize(self._board.ledger, map, items if codes is None and not sent.dirty else None)
        if stage == 0:
            map.queue.sent -= len(items)
        content = report.blocks[stage] if stage < len(report.blocks) else None
        if content is None:
            map.values.gaps = True
        else:
            self._values.take_in(sent, stage, map, items, report.first, content)
        if codes is not None or sent.dirty:
            map.values.unfilled = map.values.unfilled or content is not None
            self._accept_each(map, items, stage, report, codes, outcomes, sent.taken)
            return
        if report.stored or map.values.resumable:
            note_stored(self._tables.rows, map, stage, items, range(len(items)), report)
        if isinstance(items, range):
            map.codes[items[0] : items[-1] + 1] = _COMPLETED * len(items)
            if map.messages and sent.chunk.attempts is not None:  # of attempts before this one
                for index in items:
                    map.messages.pop(index, None)
            if sent.chunk.attempts is not None:
                self._tables.rows += rows_of(map, items, range(len(items)), report)
            else:
                self._tables.rows.append(block_row(map, items[0], len(items), None, report))
        else:
            for index in items:
                map.codes[index] = states.COMPLETED
                if map.messages:
                    map.messages.pop(index, None)
            self._tables.rows += rows_of(map, items, range(len(items)), report)
        map.done += len(items)
        if content is not None or map.values.unfilled:  # a block of an attempt before may have waited for these items
            self._values.settle_new(map, items)
        self._board.ended(map, items)

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
            if map.is_terminal(index) or index in map.queue.delayed:
                continue  # cancelled, timed out or written off meanwhile: a late report is refused
            code = codes[offset] if codes is not None else states.COMPLETED
            outcome = outcomes.get((stage, report.first + offset))
            if outcome is not None and not self._take_outcome(map, index, outcome, report, offset):
                continue
            map.codes[index] = code
            ended.append(index)
            offsets.append(offset)
            if outcome is None:
                if map.messages:
                    map.messages.pop(index, None)
                continue
            row = self._told_row(map, index, outcome)
            self._tables.rows.append(timed(row, report, offset))
        if not ended:
            self._values.settle_new(map, items)
            self._board.check_finished(map)
            return
        if report.stored or map.values.resumable:
            note_stored(self._tables.rows, map, stage, ended, offsets, report)
        map.done += len(ended)
        self._tables.rows += rows_of(map, ended, offsets, report)
        self._values.settle_new(map, items)
        self._board.ended(map, as_range(ended))

    def _take_outcome(self, map: MapRun, index: int, outcome: Outcome, report: Report, offset: int) -> bool:
        """Take in the outcome of one item; False when it comes back for another attempt."""
        if outcome.code == states.PENDING:  # its producer did not complete: it has not run, and waits on
            return False
        if outcome.message:
            map.messages[index] = outcome.message
        if outcome.code in (states.AWAITING_RETRY, states.AWAITING_CACHE):
            if outcome.code == states.AWAITING_RETRY:
                self._tables.rows.append(timed(self._told_row(map, index, outcome), report, offset))
                map.next_attempt(index, uncounted=False)
            self._board.timers.delay(map, index, outcome.delay, outcome.code)
            return False
        if outcome.error is not None:
            map.errors[index] = outcome.error
        if outcome.name:
            map.state_names[index] = outcome.name
        return True

    def _told_row(self, map: MapRun, index: int, outcome: Outcome) -> ItemRow:
        why = causes.of_end(map, index, outcome.code, outcome.error, outcome.reason, outcome.cache_key)
        return item_row(self._tables.wall, map, index, outcome.code, outcome.message, outcome.error, why)

    def _refuse(self, report: Report) -> None:
        """Refuse the report of a lost chunk: its values are dropped where they are."""
        if report.chunk not in self._tables.lost_chunks:
            return
        lane, accepted = self._tables.lost_chunks[report.chunk]
        if report.first < accepted:  # a repeated report: the first was taken in
            return
        held = [BlockHandle(report.chunk, s, report.first) for s, b in enumerate(report.blocks) if isinstance(b, Held)]
        if held:
            self._tables.out.append(Free(lane, held))

    def _end_chunk(self, sent: Flight) -> None:
        """Handle the end of a chunk: items that it did not start go back, uncounted, and its place is free."""
        rest = sent.items[0][sent.reported :]
        map = sent.maps[0]
        map.queue.sent -= len(rest)
        self._flights.retire(sent)
        if rest:
            if sent.taken:
                rest = [i for p, i in enumerate(rest, sent.reported) if p not in sent.taken]
            back = [i for i in rest if not map.is_terminal(i) and i not in map.queue.delayed]
            for lo, hi in runs_of(reversed(self._board.upstreams.with_inputs(map, back))):
                self._board.make_ready(map, lo, hi, front=True)
        self._flights.readmit(sent)
        for stage_map in sent.once:
            self._board.check_finished(stage_map)

    def chunk_waits(self, chunk: int, position: int, waiting: bool) -> None:
        """Note that a task of this chunk waits for other runs (or goes on): its slot is lent out meanwhile.

        The items behind it in the chunk are taken back, because the task may wait for one of them.
        """
        sent = self._tables.sent.get(chunk)
        if sent is None:
            return
        before = sent.waiting > 0
        sent.waiting += 1 if waiting else -1
        sent.lane.blocked += (sent.waiting > 0) - before
        self._tables.dirty_lanes.add(sent.lane.index)
        self._halts.look()
        if not waiting or any(is_async(m.spec.fn) for m in sent.maps):
            return
        behind = tuple(p for p in range(position + 1, len(sent.chunk)) if p not in sent.taken)
        if not behind:
            return
        sent.taken.update(behind)
        sent.dirty = True
        self._tables.out.append(CancelChunk(sent.lane.index, chunk, behind, False))
        map = sent.maps[0]
        back = [i for p in behind if not map.is_terminal(i := sent.items[0][p]) and i not in map.queue.delayed]
        for lo, hi in runs_of(self._board.upstreams.with_inputs(map, back)):
            self._board.make_ready(map, lo, hi)


def _note(sent: Flight, report: Report, seconds: float, *, first: bool) -> None:
    """Note what the chunk's slot spent, for the next row of its map."""
    assert report.noted is not None
    header, calls = sent.maps[0].header, seconds * 1e6 + report.count / 2  # durations are cut to whole microseconds
    found = spent_of(report.noted, calls, report.base if first else 0.0, sent.at, header.created)
    header.spent = found if header.spent is None else both(header.spent, found)


def _links(sent: Flight, report: Report) -> list[Sequence[int]]:
    """Return the stages' items of a report on completed chains of one series; else nothing."""
    if len(sent.once) > 1 or sent.dirty or report.codes is not None:
        return []
    return [items[report.first : report.first + report.count] for items in sent.items]
