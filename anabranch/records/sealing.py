"""Merging of a map's blobs into few small ones, when there are enough of them and when the map has ended."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING

from anabranch.core.errors import RecordsError
from anabranch.records.batch import BlockRow
from anabranch.records.blocks import SEAL, Pack, decode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from anabranch.records.database import Connection, Database

logger = logging.getLogger("anabranch.records")

_FEW = 256  # items; a smaller map is not sealed at its end


class Sealer:
    """The maps with blobs that are not sealed yet."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._loose: dict[str, list[int]] = {}  # per map, the numbers of unsealed blobs and items
        self._due: dict[str, None] = {}

    def wrote(self, blocks: Iterable[BlockRow], ended: Iterable[str]) -> None:
        """Note the committed blobs, and the maps that have ended."""
        for row in blocks:
            if not row.sealed:
                loose = self._loose.setdefault(row.map, [0, 0])
                loose[0] += 1
                loose[1] += row.items
                if loose[1] >= SEAL:
                    self._due[row.map] = None
        for map in ended:
            if self._worth(map):
                self._due[map] = None

    def _worth(self, map: str) -> bool:
        """Return whether an ended map has blobs worth merging; forgets a map that has not."""
        blobs, items = self._loose.get(map, (0, 0))
        if blobs > 1 or items > _FEW:
            return True
        self._loose.pop(map, None)
        return False

    def seal(self, connected: Callable[[], Connection]) -> None:
        """Merge the blobs that are due; after an error of the database they are due again."""
        while self._due:
            map = next(iter(self._due))
            try:
                seal(self._database, connected(), map)
            except RecordsError as error:
                logger.warning("Items of map %s are left as they are: %s", map, error)
            else:
                self._loose.pop(map, None)
            del self._due[map]


class _Taken(Exception):
    """Raised when another process has merged or deleted the blobs meanwhile."""


def seal(database: Database, connection: Connection, map: str) -> None:
    """Merge a map's loose blobs into few sealed ones; raises RecordsError when one is damaged.

    The blobs are read before the write lock is taken. If one is gone by then, nothing is changed.
    """
    open_: dict[tuple[int, int], Pack] = {}
    rows: list[BlockRow] = []
    ids = []
    for id_, attempt, data in connection.execute(database.sql["loose_blocks"], (map,)):
        ids.append(id_)
        pack = decode(data)
        if (whole := open_.get((attempt, pack.times))) is None:
            whole = open_[attempt, pack.times] = Pack(pack.base, pack.times)
        whole.extend(pack)
        if whole.count >= SEAL:
            rows.append(BlockRow.of(map, attempt, open_.pop((attempt, pack.times)), sealed=True))
    rows += [BlockRow.of(map, attempt, pack, sealed=True) for (attempt, _), pack in open_.items()]
    if not ids:
        return
    with contextlib.suppress(_Taken), database.transaction(connection):
        if connection.execute(database.sql["drop_loose"], (map, ids[-1])).rowcount != len(ids):
            raise _Taken
        database.many(connection, database.sql["add_block"], [row.values for row in rows])
