"""Serializers of stores, from values to bytes: "pickle", "json", and "compressed/..." of either.

A serializer with `save` and `restore` keeps large arrays apart from the rest (pickle 5's buffers), so that a store
writes and reads them without a copy.
"""

from __future__ import annotations

import json
import pickle
import zlib
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import cloudpickle

from anabranch.core.asking import told
from anabranch.core.culprits import unpicklable
from anabranch.core.encoder import Encoder
from anabranch.core.errors import ConfigurationError, SerializationError

if TYPE_CHECKING:
    import mmap
    from collections.abc import Callable, Sequence

    Bytes = bytes | bytearray | memoryview | mmap.mmap

_kept = Encoder(cloudpickle.Pickler, kept=True)
APART = 4096  # bytes; a smaller array is part of the pickle


class Saved(NamedTuple):
    """A value as bytes, and its large arrays apart."""

    data: Bytes
    buffers: Sequence[memoryview] = ()


class Serializer(Protocol):
    """Turns values into bytes and back. Picklable: stores travel to workers."""

    name: str

    def dumps(self, value: Any) -> bytes:
        """Return the value as bytes; raises SerializationError with the path to the bad part."""
        ...

    def loads(self, data: bytes | memoryview) -> Any:
        """Return the value; raises SerializationError when it cannot be rebuilt here."""
        ...


class PickleSerializer:
    """Pickle 5, or cloudpickle for values that pickle refuses or that name `__main__`.

    Pickle saves a class or function of `__main__` as a reference that only this script can follow, so such values are
    saved by value.
    """

    name = "pickle"

    def dumps(self, value: Any) -> bytes:
        try:
            return _kept.dumps(value)
        except Exception as error:  # whatever the object's own code raises
            raise unpicklable(value, error, _kept.by_value) from error

    def loads(self, data: bytes | memoryview) -> Any:
        return _rebuilt(self.name, pickle.loads, data)

    def save(self, value: Any) -> Saved:
        """Return the value with its large arrays apart, as views of the value's own memory."""
        buffers: list[memoryview] = []
        try:
            return Saved(_kept.dumps(value, buffers, APART), buffers)
        except Exception as error:  # whatever the object's own code raises
            raise unpicklable(value, error, _kept.by_value) from error

    def restore(self, saved: Saved) -> Any:
        """Return the value around those buffers; arrays are writable where the buffers are."""
        return _rebuilt(self.name, lambda data: pickle.loads(data, buffers=saved.buffers), saved.data)


class JsonSerializer:
    """JSON text; tuples come back as lists."""

    name = "json"

    def dumps(self, value: Any) -> bytes:
        return _tried(value, _jsoned)

    def loads(self, data: bytes | memoryview) -> Any:
        return _rebuilt(self.name, json.loads, bytes(data))


class CompressedSerializer:
    """Another serializer's bytes, through zlib."""

    def __init__(self, inner: Serializer, level: int = 3) -> None:
        self.name = f"compressed/{inner.name}"
        self.inner = inner
        self.level = level

    def dumps(self, value: Any) -> bytes:
        return zlib.compress(self.inner.dumps(value), self.level)

    def loads(self, data: bytes | memoryview) -> Any:
        return self.inner.loads(_rebuilt(self.name, zlib.decompress, data))


_KNOWN: dict[str, Serializer] = {}


def register_serializer(serializer: Serializer) -> None:
    """Make a serializer known by its name in this process, in place of an earlier one."""
    _KNOWN[serializer.name] = serializer


def get_serializer(name: str | Serializer) -> Serializer:
    """Return the serializer of that name; a serializer itself is returned unchanged.

    Raises:
        ConfigurationError: the name is not registered; lists the known ones.
    """
    if not isinstance(name, str):
        return name
    found = _KNOWN.get(name)
    if found is None and name.startswith("compressed/"):
        return CompressedSerializer(get_serializer(name.removeprefix("compressed/")))
    if found is None:
        raise ConfigurationError(f"unknown serializer {name!r}; known are: {', '.join(sorted(_KNOWN))}")
    return found


def save(serializer: Serializer, value: Any) -> Saved:
    """Return the value as bytes, large arrays apart where the serializer can; raises SerializationError."""
    apart: Callable[[Any], Saved] | None = getattr(serializer, "save", None)
    return Saved(serializer.dumps(value)) if apart is None else apart(value)


def restore(name: str, own: Serializer, saved: Saved) -> Any:
    """Return the value that serializer `name` has saved; raises SerializationError when it cannot be rebuilt."""
    serializer = own if own.name == name else get_serializer(name)
    rebuild: Callable[[Saved], Any] | None = getattr(serializer, "restore", None)
    return serializer.loads(memoryview(saved.data)) if rebuild is None else rebuild(saved)


def _tried(value: Any, dumps: Callable[[Any], bytes]) -> bytes:
    try:
        return dumps(value)
    except Exception as error:  # whatever the object's own code raises
        raise unpicklable(value, error, dumps) from error


def _rebuilt(name: str, loads: Callable[[Any], Any], data: Bytes) -> Any:
    try:
        return loads(data)
    except Exception as error:  # whatever the object's own code raises
        raise SerializationError(f"cannot rebuild the value ({name}): {told(error)}") from error


def _jsoned(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


for _serializer in (PickleSerializer(), JsonSerializer(), CompressedSerializer(PickleSerializer())):
    register_serializer(_serializer)
