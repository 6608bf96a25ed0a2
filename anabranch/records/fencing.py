"""Rows of a driver that lost its run to another one are refused, however late they come.

A resumable run, and one that was ordered, has a token in the database, which goes up with each driver that takes the
run over. Before a commit with rows of such a run the writer checks, in the same transaction, that the token is still
its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from anabranch.records.batch import Batch
    from anabranch.records.database import Connection, Database


class Fence:
    """The runs that this process drives, and those that it lost.

    Attributes:
        tokens: of its runs, by id.
        runs: of their maps, by id.
    """

    def __init__(self) -> None:
        self.lost: set[str] = set()
        self.tokens: dict[str, int] = {}
        self.runs: dict[str, str] = {}

    def look(self, database: Database, connection: Connection, batch: Batch) -> None:
        """Remove rows of runs that other drivers have now from a batch, within the transaction that writes it."""
        self.note(batch)
        if self.tokens:
            self.lost |= database.overtaken(connection, self.tokens)
            self.strip(batch)
            self.ended(batch)

    def note(self, batch: Batch) -> None:
        """Note the tokens of a batch's runs, and which maps are theirs."""
        for run in batch.flow_runs.values():
            if run.resumable or run.token:
                self.tokens[run.id] = run.token
        if self.tokens:
            for map in batch.maps.values():
                if map.flow_run in self.tokens:
                    self.runs[map.id] = map.flow_run

    def ended(self, batch: Batch) -> None:
        """Forget the runs whose ends are in a batch: no more rows come, unless a run is claimed anew."""
        for run in list(batch.flow_runs.values()):
            if run.ended is not None and run.id not in self.lost:
                self._forget(run.id)

    def _forget(self, run: str) -> None:
        self.tokens.pop(run, None)
        self.runs = {map: of for map, of in self.runs.items() if of != run}

    def strip(self, batch: Batch) -> None:
        """Remove the rows of lost runs from a batch."""
        lost = self.lost
        if not lost:
            return
        gone = {map for map, run in self.runs.items() if run in lost}
        batch.flow_runs = {id: row for id, row in batch.flow_runs.items() if id not in lost}
        batch.maps = {id: row for id, row in batch.maps.items() if id not in gone}
        batch.beats = {id: when for id, when in batch.beats.items() if id not in lost}
        batch.packs = {key: pack for key, pack in batch.packs.items() if key[0] not in gone}
        batch.full = [row for row in batch.full if row.map not in gone]
        batch.items[:] = [row for row in batch.items if row.map not in gone]
        batch.stored[:] = [row for row in batch.stored if row.map not in gone and row.map not in lost]
        batch.transitions[:] = [row for row in batch.transitions if row.run not in gone and row.run not in lost]
        batch.logs[:] = [row for row in batch.logs if row.flow_run not in lost]
