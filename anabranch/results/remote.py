"""The result store at any address that fsspec knows: one object a value, as `format` lays it out."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from anabranch.core.clock import SYSTEM
from anabranch.core.errors import SerializationError, StoreError
from anabranch.core.stores import Stored
from anabranch.results import format, leases
from anabranch.results.blocks import Blocks
from anabranch.results.remote_files import PIECE, RemoteFiles
from anabranch.results.serializers import get_serializer, restore, save

if TYPE_CHECKING:
    from anabranch.core.contracts import Clock
    from anabranch.results.serializers import Serializer

_VALUE = ".value"
_LOCK = ".lock"


class RemoteStore:
    """A `ResultStore` at an address such as `s3://bucket/prefix`. Picklable: workers connect by themselves.

    A damaged object counts as no value; the next write replaces it. Credentials are never part of
    it: each process takes them from its own environment (`AWS_ACCESS_KEY_ID`, `FSSPEC_S3`, a role of
    the machine, ...), as the file system's package describes; a login in the address itself is masked.

    Args:
        address: as fsspec spells it; bucket or container must exist.
        serializer: a name (`pickle`, `json`, `compressed/pickle`) or a `Serializer`.
        clock: decides when values expire and locks lapse.

    Raises:
        MissingExtraError: a package that the address needs is not installed; says which.
        ConfigurationError: there is no such file system.
    """

    def __init__(self, address: str, serializer: str | Serializer = "pickle", *, clock: Clock = SYSTEM) -> None:
        self.files = RemoteFiles(address)
        self.serializer = get_serializer(serializer)
        self._clock = clock

    def __repr__(self) -> str:
        return f"RemoteStore({self.files.shown!r}, serializer={self.serializer.name!r})"

    @functools.cached_property
    def blocks(self) -> Blocks:
        """The store for blocks of maps' values, at this store's address."""
        return Blocks(self.files, self.serializer, self._clock)

    # -- values ----------------------------------------------------------------------------------

    def read(self, key: str) -> Stored | None:
        """Return the value under `key`, None when there is none, it has expired or its object is damaged.

        Raises:
            StoreError: the object cannot be read, or its value cannot be rebuilt here; names the address.
        """
        name = format.place_of(key) + _VALUE
        data = self.files.get(name, 0, PIECE)
        found = None if data is None else format.find(data)
        if data is None or found is None or not self._counts(found, key):
            return None
        whole = self._rest(name, data, found.end)
        if not format.is_sound(whole, found):
            return None
        header = found.header
        try:
            value = restore(header.serializer, self.serializer, format.saved_in(whole, found))
        except SerializationError as error:
            raise StoreError(f"{self.files.shown}/{name}: {error}") from error
        return Stored(value, header.created, header.expires)

    def write(self, key: str, value: Any, *, expires: float | None = None) -> int:
        """Store the value and return the size of its object in bytes.

        Raises:
            SerializationError: the value cannot be saved; names the path to the bad part.
            StoreError: the object cannot be written; the old value stays.
        """
        saved = save(self.serializer, value)
        parts = format.encode(key, self.serializer.name, self._clock.time(), expires, saved)
        self.files.put(format.place_of(key) + _VALUE, parts)
        return sum(map(len, parts))

    def exists(self, key: str) -> bool:
        """Return whether `read` would find a value, without reading all of it."""
        name = format.place_of(key) + _VALUE
        data = self.files.get(name, 0, format.HEAD)
        found = None if data is None else format.find(data)
        return found is not None and self._counts(found, key) and found.end == self.files.size(name)

    def delete(self, key: str) -> None:
        """Remove the value, if there is one."""
        self.files.remove(format.place_of(key) + _VALUE)

    # -- locks -----------------------------------------------------------------------------------

    def lock(self, key: str, owner: str, seconds: float) -> bool:
        """Try to take the lock on computing `key`, for so many seconds; its owner may prolong it.

        A lock lapses at its time, or when the process that took it has died on this host. On S3, Google's and
        Azure's stores exactly one of several takers succeeds, because they can create an object only if there is
        none; an S3 lookalike must honour `If-None-Match: *`. On other file systems two takers at the same moment may
        both succeed, and then both compute the value. Between machines, times are those of the machines' clocks.
        Setting this machine's wall clock does not shorten or lengthen a lock that was taken on it.
        """
        return leases.acquire(self.files, format.place_of(key) + _LOCK, owner, seconds, self._clock)

    def unlock(self, key: str, owner: str) -> None:
        """Release the lock, if `owner` holds it."""
        leases.free(self.files, format.place_of(key) + _LOCK, owner, self._clock)

    # -- how -------------------------------------------------------------------------------------

    def _counts(self, found: format.Found, key: str) -> bool:
        return found.header.key == format.short_key(key) and not found.header.expired(self._clock.time())

    def _rest(self, name: str, begun: bytes, end: int) -> bytearray:
        """Return the whole object in writable memory."""
        if len(begun) < PIECE or end <= PIECE:
            return bytearray(begun)
        data = bytearray(end)
        data[:PIECE] = begun
        for start in range(PIECE, end, PIECE):
            piece = self.files.get(name, start, min(start + PIECE, end)) or b""
            data[start : start + PIECE] = piece
        return data
