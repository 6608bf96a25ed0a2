"""The result store on a file system: one file a value, written whole or not at all.

`format` describes the content of a file. A file is written under another name and renamed, so a reader sees the old
value or the new one, whenever a writer dies. Files lie in 256 folders by the hash of their key. Large arrays are
written from their own memory, and read by mapping the file where it is local.
"""

from __future__ import annotations

import functools
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from anabranch.core.clock import SYSTEM
from anabranch.core.errors import SerializationError, StoreError
from anabranch.core.stores import Stored
from anabranch.results import format, locks
from anabranch.results.blocks import BLOCK, Blocks
from anabranch.results.local_files import LocalFiles, store_error
from anabranch.results.mapped import load
from anabranch.results.serializers import get_serializer, restore, save

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anabranch.core.contracts import Clock
    from anabranch.results.serializers import Bytes, Serializer

_VALUE = ".value"
_LOCK = ".lock"
_UNFINISHED_SECONDS = 86_400.0


class Usage(NamedTuple):
    """The amount of data in a store."""

    bytes: int
    entries: int


class DiskStore:
    """A `ResultStore` in a folder that driver and workers share. Picklable.

    A damaged file counts as no value; the next write replaces it.

    Args:
        folder: made with the first write; readable by its user only.
        serializer: a name (`pickle`, `json`, `compressed/pickle`) or a `Serializer`.
        sync: whether a write returns only when the value is on the medium, not just safe from the death of its
                process.
        clock: decides when values expire and locks lapse.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        serializer: str | Serializer = "pickle",
        *,
        sync: bool = True,
        clock: Clock = SYSTEM,
    ) -> None:
        self.folder = os.path.abspath(os.path.expanduser(os.fspath(folder)))
        self.serializer = get_serializer(serializer)
        self._files = LocalFiles(self.folder, sync)
        self._clock = clock

    def __repr__(self) -> str:
        return f"DiskStore({self.folder!r}, serializer={self.serializer.name!r})"

    @functools.cached_property
    def blocks(self) -> Blocks:
        """The store for blocks of maps' values, in this store's folder."""
        return Blocks(self._files, self.serializer, self._clock)

    # -- values ----------------------------------------------------------------------------------

    def read(self, key: str) -> Stored | None:
        """Return the value under `key`, None when there is none, it has expired or its file is damaged.

        Raises:
            StoreError: the file cannot be read, or its value cannot be rebuilt here; names the path.
        """
        path = self._path(key, _VALUE)
        data = self._load(path)
        found = None if data is None else format.find(data)
        if data is None or found is None or not self._counts(found, key) or not format.is_sound(data, found):
            return None
        header = found.header
        try:
            value = restore(header.serializer, self.serializer, format.saved_in(data, found))
        except SerializationError as error:
            raise StoreError(f"{path}: {error}") from error
        return Stored(value, header.created, header.expires)

    def write(self, key: str, value: Any, *, expires: float | None = None) -> int:
        """Store the value and return the size of its file in bytes.

        Raises:
            SerializationError: the value cannot be saved; names the path to the bad part.
            StoreError: the file cannot be written; the old value stays, and no half-written one.
        """
        saved = save(self.serializer, value)
        parts = format.encode(key, self.serializer.name, self._clock.time(), expires, saved)
        path = self._path(key, _VALUE)
        try:
            self._files.replace(path, parts)
        except OSError as error:
            raise store_error("write", path, error) from error
        return sum(map(len, parts))

    def exists(self, key: str) -> bool:
        """Return whether `read` would find a value, without reading all of it."""
        found = self._peek(self._path(key, _VALUE))
        return found is not None and self._counts(found, key)

    def delete(self, key: str) -> None:
        """Remove the value, if there is one."""
        path = self._path(key, _VALUE)
        try:
            os.unlink(path)
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise store_error("delete", path, error) from error

    # -- locks -----------------------------------------------------------------------------------

    def lock(self, key: str, owner: str, seconds: float) -> bool:
        """Try to take the lock on computing `key`, for so many seconds; its owner may prolong it.

        A lock lapses at its time, or when the process that took it has died on this host. Setting the wall clock does
        not shorten or lengthen a lock that was taken on this host.
        """
        path = self._path(key, _LOCK)
        try:
            try:
                return locks.acquire(path, owner, seconds, self._clock)
            except FileNotFoundError:
                self._files.make_folder(os.path.dirname(path))
                return locks.acquire(path, owner, seconds, self._clock)
        except OSError as error:
            raise store_error("lock", path, error) from error

    def unlock(self, key: str, owner: str) -> None:
        """Release the lock, if `owner` holds it."""
        path = self._path(key, _LOCK)
        try:
            locks.free(path, owner)
        except OSError as error:
            raise store_error("unlock", path, error) from error

    # -- housekeeping ----------------------------------------------------------------------------

    def usage(self) -> Usage:
        """Return bytes and number of values in the folder, with expired ones; a block counts as one."""
        sizes = [entry.stat().st_size for entry in self._entries() if entry.name.endswith((_VALUE, BLOCK))]
        return Usage(sum(sizes), len(sizes))

    def clean(self, older_than: float | None = None, expired: bool = True) -> Usage:
        """Remove useless files and return how many bytes and values that were.

        Unfinished files of dead writers, lapsed locks and damaged files always go.

        Args:
            older_than: values and blocks that were written more than so many seconds ago go too.
            expired: whether expired values go.
        """
        now = self._clock.time()
        size = count = 0
        for entry in self._entries():
            try:
                if entry.name.endswith(_VALUE):
                    gone = self._drop_if(entry.path, now, older_than, expired)
                    size, count = size + gone, count + bool(gone)
                elif entry.name.endswith(BLOCK):
                    gone = _drop_old(entry, older_than)
                    size, count = size + gone, count + bool(gone)
                elif entry.name.endswith(_LOCK):
                    _drop_lock(entry.path, self._clock)
                else:
                    self._drop_unfinished(entry)
            except FileNotFoundError:
                continue  # another process removed it
            except OSError as error:
                raise store_error("clean", entry.path, error) from error
        return Usage(size, count)

    def _drop_if(self, path: str, now: float, older_than: float | None, expired: bool) -> int:
        """Remove one value if it is old or expired; one that is written meanwhile stays."""

        def goes() -> bool:
            found = self._peek(moved)
            if found is None or (expired and found.header.expired(now)):
                return True
            return older_than is not None and now - found.header.created > older_than

        moved = path
        if not goes():
            return 0
        moved = os.path.join(os.path.dirname(path), locks.unique_name())
        os.rename(path, moved)
        size = os.stat(moved).st_size
        if not goes():  # replaced since the check above
            size = 0
            with suppress(FileExistsError):
                os.link(moved, path)
        os.unlink(moved)
        return size

    def _drop_unfinished(self, entry: os.DirEntry[str]) -> None:
        maker = locks.left_by(entry.name)
        if maker is None:
            return
        age = SYSTEM.time() - entry.stat(follow_symlinks=False).st_mtime
        if not locks.is_dead(maker) and age < _UNFINISHED_SECONDS:
            return
        if entry.is_dir(follow_symlinks=False):
            for name in os.listdir(entry.path):
                os.unlink(os.path.join(entry.path, name))
            os.rmdir(entry.path)
        else:
            os.unlink(entry.path)

    # -- files -----------------------------------------------------------------------------------

    def _path(self, key: str, kind: str) -> str:
        return f"{self.folder}/{format.place_of(key)}{kind}"

    def _entries(self) -> Iterator[os.DirEntry[str]]:
        try:
            with os.scandir(self.folder) as folders:
                found = [one.path for one in folders if len(one.name) == 2 and one.is_dir(follow_symlinks=False)]
            with suppress(FileNotFoundError), os.scandir(f"{self.folder}/blocks") as maps:
                found += [one.path for one in maps if one.is_dir(follow_symlinks=False)]
            for folder in found:
                with os.scandir(folder) as entries:
                    yield from list(entries)
        except FileNotFoundError:
            return
        except OSError as error:
            raise store_error("list", self.folder, error) from error

    def _load(self, path: str) -> Bytes | None:
        try:
            return load(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise store_error("read", path, error) from error

    def _peek(self, path: str) -> format.Found | None:
        """Return the header of a file that has its full length."""
        try:
            with open(path, "rb", buffering=0) as file:
                size = os.fstat(file.fileno()).st_size
                found = format.find(file.read(format.HEAD)) or format.find(load(path))
                return found if found is not None and found.end == size else None
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise store_error("read", path, error) from error

    def _counts(self, found: format.Found, key: str) -> bool:
        return found.header.key == format.short_key(key) and not found.header.expired(self._clock.time())


def _drop_old(entry: os.DirEntry[str], older_than: float | None) -> int:
    """Remove a block of that age and return its size; without a lock, since blocks never change."""
    status = entry.stat(follow_symlinks=False)
    if older_than is None or SYSTEM.time() - status.st_mtime <= older_than:
        return 0
    os.unlink(entry.path)
    return status.st_size


def _drop_lock(path: str, clock: Clock) -> None:
    holder = locks.held_by(path)
    if holder is not None and holder.lapsed(clock):
        os.unlink(os.path.join(path, holder.name))
        holder = None
    if holder is None:
        locks.remove_if_empty(path)
