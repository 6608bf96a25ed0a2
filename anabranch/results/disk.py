"""The result store on a file system: one file a value, written whole or not at all.

What is in a file says `format`. It is written under another name and renamed, so a reader sees the
old value or the new one, whenever a writer dies. Files lie in 256 folders by the hash of their key.
Large arrays are written from where they lie in memory, and read by mapping the file where it is local.
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
    """How much a store holds."""

    bytes: int
    entries: int


class DiskStore:
    """A `ResultStore` in a folder that driver and workers see alike. Picklable.

    A damaged file counts as no value; the next write replaces it.

    Args:
        folder: made when first written to; only its user may read what is in it.
        serializer: a name (`pickle`, `json`, `compressed/pickle`) or a `Serializer`.
        sync: whether a write returns only when the value is on the medium, not just safe from
            the death of its process.
        clock: tells the time that values expire by, and locks lapse by.
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
        """Where the values of maps lie in blocks, in this store's folder."""
        return Blocks(self._files, self.serializer, self._clock)

    # -- values ----------------------------------------------------------------------------------

    def read(self, key: str) -> Stored | None:
        """The value under `key`, None when there is none, it has expired or its file is damaged.

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
            SerializationError: the value cannot be saved; names the path to the culprit in it.
            StoreError: the file cannot be written; the old value stays, nothing half-written does.
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
        """Whether `read` would find a value, without reading all of it."""
        found = self._peek(self._path(key, _VALUE))
        return found is not None and self._counts(found, key)

    def delete(self, key: str) -> None:
        """Forget the value; nothing happens when there is none."""
        path = self._path(key, _VALUE)
        try:
            os.unlink(path)
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise store_error("delete", path, error) from error

    # -- locks -----------------------------------------------------------------------------------

    def lock(self, key: str, owner: str, seconds: float) -> bool:
        """Try to become the one who computes `key`, for so many seconds; an owner may prolong it.

        A lock lapses at its time, or when the process that took it has died on this host. One that was taken
        on this host lasts as long as it was taken for, however the wall clock is set meanwhile.
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
        """Give the lock up; nothing happens when `owner` holds it no more."""
        path = self._path(key, _LOCK)
        try:
            locks.free(path, owner)
        except OSError as error:
            raise store_error("unlock", path, error) from error

    # -- housekeeping ----------------------------------------------------------------------------

    def usage(self) -> Usage:
        """Bytes and values in the folder, expired ones included; a block counts as one."""
        sizes = [entry.stat().st_size for entry in self._entries() if entry.name.endswith((_VALUE, BLOCK))]
        return Usage(sum(sizes), len(sizes))

    def clean(self, older_than: float | None = None, expired: bool = True) -> Usage:
        """Remove what is of no use any more and return how much that was.

        Always goes: what dead writers left unfinished, lapsed locks, damaged files.

        Args:
            older_than: values and blocks written more than so many seconds ago go too.
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
                continue  # somebody else was here
            except OSError as error:
                raise store_error("clean", entry.path, error) from error
        return Usage(size, count)

    def _drop_if(self, path: str, now: float, older_than: float | None, expired: bool) -> int:
        """Remove one value if it is to go; a value that is written meanwhile stays."""

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
        if not goes():  # replaced since we looked
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
        """The header of a file that has its full length."""
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
    """Remove a block of that age and return its size; blocks never change, so there is nothing to race with."""
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
