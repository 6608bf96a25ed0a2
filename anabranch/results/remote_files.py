"""Files at an address of any file system that fsspec knows, for stores: written whole or not at all.

    s3, gs, az, memory    an object appears when its upload ends
    all others            written under another name, then renamed

Objects are never listed: a listing of many is slow, and one of few is cached. Exceptions of the file system's package
become a StoreError, which names the address without the user, password and query that may stand in it.
"""

from __future__ import annotations

import os
import threading
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from anabranch.core import secrets
from anabranch.core.errors import AnabranchError, ConfigurationError, MissingExtraError, StoreError
from anabranch.core.processes import host_name
from anabranch.results.locks import unique_name

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from anabranch.results.serializers import Bytes

PIECE = 8 << 20  # bytes in one request for a large value
_PIECES_AT_MOST = 9_000  # S3 takes 10,000
_WHOLE = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "memory"})
_MISSING = (FileNotFoundError, NotADirectoryError)
_one_at_a_time = threading.Lock()  # creating takes two steps where only this process sees the files


class RemoteFiles:
    """Named files below one address. Picklable: a copy connects with the credentials of its own process.

    Args:
        address: as fsspec spells it, `s3://bucket/prefix`.

    Raises:
        MissingExtraError: a package that the address needs is not installed here; says which.
        ConfigurationError: there is no such file system.
    """

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")
        self.shown = secrets.without_login(self.address)
        self.protocol = self.shown.partition("://")[0].partition("::")[0]
        self._opened: tuple[int, Any, str] | None = None
        if find_spec("fsspec") is None:
            raise MissingExtraError(f"results at {self.shown} need fsspec: pip install 'anabranch[remote]'")
        self._open()

    def __reduce__(self) -> Any:
        return RemoteFiles, (self.address,)

    # -- whole files -----------------------------------------------------------------------------

    def get(self, name: str, start: int, end: int) -> bytes | None:
        """Return these bytes of a file, fewer where it ends; None when there is no file."""

        def get(fs: Any, path: str) -> bytes | None:
            try:
                data: bytes = fs.cat_file(path, start=start, end=end)
            except _MISSING:
                return None
            except Exception:
                if self._size(fs, path) <= start:  # S3 refuses a range behind the end
                    return b""
                raise
            return data

        return self._do("read", name, get)  # type: ignore[no-any-return]

    def size(self, name: str) -> int:
        """Return the size of a file in bytes, 0 when there is none."""
        return self._do("read", name, self._size)  # type: ignore[no-any-return]

    def put(self, name: str, parts: Sequence[Bytes]) -> None:
        """Replace a file; the earlier one stays until the new one is complete."""
        self._do("write", name, lambda fs, path: self._put(fs, path, parts))

    def create(self, name: str, data: bytes) -> bool:
        """Write a file if there is none of that name; of several writers one succeeds (see `RemoteStore.lock`)."""
        return self._do("lock", name, lambda fs, path: self._create(fs, path, data))  # type: ignore[no-any-return]

    def remove(self, name: str) -> None:
        """Remove a file, if there is one."""

        def remove(fs: Any, path: str) -> None:
            try:
                fs.rm_file(path)
            except _MISSING:
                pass

        self._do("delete", name, remove)

    # -- how -------------------------------------------------------------------------------------

    def remove_all(self, folder: str) -> None:
        """Remove all files below this name, if any."""

        def remove(fs: Any, path: str) -> None:
            fs.invalidate_cache(path)  # other processes have written there
            try:
                fs.rm(path, recursive=True)
            except FileNotFoundError:
                return

        self._do("delete", folder, remove)

    def _put(self, fs: Any, path: str, parts: Sequence[Bytes]) -> None:
        total = sum(map(len, parts))
        if self.protocol not in _WHOLE:
            self._put_and_rename(fs, path, parts)
        elif total <= 2 * PIECE or self.protocol == "memory":
            fs.pipe_file(path, b"".join(parts))
        else:
            _upload(fs.open(path, "wb", block_size=max(PIECE, total // _PIECES_AT_MOST)), parts)

    def _put_and_rename(self, fs: Any, path: str, parts: Sequence[Bytes]) -> None:
        folder = path.rpartition("/")[0]
        new = f"{folder}/{unique_name()}"
        fs.makedirs(folder, exist_ok=True)
        try:
            with fs.open(new, "wb") as file:
                _write(file, parts)
            fs.mv(new, path)
        except BaseException:
            if fs.exists(new):
                fs.rm_file(new)
            raise

    def _create(self, fs: Any, path: str, data: bytes) -> bool:
        try:
            if self.protocol not in _WHOLE:
                fs.makedirs(path.rpartition("/")[0], exist_ok=True)
                with fs.open(path, "xb") as file:
                    file.write(data)
            elif self.protocol == "memory":
                with _one_at_a_time:
                    fs.pipe_file(path, data, mode="create")
            else:
                fs.pipe_file(path, data, mode="create")
        except FileExistsError:
            return False
        except OSError:
            if self._size(fs, path):  # stores raise different errors for an existing file
                return False
            raise
        return True

    def _size(self, fs: Any, path: str) -> int:
        try:
            return int(fs.info(path)["size"] or 0)
        except _MISSING:
            return 0

    def _do(self, verb: str, name: str, act: Callable[[Any, str], Any]) -> Any:
        try:
            fs, root = self._open()
            return act(fs, f"{root}/{name}")
        except AnabranchError:
            raise
        except Exception as error:  # each file system's package has its own exceptions
            raise self._error(verb, f"{self.shown}/{name}", error) from error

    def _error(self, verb: str, what: str, error: Exception) -> StoreError:
        text = secrets.mask(f"{type(error).__name__}: {error}".removesuffix(": "))
        return StoreError(
            f"cannot {verb} {what}: {text}; see that the address exists and that process {os.getpid()} on "
            f"{host_name()} may use it (credentials come from its own environment)"
        )

    def _open(self) -> tuple[Any, str]:
        """Return the file system and the root's path in it; a forked process gets its own connections."""
        if self._opened is not None and self._opened[0] == os.getpid():
            return self._opened[1:]
        import fsspec

        try:
            fs, root = fsspec.url_to_fs(self.address, use_listings_cache=False)
        except ImportError as error:
            raise MissingExtraError(f"results at {self.shown} need a package that is not installed: {error}") from error
        except ValueError as error:
            known = ", ".join(sorted(p for p in fsspec.available_protocols() if p in _WHOLE or p in ("sftp", "hdfs")))
            raise ConfigurationError(
                f"results at {self.shown}: {secrets.mask(str(error))}; fsspec knows, among others: {known}"
            ) from error
        except Exception as error:  # some file systems log in at once
            raise self._error("reach", self.shown, error) from error
        self._opened = (os.getpid(), fs, root.rstrip("/"))
        return fs, root.rstrip("/")


def _upload(file: Any, parts: Sequence[Bytes]) -> None:
    """Write an object that appears when it is closed; after a failure it does not appear."""
    try:
        _write(file, parts)
        file.close()
    except BaseException:
        if hasattr(file, "discard"):
            file.discard()
        file.closed = True  # else its finalizer would publish the part
        raise


def _write(file: Any, parts: Sequence[Bytes]) -> None:
    """Write in pieces, because fsspec copies its argument."""
    for part in parts:
        rest = memoryview(part)
        while rest:
            file.write(rest[:PIECE])
            rest = rest[PIECE:]
