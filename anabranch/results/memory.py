"""The result store of one process, for the inline and thread runners, and for tests."""

from __future__ import annotations

import secrets
import threading
import weakref
from typing import TYPE_CHECKING, Any, NamedTuple

from anabranch.core.clock import SYSTEM
from anabranch.core.errors import SerializationError, StoreError
from anabranch.core.stores import Stored
from anabranch.results.serializers import get_serializer

if TYPE_CHECKING:
    from anabranch.core.contracts import Clock
    from anabranch.core.stores import BlockStore
    from anabranch.results.serializers import Serializer


class _Entry(NamedTuple):
    data: bytes
    created: float
    expires: float | None


class MemoryStore:
    """A `ResultStore` that ends with its process. A pickled copy is the same store.

    Values are kept as bytes. So each reader gets a copy of its own, and values that cannot be stored on disk cannot be
    stored here.
    """

    blocks: BlockStore | None = None  # there are no files to save

    def __init__(self, serializer: str | Serializer = "pickle", *, clock: Clock = SYSTEM) -> None:
        self.serializer = get_serializer(serializer)
        self._clock = clock
        self._mutex = threading.Lock()
        self._values: dict[str, _Entry] = {}
        self._locks: dict[str, tuple[str, float]] = {}
        self._token = secrets.token_hex(8)
        _STORES[self._token] = self

    def __reduce__(self) -> Any:
        return _same_store, (self._token,)

    def read(self, key: str) -> Stored | None:
        """Return the value under `key`, None when there is none or it has expired.

        Raises:
            StoreError: the value cannot be rebuilt.
        """
        entry = self._values.get(key)
        if entry is None or self._expired(entry):
            return None
        try:
            return Stored(self.serializer.loads(entry.data), entry.created, entry.expires)
        except SerializationError as error:
            raise StoreError(f"{key!r} in memory: {error}") from error

    def write(self, key: str, value: Any, *, expires: float | None = None) -> int:
        """Keep the value and return its size in bytes.

        Raises:
            SerializationError: the value cannot be saved; names the path to the bad part.
        """
        data = self.serializer.dumps(value)
        self._values[key] = _Entry(data, self._clock.time(), expires)
        return len(data)

    def exists(self, key: str) -> bool:
        """Return whether `read` would find a value."""
        entry = self._values.get(key)
        return entry is not None and not self._expired(entry)

    def delete(self, key: str) -> None:
        """Remove the value, if there is one."""
        self._values.pop(key, None)

    def lock(self, key: str, owner: str, seconds: float) -> bool:
        """Try to take the lock on computing `key`, for so many seconds; its owner may prolong it."""
        now = self._clock.monotonic()  # setting the wall clock does not change it
        with self._mutex:
            holder, deadline = self._locks.get(key, (owner, now))
            if holder != owner and now < deadline:
                return False
            self._locks[key] = (owner, now + seconds)
            return True

    def unlock(self, key: str, owner: str) -> None:
        """Release the lock, if `owner` holds it."""
        with self._mutex:
            if self._locks.get(key, ("", 0.0))[0] == owner:
                del self._locks[key]

    def _expired(self, entry: _Entry) -> bool:
        return entry.expires is not None and self._clock.time() >= entry.expires


_STORES: weakref.WeakValueDictionary[str, MemoryStore] = weakref.WeakValueDictionary()


def _same_store(token: str) -> MemoryStore:
    store = _STORES.get(token)
    if store is None:
        raise StoreError("a store in memory does not leave its process; give results a folder that workers can see")
    return store
