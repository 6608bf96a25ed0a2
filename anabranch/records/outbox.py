"""Frames that wait on disk for their server: `<home>/outbox/<writer>.frames`, for this user alone.

A file begins with a line of JSON that names the server; then each frame has its length, a checksum and its number.
Any program of the user may send a file; it locks it meanwhile, and deletes it once all frames are in the record. A
frame that two programs send is in the record once, since the server knows its number.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import struct
import zlib
from itertools import count
from typing import IO, TYPE_CHECKING

from anabranch.core.clock import SYSTEM
from anabranch.core.errors import RecordsError
from anabranch.records.frames import runs_of
from anabranch.records.http import HttpServer
from anabranch.records.sending import Course

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from anabranch.core.contracts import Clock
    from anabranch.records.cutting import Cut

logger = logging.getLogger("anabranch.records")

_SUFFIX = ".frames"
_FRAME = struct.Struct("<IIQ")  # bytes, checksum, number
_LONGEST = 64 << 20  # bytes of a frame: more is damage
_MOST_KNOWN = 1000  # files
# Runs by a file's place, size and time. After an outage an agent looks every few seconds for each ended job.
_known: dict[tuple[int, int, int, int], frozenset[str]] = {}


class Outbox:
    """The folder of such files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, writer: str) -> Path:
        return self.folder / f"{writer}{_SUFFIX}"

    def add(self, writer: str, server: str, frames: Iterable[Cut]) -> None:
        """Append frames to a writer's file; once it returns they outlive this machine's end. Raises OSError."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self.path(writer)
        while True:
            descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_APPEND | os.O_CLOEXEC, 0o600)
            with open(descriptor, "r+b", buffering=0) as file:  # a buffer would write again after a failure
                fcntl.flock(file, fcntl.LOCK_EX)
                if not _is(path, file):  # another program has sent it and deleted it meanwhile
                    continue
                size = os.fstat(descriptor).st_size
                try:
                    if not size:
                        _write(file, json.dumps({"server": server, "writer": writer}).encode() + b"\n")
                    for seq, body in frames:
                        _write(file, _FRAME.pack(len(body), zlib.crc32(body), seq) + body)
                    os.fsync(descriptor)
                except OSError:
                    with contextlib.suppress(OSError):
                        os.ftruncate(descriptor, size)  # half a frame would hide the ones behind it
                    raise
            self._sync()
            return

    def waiting(self, server: str = "") -> list[Path]:
        """Return the files for a server, or for any, the oldest first."""
        found = [path for path in self.folder.glob(f"*{_SUFFIX}") if server in ("", server_of(path))]
        return sorted(found, key=lambda path: (_age(path), path.name))

    def left_by(self, run: str, server: str) -> list[Path]:
        """Return the files for a server that have frames of this run, if the run was ordered or can be resumed."""
        return [path for path in self.waiting(server) if _has(path, run)]

    def _sync(self) -> None:
        descriptor = os.open(self.folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def server_of(path: Path) -> str:
    """Return the address of the server that a file is for; "" where the file is gone or damaged."""
    try:
        with path.open("rb") as file:
            return str(_head(file).get("server", ""))
    except OSError:
        return ""


def push(path: Path, server: HttpServer, clock: Clock, course: Course | None = None) -> Iterator[set[str]]:
    """Send the frames of a file and delete it; yields after each frame the runs that another driver has.

    Nothing is done where another program sends it. Raises as `Course.send`; the file stays then, and is sent again
    from its beginning. A file that is damaged is kept under another name, with a warning.
    """
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(path.open("rb"))
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (FileNotFoundError, BlockingIOError):
            return
        if not _is(path, file):
            return
        head = _head(file)
        if head.get("server") != server.name:
            return
        course = course or Course(server, clock, str(head.get("writer")))
        end = file.tell()
        for seq, body in _frames(file):
            end = file.tell()
            yield course.send(seq, body)
        if unread := os.fstat(file.fileno()).st_size - end:
            kept = next(name for n in count(1) if not (name := path.with_suffix(f".{n}.damaged")).exists())
            path.rename(kept)
            logger.warning("%s bytes of rows for the server at %s cannot be read: %s", unread, server.name, kept)
        else:
            path.unlink()


def push_left(folder: Path, address: str, key: str, run: str, clock: Clock = SYSTEM) -> None:
    """Send the files with frames of a run to the server at an address, and delete them.

    Raises:
        UnreachableError: the server does not answer.
        RecordsError: it refuses a frame, or another program sends a file just now.
        OSError: a file cannot be read.
    """
    server = HttpServer(address, key)
    try:
        for path in Outbox(folder).left_by(run, server.name):
            for _ in push(path, server, clock):
                pass
            if path.exists():
                raise RecordsError(f"{path} is being sent by another program")
    finally:
        server.close()


def _write(file: IO[bytes], data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]


def _head(file: IO[bytes]) -> dict[str, object]:
    try:
        found = json.loads(file.readline(10_000))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _frames(file: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """Yield the whole frames of a file; the last may be cut, where its program was killed while it wrote."""
    while len(head := file.read(_FRAME.size)) == _FRAME.size:
        size, checksum, seq = _FRAME.unpack(head)
        body = file.read(size) if size <= _LONGEST else b""
        if len(body) != size or zlib.crc32(body) != checksum:
            return
        yield seq, body


def _has(path: Path, run: str) -> bool:
    """Return whether a file has frames of this run; a file that has not changed since the last look is not read."""
    try:
        with path.open("rb") as file:
            return run in _runs_in(file)
    except FileNotFoundError:  # sent meanwhile
        return False


def _runs_in(file: IO[bytes]) -> frozenset[str]:
    """Return the runs of a file's frames, as of a moment at which it had the size and time by which they are known."""
    now = os.fstat(file.fileno())
    state = (now.st_dev, now.st_ino, now.st_size, now.st_mtime_ns)
    found = _known.get(state)
    if found is None:
        _head(file)
        found = frozenset(run for _, body in _frames(file) for run in runs_of(body))
        if len(_known) >= _MOST_KNOWN:
            _known.clear()
        _known[state] = found
    return found


def _is(path: Path, file: IO[bytes]) -> bool:
    """Return whether this path still is this open file."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _age(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
