"""Files of values: how values are pickled, and the files, in shared memory or on disk, in which they lie.

A file holds several values. Each has a pickle of its own, so that one is read without the others,
and its large buffers lie apart, so that arrays are mapped and not copied::

    count of values, count of buffers | index of pickles | index of buffers | pickles | buffers, each at 64 bytes
"""

from __future__ import annotations

import errno
import mmap
import os
import pickle
import resource
import shutil
import struct
import sys
import tempfile
import weakref
import zlib
from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import cloudpickle

from anabranch.core.encoder import Encoder, apart
from anabranch.core.errors import ResultReleased
from anabranch.core.processes import host_name, process_alive, process_started
from anabranch.core.whole_modules import WholeModules, going_whole

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextlib import AbstractContextManager

    from anabranch.core.chunks import BlockHandle

LARGE = 256 << 10  # buffers and messages from this size on go through files
PACKED_BYTES = 64 << 10  # blocks up to this size may come home inside a report
_HEAD = struct.Struct("<QQ")
_ALIGN = 64
_VECTORS = 512
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.ENOMEM})
MAIN = b"__main__"

# A mapping holds a file descriptor (before Python 3.13), so only so many live at a time; others are copies.
_MAPS_AT_MOST = min(resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 4, 16_384)
_maps: weakref.WeakSet[mmap.mmap] = weakref.WeakSet()

Pickled = tuple[bytes, list[memoryview]]
_encoder = Encoder(cloudpickle.Pickler)


def dumps(value: Any, buffers: list[memoryview] | None = None) -> bytes:
    """Pickle a value, its large buffers apart if there is a list for them; raises what its pickling raises."""
    return _encoder.dumps(value, buffers, LARGE)


def by_value(value: Any, aside: Callable[[pickle.PickleBuffer], bool] | None = None) -> bytes:
    """Pickle a value with what it takes of `__main__`; that is the script's own again where it comes home."""
    return _encoder.by_value(value, aside)


def pickled(value: Any) -> Pickled:
    """A value's pickle and its large buffers."""
    buffers: list[memoryview] = []
    return dumps(value, buffers), buffers


def pickled_beside(value: Any) -> Pickled:
    """The same for a process of this machine, which imports what this one does."""
    try:
        return pickled(value)
    except Exception:  # what the modules hold that its code reads may not travel: a worker has its own of that
        buffers: list[memoryview] = []
        with importing():
            return by_value(value, apart(buffers, LARGE)), buffers


def importing() -> AbstractContextManager[None]:
    """Inside, code is pickled as processes of this machine can have it."""
    return going_whole(WholeModules(imported=True))


def refused(value: Any) -> bytes:
    """A plain `dumps`, to look with for the part that cannot be pickled."""
    return by_value(value)


class Store:
    """The files of one runner: in shared memory, and in the temporary folder when that is full or was told to spill."""

    def __init__(self, folders: Sequence[str]) -> None:
        self.folders = tuple(folders)

    @classmethod
    def create(cls, *, memory: bool = True) -> Store:
        """Make a runner's folder (two with `memory`), and remove those of drivers that have died."""
        roots = ["/dev/shm"] if memory and os.access("/dev/shm", os.W_OK) else []
        roots.append(tempfile.gettempdir())
        place = _place()
        for root in roots:
            _sweep(root, place)
        pid = os.getpid()
        first = tempfile.mkdtemp(prefix=f"anabranch-{pid}-{process_started(pid):.2f}-{place}-", dir=roots[0])
        return cls([os.path.join(root, os.path.basename(first)) for root in roots])

    def remove(self) -> None:
        """Remove everything; what is mapped stays readable."""
        for folder in self.folders:
            shutil.rmtree(folder, ignore_errors=True)

    def write(self, name: str, parts: Sequence[Pickled]) -> int:
        """Write a new file and return its size; raises OSError when there is room nowhere."""
        pieces, size = _lay_out(parts)
        for number, folder in enumerate(self.folders):
            path = os.path.join(folder, name)
            try:
                if number:
                    os.makedirs(folder, 0o700, exist_ok=True)
                _write(path, pieces)
                return size
            except OSError as error:
                _unlink(path)
                if error.errno not in _FULL or number + 1 == len(self.folders):
                    raise
        raise OSError(errno.ENOSPC, "no folder for values")

    def open(self, name: str) -> Block:
        """Raises ResultReleased when it is not there."""
        for folder in self.folders:
            try:
                return Block(os.open(os.path.join(folder, name), os.O_RDONLY | os.O_CLOEXEC))
            except FileNotFoundError:
                pass
        raise ResultReleased(
            f"the values in block {name} were released: keep a future to them, or read them before you let go of it"
        )

    def spill(self, name: str) -> None:
        """Move a file from shared memory to the temporary folder; raises OSError when there is no room."""
        source, target = (os.path.join(folder, name) for folder in (self.folders[0], self.folders[-1]))
        if source == target or not os.path.exists(source):  # it lies there already, or was released
            return
        part = f"{target}.part"
        os.makedirs(self.folders[-1], 0o700, exist_ok=True)
        try:
            _copy(source, part)
            os.rename(part, target)
        except BaseException:
            _unlink(part)
            raise
        if not _unlink(source):  # released meanwhile
            _unlink(target)

    def unlink(self, names: Iterable[str]) -> None:
        for name in names:
            for folder in self.folders:  # in all: it may be on its way from one to the other
                _unlink(os.path.join(folder, name))

    def unlink_chunk(self, chunk: int, but: set[str]) -> None:
        """Remove what a lost chunk left behind, except for files that were reported."""
        for folder in self.folders:
            try:
                names = os.listdir(folder)
            except FileNotFoundError:
                continue
            self.unlink(name for name in names if name.startswith(f"v{chunk}.") and name not in but)


class Values(Sequence[Any]):
    """The values of a block, each read when asked for, as a copy of its own."""

    def __init__(self, file: Block) -> None:
        self._file = file

    def __len__(self) -> int:
        return len(self._file)

    def __getitem__(self, slot: Any) -> Any:
        return self._file.load(slot)


def block_name(handle: BlockHandle) -> str:
    return f"v{handle.chunk}.{handle.stage}.{handle.first}"


class Block:
    """An open file of values; `load` may be called at any time until `close`, what it gave stays."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        try:
            count, buffers = _HEAD.unpack(os.pread(fd, _HEAD.size, 0))
            index = array("Q", os.pread(fd, 8 * (4 * count + 2 * buffers), _HEAD.size))
        except BaseException:
            self.close()
            raise
        self._values = index[: 4 * count]
        self._buffers = index[4 * count :]

    def __enter__(self) -> Block:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self._values) // 4

    def load(self, slot: int, *, shared: bool = False) -> Any:
        """One value. Its large arrays are the file itself, mapped.

        Writing to them changes a private copy of the page, so they behave as if they had been
        copied here; with `shared` they are read-only instead.
        """
        at, size, first, count = self._values[4 * slot : 4 * slot + 4]
        data = os.pread(self._fd, size, at)
        return pickle.loads(data, buffers=self._buffers_of(first, count, shared))

    def raw(self, slot: int) -> Pickled:
        """One value as it lies here."""
        at, size, first, count = self._values[4 * slot : 4 * slot + 4]
        return os.pread(self._fd, size, at), self._buffers_of(first, count, True)

    def _buffers_of(self, first: int, count: int, shared: bool) -> list[memoryview]:
        if not count:
            return []
        view = self._map(shared)
        spans = self._buffers[2 * first : 2 * (first + count)]
        return [view[start : start + length] for start, length in zip(spans[::2], spans[1::2], strict=True)]

    def load_many(self, slots: Sequence[int]) -> list[Any]:
        if len(slots) < 8 or self._buffers:
            return [self.load(slot) for slot in slots]
        values = self._values
        start = values[0]
        data = memoryview(os.pread(self._fd, values[-4] + values[-3] - start, start))
        return [pickle.loads(data[values[4 * s] - start :][: values[4 * s + 1]]) for s in slots]

    def _map(self, shared: bool) -> memoryview:
        access = mmap.ACCESS_READ if shared else mmap.ACCESS_COPY
        if sys.version_info >= (3, 13):
            return memoryview(mmap.mmap(self._fd, 0, access=access, trackfd=False))
        if len(_maps) < _MAPS_AT_MOST:
            try:
                found = mmap.mmap(self._fd, 0, access=access)
            except OSError:  # too many files or mappings
                pass
            else:
                _maps.add(found)
                return memoryview(found)
        copy = bytearray(os.fstat(self._fd).st_size)
        view, at = memoryview(copy), 0
        while at < len(copy):
            at += os.preadv(self._fd, [view[at:]], at)
        return view.toreadonly() if shared else view

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _lay_out(parts: Sequence[Pickled]) -> tuple[list[Any], int]:
    values, spans = array("Q"), array("Q")
    count = sum(len(buffers) for _, buffers in parts)
    offset = _HEAD.size + 8 * (4 * len(parts) + 2 * count)
    first = 0
    for data, buffers in parts:
        values.extend((offset, len(data), first, len(buffers)))
        offset += len(data)
        first += len(buffers)
    tail: list[Any] = []
    for _, buffers in parts:
        for buffer in buffers:
            pad = -offset % _ALIGN
            tail += (bytes(pad), buffer)
            spans.extend((offset + pad, buffer.nbytes))
            offset += pad + buffer.nbytes
    pieces: list[Any] = [_HEAD.pack(len(parts), count), values.tobytes(), spans.tobytes()]
    pieces += (data for data, _ in parts)
    if len(pieces) > _VECTORS:  # many small ones: one copy costs less
        pieces = [b"".join(pieces)]
    pieces += tail
    return [piece for piece in pieces if len(piece)], offset


def _write(path: str, pieces: list[Any]) -> None:
    fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        left = [memoryview(piece).cast("B") for piece in pieces]
        while left:
            done = os.writev(fd, left[:_VECTORS])
            while left and done >= len(left[0]):
                done -= len(left.pop(0))
            if done:
                left[0] = left[0][done:]
    finally:
        os.close(fd)


def _copy(source: str, target: str) -> None:
    """Write a new file with what another holds."""
    with open(source, "rb") as given:
        fd = os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with open(fd, "wb") as taken:
            shutil.copyfileobj(given, taken, 1 << 20)


def _unlink(path: str) -> bool:
    try:
        os.unlink(path)
    except OSError:
        return False
    return True


def _place() -> str:
    """A mark of this machine and its space of process ids: elsewhere our pids mean nothing."""
    try:
        space = os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        space = 0
    return f"{zlib.crc32(f'{host_name()} {space}'.encode()):08x}"


def _sweep(root: str, place: str) -> None:
    """Remove the folders of drivers of this place that are no more."""
    for name in os.listdir(root):
        match name.split("-"):
            case ["anabranch", pid, started, where, _] if where == place and pid.isdigit():
                try:
                    dead = not process_alive(int(pid), float(started))
                except ValueError:
                    continue
                if dead:
                    shutil.rmtree(os.path.join(root, name), ignore_errors=True)
