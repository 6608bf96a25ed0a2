"""The bytes of one stored value, the same in a file, in an object and in memory.

    magic 8 | size of the header 4 | checksum 16 | header | value | pad, buffer | pad, buffer ...
                                                 '------------- under the checksum ----------'

The header is msgpack. Buffers are the large arrays in the value, kept apart from its pickle, so that they are written
and read without another copy. Each begins at a multiple of 64 bytes.
"""

from __future__ import annotations

import struct
from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple

import msgpack

from anabranch.results.serializers import Saved

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anabranch.results.serializers import Bytes

HEAD = 4096  # bytes; the header of a value fits, unless it has hundreds of buffers
ALIGNMENT = 64

_MAGIC = b"ANABRv1\n"
_PREFIX = struct.Struct("<8sI16s")
_LONGEST_KEY = 512  # a longer one is kept as its hash


class Header(NamedTuple):
    """The metadata of a stored value."""

    key: str
    serializer: str
    created: float
    expires: float | None
    size: int  # of the value without its buffers
    buffers: tuple[int, ...] | list[int] = ()  # the size of each

    def expired(self, now: float) -> bool:
        return self.expires is not None and now >= self.expires


class Found(NamedTuple):
    """A header, with the value's beginning and the end of the file."""

    header: Header
    start: int
    end: int


def short_key(key: str) -> str:
    """Return the key in the form that headers have."""
    if len(key) <= _LONGEST_KEY:
        return key
    return blake2b(key.encode("utf-8", "surrogatepass"), digest_size=32).hexdigest()


def place_of(key: str) -> str:
    """Return the place of a key's file in its store, in one of 256 folders."""
    name = blake2b(key.encode("utf-8", "surrogatepass"), digest_size=20).hexdigest()
    return f"{name[:2]}/{name[2:]}"


def encode(key: str, serializer: str, created: float, expires: float | None, saved: Saved) -> list[Bytes]:
    """Return the parts of the file, to be written one after another; arrays are not copied."""
    fields = [short_key(key), serializer, created, expires, *sizes_of(saved)]
    header: bytes = msgpack.packb(fields, unicode_errors="surrogatepass")
    parts = laid_out(saved, _PREFIX.size + len(header))
    checksum = blake2b(header, digest_size=16)
    for part in parts:
        checksum.update(part)
    return [_PREFIX.pack(_MAGIC, len(header), checksum.digest()) + header, *parts]


def find(data: Bytes) -> Found | None:
    """Read the header at the beginning of `data`, which may be cut; None when it is incomplete."""
    if len(data) < _PREFIX.size:
        return None
    magic, size, _ = _PREFIX.unpack_from(data)
    start = _PREFIX.size + size
    if magic != _MAGIC or start > len(data):
        return None
    try:
        header = Header(*msgpack.unpackb(data[_PREFIX.size : start], unicode_errors="surrogatepass"))
        *_, (_, end) = _spans(header.size, header.buffers, start)
    except Exception:  # msgpack raises many exceptions
        return None
    return Found(header, start, end)


def is_sound(data: Bytes, found: Found) -> bool:
    """Return whether the file is undamaged."""
    if len(data) != found.end:
        return False
    checksum: bytes = _PREFIX.unpack_from(data)[2]
    return blake2b(memoryview(data)[_PREFIX.size :], digest_size=16).digest() == checksum


def saved_in(data: Bytes, found: Found) -> Saved:
    """Return the value in a sound file; its buffers are views of `data`."""
    header, start, _ = found
    return taken_apart(data, header.size, header.buffers, start)


def sizes_of(saved: Saved) -> tuple[int, list[int]]:
    """Return the size of a value without its buffers, and the size of each buffer."""
    return len(saved.data), [buffer.nbytes for buffer in saved.buffers]


def laid_out(saved: Saved, start: int) -> list[Bytes]:
    """Return a value's parts with the padding between them, for a first part at `start`."""
    parts: list[Bytes] = [saved.data]
    end = start + len(saved.data)
    for buffer, (begin, stop) in zip(saved.buffers, _spans(*sizes_of(saved), start)[1:], strict=True):
        parts += [bytes(begin - end), buffer]
        end = stop
    return parts


def taken_apart(data: Bytes, size: int, buffers: Sequence[int], start: int) -> Saved:
    """Return the value that was laid out at `start`; its buffers are views of `data`."""
    view = memoryview(data)
    own, *apart = (view[begin:stop] for begin, stop in _spans(size, buffers, start))
    return Saved(own, apart)


def _spans(size: int, buffers: Sequence[int], start: int) -> list[tuple[int, int]]:
    """Yield begin and end of the value and of each of its buffers."""
    spans = [(start, start + size)]
    for length in buffers:
        begin = spans[-1][1] + -spans[-1][1] % ALIGNMENT
        spans.append((begin, begin + length))
    return spans
