"""How the driver and a worker process talk: two sockets.

    chunks    driver -> worker   one message a chunk; read by the worker's main thread when it is idle.
                                 What it has not read the driver can take back, whatever the worker does.
    control   driver -> worker   frames: shared values, limits, cancels, answers; read by a listening thread
              worker -> driver   frames: everything a worker says

A chunk's message tells how many control frames came before it, and the worker begins it when it has
heard those. The driver never blocks on a socket (what a full one does not take is sent when it has
room), a worker may: the driver always reads. So two full sockets facing each other cannot happen.
"""

from __future__ import annotations

import errno
import os
import pickle
import select
import struct
import threading
from array import array
from collections import deque
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from anabranch.core.chunks import Chunk
from anabranch.core.reports import Held, Packed, Report
from anabranch.runners.transport import versions as transport_versions

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

_HEAD = struct.Struct("<IB")
_READ = 64 << 10

# Kinds of frames, downwards ...
SHARED, LIMIT, CANCEL, DROP, PATH, REPLY, AROUND = range(1, 8)
# ... and upwards.
HELLO, REPORT, LOST, LOGS, REQUEST = range(20, 25)

MESSAGE_BYTES = 128 << 10  # the longest message of a chunk; more goes through a file
BYE = b"bye"  # instead of a chunk: this was all
_CHUNK = struct.Struct("<qQQ?")  # id, control frames before it, its surroundings, whether its fields lie in a file

# Chunks and reports travel as plain tuples of plain values: a third of the cost of pickling the objects.
chunk_fields: Callable[[Chunk], tuple[Any, ...]] = attrgetter(*Chunk.__dataclass_fields__)


def message(kind: int, *fields: Any) -> bytes:
    """A frame of plain values."""
    body = pickle.dumps(fields, 5)
    return _HEAD.pack(len(body), kind) + body


def chunk_message(chunk: int, heard: int, around: int, fields: bytes, file: str | None) -> bytes:
    """A chunk to be begun after `heard` frames: its pickled fields, or the file where they lie."""
    return _CHUNK.pack(chunk, heard, around, file is not None) + (fields if file is None else file.encode())


def chunk_of(data: bytes) -> tuple[int, int, int, memoryview, str | None]:
    """What `chunk_message` was made of."""
    chunk, heard, around, in_file = _CHUNK.unpack_from(data)
    rest = memoryview(data)[_CHUNK.size :]
    return chunk, heard, around, rest, str(rest, "utf-8") if in_file else None


def report_frame(report: Report) -> bytes:
    blocks = tuple([
        (b.data, b.nbytes, b.ends) if type(b) is Packed else b.nbytes if type(b) is Held else None
        for b in report.blocks
    ])  # fmt: skip
    return message(
        REPORT, report.chunk, report.first, report.count, report.final, report.base, _plain(report.started),
        _plain(report.durations), report.codes, report.outcomes, blocks, report.worker, report.stored,
        report.digests, report.notes, report.noted,
    )  # fmt: skip


def report_of(fields: tuple[Any, ...]) -> Report:
    chunk, first, count, final, base, started, durations, codes, outcomes, blocks, worker, *rest, noted = fields
    stored, digests, notes = rest
    found = tuple([None if b is None else Held(b) if type(b) is int else Packed(*b) for b in blocks])
    return Report(
        chunk, first, count, final, base, _array(started), _array(durations), codes, outcomes, found, worker, stored,
        digests, notes, noted,
    )  # fmt: skip


def _plain(column: array[int] | None) -> tuple[str, bytes] | None:
    return None if column is None else (column.typecode, column.tobytes())


def _array(column: tuple[str, bytes] | None) -> array[int] | None:
    return None if column is None else array(*column)


def versions() -> dict[str, str]:
    """What has to be the same on both sides."""
    return transport_versions.versions(python=3)


class _Frames:
    """Bytes as they come, cut into frames."""

    __slots__ = ("_at", "_bytes")

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._at = 0

    def add(self, data: bytes) -> None:
        if self._at:
            del self._bytes[: self._at]
            self._at = 0
        self._bytes += data

    def next(self) -> tuple[int, bytes] | None:
        start = self._at + _HEAD.size
        if len(self._bytes) < start:
            return None
        length, kind = _HEAD.unpack_from(self._bytes, self._at)
        if len(self._bytes) < start + length:
            return None
        self._at = start + length
        return kind, bytes(self._bytes[start : self._at])


class Pipe:
    """The driver's end of either socket; never blocks. Sending and flushing need the caller's lock."""

    __slots__ = ("_frames", "socket", "unsent")

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)
        self.socket = end
        self.unsent: deque[memoryview] = deque()
        self._frames = _Frames()

    def send(self, data: bytes) -> bool:
        """Send now what the socket takes; False when `flush` has to send the rest."""
        if self.unsent:
            self.unsent.append(memoryview(data))
            return False
        try:
            sent = self.socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            if error.errno == errno.EMSGSIZE:
                raise
            return True  # the worker has gone, which its reader finds out
        if sent < len(data):
            self.unsent.append(memoryview(data)[sent:])
            return False
        return True

    def flush(self) -> bool:
        """Go on sending; True when nothing is left."""
        while self.unsent:
            data = self.unsent[0]
            try:
                sent = self.socket.send(data)
            except BlockingIOError:
                return False
            except OSError:
                self.unsent.clear()
                return True
            if sent < len(data):
                self.unsent[0] = data[sent:]
            else:
                self.unsent.popleft()
        return True

    def receive(self) -> tuple[list[tuple[int, bytes]], bool]:
        """The frames that are there, and whether the other end has gone."""
        found: list[tuple[int, bytes]] = []
        gone = False
        while True:
            try:
                data = self.socket.recv(_READ)
            except BlockingIOError:
                break
            except OSError:
                data = b""
            if not data:
                gone = True
                break
            self._frames.add(data)
            while (one := self._frames.next()) is not None:
                found.append(one)
            if len(data) < _READ:
                break
        return found, gone

    def close(self) -> None:
        self.unsent.clear()
        self.socket.close()


class Stream:
    """The worker's end of the control socket; blocks."""

    __slots__ = ("_frames", "_lock", "_poll", "_wait", "fd")

    def __init__(self, fd: int) -> None:
        os.set_inheritable(fd, False)  # not for the programs that tasks start
        self.fd = fd
        self._frames = _Frames()
        self._lock = threading.Lock()
        self._wait, self._poll = select.poll(), select.poll()  # one for each thread that looks
        self._wait.register(fd, select.POLLIN)
        self._poll.register(fd, select.POLLIN)

    def wait(self) -> None:
        """Wait until there is something to take; for the listening thread."""
        self._wait.poll()

    def unread(self) -> bool:
        """Whether there is something to take; for the main thread."""
        return bool(self._poll.poll(0))

    def take(self) -> list[tuple[int, bytes]] | None:
        """The frames that are whole with what is there to be read; None when the driver has gone."""
        try:
            data = os.read(self.fd, _READ)
        except OSError:
            return None
        if not data:
            return None
        self._frames.add(data)
        found = []
        while (one := self._frames.next()) is not None:
            found.append(one)
        return found

    def send(self, data: bytes) -> None:
        """Send a frame whole, from any thread."""
        with self._lock:
            sent = os.write(self.fd, data)
            if sent < len(data):
                rest = memoryview(data)[sent:]
                while rest:
                    rest = rest[os.write(self.fd, rest) :]
