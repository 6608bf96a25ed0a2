"""Values between processes: small blocks travel in the report, large ones lie in shared memory.

A block file holds one pickle per value and the buffers those pickles name, so that one value can
be read without the others, and arrays are mapped, not copied::

    8 bytes: length of the index | index | pickles and buffers, buffers aligned to 64 bytes
"""

from __future__ import annotations

import mmap
import os
import pickle
import struct
from typing import TYPE_CHECKING, Any

import cloudpickle

from anabranch.core.contracts import Held, Packed
from anabranch.core.errors import ResultReleased

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from anabranch.core.contracts import Handle

OUT_OF_BAND = 256 << 10  # buffers from this size on are not copied into the pickle
PACKED_BYTES = 64 << 10
_ALIGN = 64
_LENGTH = struct.Struct("<Q")


def dumps(value: Any, buffers: list[pickle.PickleBuffer] | None = None) -> bytes:
    """Pickle a value, by plain pickle where that is enough (it is faster), else by cloudpickle."""
    callback = None

    if buffers is not None:

        def callback(buffer: pickle.PickleBuffer) -> bool:
            if len(buffer.raw()) < OUT_OF_BAND:
                return True
            buffers.append(buffer)
            return False

    try:
        return pickle.dumps(value, protocol=5, buffer_callback=callback)
    except Exception:
        if buffers is not None:
            buffers.clear()
        return cloudpickle.dumps(value, protocol=5, buffer_callback=callback)  # type: ignore[no-any-return]


def path_of(folder: Path, handle: Handle) -> Path:
    return folder / f"{handle.chunk}-{handle.stage}-{handle.first}"


def encode(values: list[Any], folder: Path, handle: Handle, inline_limit: int) -> Packed | Held:
    """Put a block where it belongs; raises what pickling a value raises."""
    buffers: list[pickle.PickleBuffer] = []
    data = dumps(values, buffers)
    limit = min(PACKED_BYTES, inline_limit * max(1, len(values)))
    if not buffers and len(data) <= limit:
        return Packed(data, len(data))
    return _write(values, path_of(folder, handle))


def _write(values: list[Any], path: Path) -> Held:
    index: list[tuple[int, int, list[tuple[int, int]]]] = []
    parts: list[tuple[int, Any]] = []
    offset = 0
    for value in values:
        buffers: list[pickle.PickleBuffer] = []
        data = dumps(value, buffers)
        places = []
        start = offset
        parts.append((offset, data))
        offset += len(data)
        for buffer in buffers:
            raw = buffer.raw()
            offset = -(-offset // _ALIGN) * _ALIGN
            parts.append((offset, raw))
            places.append((offset, len(raw)))
            offset += len(raw)
        index.append((start, len(data), places))
    head = pickle.dumps(index)
    base = -(-(_LENGTH.size + len(head)) // _ALIGN) * _ALIGN
    temporary = path.with_suffix(".new")
    with open(os.open(temporary, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "wb") as file:
        file.write(_LENGTH.pack(len(head)) + head)
        for at, part in parts:
            file.seek(base + at)
            file.write(part)
        file.truncate(base + offset)
    os.replace(temporary, path)  # seen whole or not at all, also when this process is killed
    return Held(base + offset)


def read(path: Path, slots: Sequence[int]) -> list[Any]:
    """Values of a block file; arrays are read-only views of the mapped file."""
    try:
        with open(path, "rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except FileNotFoundError:
        raise ResultReleased(f"the values in {path.name} were released") from None
    view = memoryview(mapped)
    index, length = _index(view)
    base = -(-(_LENGTH.size + length) // _ALIGN) * _ALIGN
    found = []
    for slot in slots:
        start, size, places = index[slot]
        buffers = [view[base + at : base + at + n] for at, n in places]
        found.append(pickle.loads(view[base + start : base + start + size], buffers=buffers))
    return found


def _index(view: memoryview) -> tuple[list[tuple[int, int, list[tuple[int, int]]]], int]:
    (length,) = _LENGTH.unpack_from(view)
    return pickle.loads(view[_LENGTH.size : _LENGTH.size + length]), length


def count(path: Path) -> int:
    """How many values a block file holds."""
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        return len(_index(memoryview(mapped))[0])


# -- values put once: the buffers of big constants are shared by all workers ---------------------------


def put_file(value: Any, path: Path) -> None:
    """Write one shared value for all workers to map."""
    buffers: list[pickle.PickleBuffer] = []

    def callback(buffer: pickle.PickleBuffer) -> bool:
        if len(buffer.raw()) < OUT_OF_BAND:
            return True
        buffers.append(buffer)
        return False

    data = cloudpickle.dumps(value, protocol=5, buffer_callback=callback)
    with open(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "wb") as file:
        sizes = [len(b.raw()) for b in buffers]
        head = pickle.dumps((len(data), sizes))
        file.write(_LENGTH.pack(len(head)) + head + data)
        offset = _LENGTH.size + len(head) + len(data)
        for buffer, size in zip(buffers, sizes, strict=True):
            offset = -(-offset // _ALIGN) * _ALIGN
            file.seek(offset)
            file.write(buffer.raw())
            offset += size


def get_file(path: Path) -> Any:
    """Read a value that `put_file` wrote, its large buffers mapped."""
    with open(path, "rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    view = memoryview(mapped)
    (length,) = _LENGTH.unpack_from(view)
    size, sizes = pickle.loads(view[_LENGTH.size : _LENGTH.size + length])
    start = _LENGTH.size + length
    offset = start + size
    buffers = []
    for one in sizes:
        offset = -(-offset // _ALIGN) * _ALIGN
        buffers.append(view[offset : offset + one])
        offset += one
    return pickle.loads(view[start : start + size], buffers=buffers)
