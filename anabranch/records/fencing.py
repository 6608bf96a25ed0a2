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
    """The runs that this process drives, and those that it lost."""

    def __init__(self) -> None:
        self.lost: set[str] = set()
        self._tokens: dict[str, int] = {}  # of runs that others may take over
        self._runs: dict[str, str] = {}  # of their maps

    def look(self, database: Database, connection: Connection, batch: Batch) -> None:
        """Remove rows of runs that other drivers have now from a batch, within the transaction that writes it."""
        for run in batch.flow_runs.values():
            if run.resumable or run.token:
                self._tokens[run.id] = run.token
        if not self._tokens:
            return
        for map in batch.maps.values():
            if map.flow_run in self._tokens:
                self._runs[map.id] = map.flow_run
        self.lost |= database.overtaken(connection, self._tokens)
        if self.lost:
            self._strip(batch)
        for run in list(batch.flow_runs.values()):
            if run.ended is not None and run.id not in self.lost:  # no more rows come, unless the run is claimed anew
                self._forget(run.id)

    def _forget(self, run: str) -> None:
        self._tokens.pop(run, None)
        self._runs = {map: of for map, of in self._runs.items() if of != run}

    def _strip(self, batch: Batch) -> None:
        lost = self.lost
        gone = {map for map, run in self._runs.items() if run in lost}
        batch.flow_runs = {id: row for id, row in batch.flow_runs.items() if id not in lost}
        batch.maps = {id: row for id, row in batch.maps.items() if id not in gone}
        batch.beats = {id: when for id, when in batch.beats.items() if id not in lost}
        batch.packs = {key: pack for key, pack in batch.packs.items() if key[0] not in gone}
        batch.full = [row for row in batch.full if row.map not in gone]
        batch.items[:] = [row for row in batch.items if row.map not in gone]
        batch.stored[:] = [row for row in batch.stored if row.map not in gone and row.map not in lost]
        batch.transitions[:] = [row for row in batch.transitions if row.run not in gone and row.run not in lost]
        batch.logs[:] = [row for row in batch.logs if row.flow_run not in lost]
