"""How values become bytes in a store: "pickle", "json", and "compressed/..." of either."""

from __future__ import annotations

import json
import pickle
import zlib
from typing import TYPE_CHECKING, Any, Protocol

import cloudpickle

from anabranch.core.culprits import unpicklable
from anabranch.core.errors import ConfigurationError, SerializationError

if TYPE_CHECKING:
    from collections.abc import Callable


class Serializer(Protocol):
    """Turns values into bytes and back. Picklable: stores travel to workers."""

    name: str

    def dumps(self, value: Any) -> bytes:
        """The value as bytes; raises SerializationError with the path to what cannot be saved."""
        ...

    def loads(self, data: bytes | memoryview) -> Any:
        """The value again; raises SerializationError when it cannot be rebuilt here."""
        ...


class PickleSerializer:
    """Pickle 5; what it refuses, and what names `__main__`, goes by cloudpickle.

    A class or function of `__main__` is pickled as a reference that only this script can follow,
    so such values are saved by value.
    """

    name = "pickle"

    def dumps(self, value: Any) -> bytes:
        try:
            data = pickle.dumps(value, protocol=5)
            if b"__main__" not in data:
                return data
        except Exception:  # a lambda, a local class, or what cloudpickle refuses too
            pass
        return _tried(value, _cloudpickled)

    def loads(self, data: bytes | memoryview) -> Any:
        return _rebuilt(self.name, pickle.loads, data)


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
    """The serializer of that name; one that is given as itself is answered as it is.

    Raises:
        ConfigurationError: nobody registered it; lists those known.
    """
    if not isinstance(name, str):
        return name
    found = _KNOWN.get(name)
    if found is None and name.startswith("compressed/"):
        return CompressedSerializer(get_serializer(name.removeprefix("compressed/")))
    if found is None:
        raise ConfigurationError(f"unknown serializer {name!r}; known are: {', '.join(sorted(_KNOWN))}")
    return found


def _tried(value: Any, dumps: Callable[[Any], bytes]) -> bytes:
    try:
        return dumps(value)
    except Exception as error:  # whatever the object's own code raises
        raise unpicklable(value, error, dumps) from error


def _rebuilt(name: str, loads: Callable[[Any], Any], data: bytes | memoryview) -> Any:
    try:
        return loads(data)
    except Exception as error:  # whatever the object's own code raises
        raise SerializationError(f"cannot rebuild the value ({name}): {type(error).__name__}: {error}") from error


def _cloudpickled(value: Any) -> bytes:
    data: bytes = cloudpickle.dumps(value, protocol=5)
    return data


def _jsoned(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


for _serializer in (PickleSerializer(), JsonSerializer(), CompressedSerializer(PickleSerializer())):
    register_serializer(_serializer)
