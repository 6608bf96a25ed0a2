"""The check that workers see the driver's result store: once in each process, before its first task that stores.

    driver                                        worker
    store.write(probe/TOKEN) ---- Probe ~~~~~~~>  store.read(probe/TOKEN): is it the same place?
                                                  store.write, delete:     may this worker write there?

A path that exists on both machines need not be one folder, and a store in memory is another one in each process.
Without the check, values would be computed for hours and stored in the wrong place.
"""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING

from anabranch.core.errors import AnabranchError, StoreError
from anabranch.core.processes import host_name

if TYPE_CHECKING:
    from anabranch.core.stores import ResultStore

_seen: set[tuple[int, str]] = set()  # process and probe; a forked child checks again


class Probe:
    """A small value that the driver writes into a store for its workers to find. Picklable.

    A killed driver leaves it there, some hundred bytes.

    Args:
        store: the driver's store.

    Raises:
        StoreError: the driver cannot write to it.
    """

    def __init__(self, store: ResultStore) -> None:
        self.key = f"probe/{secrets.token_hex(8)}"
        self.place = f"{store!r} of the driver (process {os.getpid()} on {host_name()})"
        store.write(self.key, self.key)
        _seen.add((os.getpid(), self.key))

    def see(self, store: ResultStore) -> None:
        """Check that this process's store is the driver's; free after the first call.

        Raises:
            StoreError: it is another store, or cannot be read or written; names both, and the remedy.
        """
        if (os.getpid(), self.key) in _seen:
            return
        here = f"process {os.getpid()} on {host_name()}"
        try:
            found = store.read(self.key)
        except AnabranchError as error:
            raise self._blind(store, here, f"cannot read it: {error}") from error
        if found is None:
            raise self._blind(store, here, "does not find there what the driver wrote")
        mine = f"{self.key}/{here}"
        try:
            store.write(mine, here)
            store.delete(mine)
        except AnabranchError as error:
            raise self._blind(store, here, f"cannot write to it: {error}") from error
        _seen.add((os.getpid(), self.key))

    def remove(self, store: ResultStore) -> None:
        """Remove the value; it stays in a store that cannot be reached."""
        with suppress(AnabranchError):
            store.delete(self.key)

    def _blind(self, store: ResultStore, here: str, what: str) -> StoreError:
        return StoreError(
            f"results are to be stored in {self.place}, but a worker ({here}), for which that is {store!r}, {what}; "
            "give the setting `results` a folder that all machines share, or an address such as s3://bucket/prefix "
            "(ANABRANCH_RESULTS in the driver's environment)"
        )
