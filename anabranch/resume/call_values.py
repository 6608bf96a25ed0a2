"""Values of plain calls of a resumable run, many written in one block, by a thread of their own.

    t(x) --pickled at once--> queue --at most 50 ms--> block in the result store --> its name into the record

A call runs again if the driver dies before its value is stored.
"""

from __future__ import annotations

import pickle
import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import cloudpickle

from anabranch import logs
from anabranch.core.encoder import Encoder
from anabranch.core.errors import AnabranchError
from anabranch.core.runs import StoredRow

if TYPE_CHECKING:
    from collections.abc import Callable

    from anabranch.core.runs import Row
    from anabranch.core.stores import ResultStore

_kept = Encoder(cloudpickle.Pickler, kept=True)  # as the store's own serializer
TOGETHER_SECONDS = 0.05


class _Value(NamedTuple):
    item: int
    digest: bytes
    data: bytes


class CallValues:
    """Writes what `keep` is given; one per session, its thread starts with the first value.

    Args:
        store: makes the result store at the first value.
        write: takes rows for the record.
    """

    def __init__(self, store: Callable[[], ResultStore], write: Callable[[list[Row]], None]) -> None:
        self._store = store
        self._write = write
        self._waiting: dict[str, list[_Value]] = {}  # by series
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._thread: threading.Thread | None = None
        self._some = threading.Event()
        self._warned = self._closed = False

    def keep(self, map_id: str, index: int, digest: bytes, value: Any) -> None:
        """Pickle a value and queue it; one that cannot be pickled is left out, with a warning."""
        try:
            data = _kept.dumps(value)
        except Exception as error:  # a value's own code may raise anything
            self._warn(f"the value of a call is not stored, so it runs again if the flow is resumed: {error}")
            return
        with self._lock:
            self._waiting.setdefault(map_id, []).append(_Value(index, digest, data))
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, name="anabranch-calls", daemon=True)
                self._thread.start()
        self._some.set()

    def read(self, place: tuple[str, int]) -> tuple[bool, Any]:
        """Return whether the value can be read, and the value."""
        blocks = self._store().blocks
        try:
            found = None if blocks is None else blocks.read(place[0], [place[1]])[0]
            return (False, None) if found is None else (True, pickle.loads(found.value))
        except Exception as error:  # the store raised, or a value's own code
            self._warn(f"a stored value cannot be read, so its call runs again: {error}")
            return False, None

    def flush(self) -> None:
        """Write the queued values now."""
        with self._writing:
            with self._lock:
                waiting, self._waiting = self._waiting, {}
            for map_id, values in waiting.items():
                self._put(map_id, values)

    def close(self) -> None:
        """Write the queued values, and end the thread."""
        self._closed = True
        self._some.set()
        self.flush()

    def _put(self, map_id: str, values: list[_Value]) -> None:
        items = [value.item for value in values]
        blocks = self._store().blocks
        if blocks is None:
            return
        try:
            name = blocks.write(map_id, items, [value.data for value in values]).name
        except AnabranchError as error:
            self._warn(f"values of calls are not stored, so they run again if the flow is resumed: {error}")
            return
        digests = b"".join(value.digest for value in values)
        self._write([StoredRow(map_id, name, items, range(len(items)), digests)])

    def _serve(self) -> None:
        while not self._closed:
            self._some.wait()
            time.sleep(TOGETHER_SECONDS)
            self._some.clear()
            self.flush()

    def _warn(self, text: str) -> None:
        if not self._warned:
            self._warned = True
            logs.warn(text)
