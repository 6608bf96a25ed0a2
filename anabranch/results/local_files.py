"""Files below one folder, for stores: written whole or not at all, readable by this user only."""

from __future__ import annotations

import errno
import os
import shutil
from contextlib import suppress
from typing import TYPE_CHECKING

from anabranch.core.errors import StoreError
from anabranch.results import locks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anabranch.results.serializers import Bytes


class LocalFiles:
    """Named files in a folder that is made with the first write. Picklable.

    Args:
        folder: an absolute path.
        sync: whether a write returns only when the file is on the medium.
    """

    def __init__(self, folder: str, sync: bool) -> None:
        self.folder = folder
        self.sync = sync

    @property
    def shown(self) -> str:
        return self.folder

    def get(self, name: str, start: int, end: int) -> bytes | None:
        """Return these bytes of a file, fewer where it ends; None when there is no file."""
        path = f"{self.folder}/{name}"
        try:
            with open(path, "rb") as file:
                file.seek(start)
                return file.read(end - start)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise store_error("read", path, error) from error

    def put(self, name: str, parts: Sequence[Bytes]) -> None:
        """Replace a file; the earlier one stays until the new one is complete."""
        path = f"{self.folder}/{name}"
        try:
            self.replace(path, parts)
        except OSError as error:
            raise store_error("write", path, error) from error

    def remove_all(self, folder: str) -> None:
        """Remove a folder and its content, if there is one."""
        path = f"{self.folder}/{folder}"
        try:
            shutil.rmtree(path)
        except FileNotFoundError:
            return
        except OSError as error:
            raise store_error("remove", path, error) from error

    def replace(self, path: str, parts: Sequence[Bytes]) -> None:
        """Replace a file by its path; raises OSError."""
        folder = os.path.dirname(path)
        new = f"{folder}/{locks.unique_name()}"
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
        try:
            descriptor = os.open(new, flags, 0o600)
        except FileNotFoundError:
            self.make_folder(folder)
            descriptor = os.open(new, flags, 0o600)
        try:
            try:
                for part in parts:
                    rest = memoryview(part)
                    while rest:
                        rest = rest[os.write(descriptor, rest) :]
                if self.sync:
                    os.fsync(descriptor)
            finally:
                os.close(descriptor)
            os.replace(new, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(new)
            raise

    def make_folder(self, folder: str) -> None:
        """Make the root folder and a folder in it, for this user only; raises OSError."""
        if not os.path.isdir(self.folder):
            os.makedirs(os.path.dirname(self.folder), exist_ok=True)
            with suppress(FileExistsError):
                os.mkdir(self.folder, 0o700)
        inner = os.path.relpath(folder, self.folder).split(os.sep)
        for depth in range(1, len(inner) + 1):
            with suppress(FileExistsError):
                os.mkdir(os.path.join(self.folder, *inner[:depth]), 0o700)


def store_error(verb: str, path: str, error: OSError) -> StoreError:
    """Return the store's error for an error of the system."""
    reason = error.strerror or str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        reason += "; free some space, or give results another folder"
    return StoreError(f"cannot {verb} {path}: {reason}")
