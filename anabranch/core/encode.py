"""The encoding of a value for hashing: bytes that depend on its content alone, not on object identity.

Dicts and sets are written in the order of their encoded members, arrays as dtype, shape and bytes, enum members by
name, functions and classes as `core/identity.py` has them. Any other object is written as the parts that pickle would
save, but structurally, so that neither an object's identity nor interned strings matter. Every encoding marks its own
end. One longer than `_LONG` is replaced by its hash, so shared parts of a value are walked once.
"""

from __future__ import annotations

import copyreg
import dataclasses
import os
import sys
from collections import OrderedDict
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from hashlib import blake2b
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from struct import pack
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any

from anabranch.core.asking import MISSING, attribute, of_class, shown, text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Dumps = Callable[[Any], bytes]
    Encode = Callable[[Any], bytes]
    Encoder = Callable[["Walk", Any], bytes]

_LONG = 256
_TANGLED = 10_000
_NOWHERE = 1 << 60


class Culprit(Exception):
    """Raised for a part that cannot be hashed; each container on the way up adds its step."""

    def __init__(self, error: Exception) -> None:
        super().__init__(text(error))
        self.error = error
        self.steps: list[str] = []


class Tangle(Exception):
    """Raised for a cyclic structure with so many paths that the walk would not end."""


class Walk:
    """The walk over one value.

    An object that contains itself is written as the distance back to it. A part with such a reference to its outside
    is not remembered, because its encoding differs by where the walk came from.
    """

    __slots__ = ("code", "dumps", "escape", "held", "kind", "known", "stack", "tangles")

    def __init__(self, dumps: Dumps | None, code: Encode, kind: Encode | None = None) -> None:
        self.dumps = dumps
        self.code = code  # encodes a function, a method or a class
        self.kind = kind or class_name  # encodes the class of an instance
        self.known: dict[int, bytes] = {}
        self.held: list[Any] = []  # keeps known objects alive: an id must not be used again
        self.stack: dict[int, int] = {}
        self.escape = _NOWHERE  # the outermost depth that anything inside points back to
        self.tangles = 0

    def encode(self, value: Any) -> bytes:
        kind = type(value)
        plain = PLAIN.get(kind)
        if plain is not None:
            return plain(value)
        mark = id(value)
        known = self.known.get(mark)
        if known is not None:
            return known
        stack = self.stack
        depth = stack.get(mark)
        if depth is not None:
            if depth < self.escape:
                self.escape = depth
            return b"^%d;" % (len(stack) - depth)
        outer, self.escape = self.escape, _NOWHERE
        here = stack[mark] = len(stack)
        try:
            encoded = (EXACT.get(kind) or _encoder(kind, value))(self, value)
        except (Culprit, Tangle, RecursionError):
            raise
        except Exception as error:  # whatever the object's own code raises
            raise Culprit(error) from error
        finally:
            del stack[mark]
        if len(encoded) > _LONG:
            encoded = b"#" + digest(encoded)
        if self.escape >= here:
            self.known[mark] = encoded
            self.held.append(value)
            self.escape = outer
        else:
            self.tangles += 1
            if self.tangles > _TANGLED:
                raise Tangle
            if outer < self.escape:
                self.escape = outer
        return encoded

    def pickled(self, value: Any, error: Exception) -> bytes:
        """Encode an object without parts by its pickle; raises Culprit where it has none."""
        if self.dumps is not None:
            try:
                return b"P" + digest(self.dumps(value))
            except Exception as final:  # whatever the object's own code raises
                error = final
        raise Culprit(error) from error


def digest(data: Any) -> bytes:
    return blake2b(data, digest_size=16).digest()


# -- scalars -------------------------------------------------------------------------------------


def _bytes(tag: bytes, data: Any) -> bytes:
    size = len(data)
    return b"%b%d#%b" % (tag, size, digest(data)) if size > _LONG else b"%b%d:%b" % (tag, size, data)


def _str(value: str) -> bytes:
    return _bytes(b"s", value.encode("utf-8", "surrogatepass"))


def _path(value: PurePath) -> bytes:
    return _bytes(b"p", os.fsencode(value))


def _decimal(value: Decimal) -> bytes:
    return _bytes(b"m", str(value).encode())


def _date(value: date | time) -> bytes:
    zone = getattr(value, "tzinfo", None)
    text = f"{type(value).__name__} {value.isoformat()} {'' if zone is None else zone}"
    return _bytes(b"t", text.encode())


PLAIN: dict[type, Callable[[Any], bytes]] = {
    type(None): lambda value: b"N",
    bool: lambda value: b"T" if value else b"F",
    int: lambda value: b"i%x;" % value,
    float: lambda value: b"f" + pack(">d", value),
    complex: lambda value: b"z" + pack(">dd", value.real, value.imag),
    str: _str,
    bytes: lambda value: _bytes(b"b", value),
    datetime: _date,
    date: _date,
    time: _date,
    timedelta: lambda value: b"u%d,%d,%d;" % (value.days, value.seconds, value.microseconds),
    Decimal: _decimal,
    type(Path()): _path,
    PurePosixPath: _path,
    PureWindowsPath: _path,
}
SCALARS = frozenset({type(None), bool, int, float, complex, datetime, date, time, timedelta, Decimal})

# -- containers ----------------------------------------------------------------------------------


def _sequence(tag: bytes) -> Encoder:
    def encode(walk: Walk, value: Any) -> bytes:
        parts = [b"%b%d:" % (tag, len(value))]
        index = 0
        try:
            for item in value:
                parts.append(walk.encode(item))
                index += 1
        except Culprit as culprit:
            culprit.steps.append(f"[{index}]")
            raise
        return b"".join(parts)

    return encode


def _pairs(walk: Walk, pairs: Iterable[tuple[Any, Any]], step: str, ordered: bool = False) -> bytes:
    """Encode keys and values; `step` is the format of the path into them."""
    rows = []
    key: Any = None
    try:
        for key, item in pairs:
            rows.append(walk.encode(key) + walk.encode(item))
    except Culprit as culprit:
        culprit.steps.append(step % (key if step == ".%s" else shown(key, 60)))
        raise
    if not ordered:
        rows.sort()
    return b"d%d:%b" % (len(rows), b"".join(rows))


def _dict(walk: Walk, value: Any) -> bytes:
    return _pairs(walk, list(value.items()), "[%s]")


def _set(walk: Walk, value: Any) -> bytes:
    try:
        rows = sorted(map(walk.encode, value))
    except Culprit as culprit:
        culprit.steps.append("{...}")
        raise
    tag = b"e" if isinstance(value, frozenset) else b"E"
    return b"%b%d:%b" % (tag, len(rows), b"".join(rows))


# -- objects -------------------------------------------------------------------------------------


def class_name(value: Any) -> bytes:
    """Encode a class or a function by module and name, under which it is found."""
    name = f"{getattr(value, '__module__', None)}:{getattr(value, '__qualname__', None) or value.__name__}"
    return _bytes(b"g", name.encode())


def _code(walk: Walk, value: Any) -> bytes:
    return walk.code(value)


def _enum(walk: Walk, value: Any) -> bytes:
    return b"n" + walk.kind(type(value)) + walk.encode(value.name if value.name is not None else value.value)


def _module(walk: Walk, value: ModuleType) -> bytes:
    return _bytes(b"o", value.__name__.encode())


def _dataclass(walk: Walk, value: Any) -> bytes:
    found = [(f.name, attribute(value, f.name, MISSING)) for f in dataclasses.fields(value)]
    rows = [(name, held) for name, held in found if held is not MISSING]
    return b"D" + walk.kind(type(value)) + _pairs(walk, rows, ".%s")


def _model(walk: Walk, value: Any) -> bytes:
    """Encode a pydantic model: its fields, extras and private attributes, not which of them were set by hand."""
    rows = list(value.__dict__.items())
    for more in ("__pydantic_extra__", "__pydantic_private__"):
        rows.extend((attribute(value, more) or {}).items())
    return b"D" + walk.kind(type(value)) + _pairs(walk, rows, ".%s")


def _subset(walk: Walk, value: Any) -> bytes:
    return b"D" + walk.kind(type(value)) + _set(walk, value) + walk.encode(attribute(value, "__dict__"))


def _array(walk: Walk, value: Any) -> bytes:
    shape = walk.encode(tuple(value.shape))
    if value.dtype.hasobject:
        return b"A" + shape + walk.encode(value.tolist())
    dtype = repr(value.dtype.descr) if value.dtype.names else value.dtype.str
    try:
        data = digest(memoryview(value).cast("B"))
    except (TypeError, ValueError, BufferError):  # not contiguous, empty, or a type without buffers
        data = digest(value.tobytes())
    return b"a" + shape + _str(dtype) + data


def _masked(walk: Walk, value: Any) -> bytes:
    """Encode a masked array, not by its pickle: reading its fill value changes that."""
    mask = value.mask.tobytes()
    return b"k" + walk.kind(type(value)) + _array(walk, value.data) + _bytes(b"b", mask)


def _object(walk: Walk, value: Any) -> bytes:
    reducer = copyreg.dispatch_table.get(type(value))
    try:
        reduced = reducer(value) if reducer is not None else value.__reduce_ex__(4)
    except RecursionError:
        raise
    except Exception as error:  # whatever the object's own code raises
        return walk.pickled(value, error)
    if isinstance(reduced, str):
        return _bytes(b"g", f"{getattr(value, '__module__', None)}:{reduced}".encode())
    make, args, state, items, pairs = (*reduced, None, None, None)[:5]
    parts = [_maker(walk, make)]
    parts.extend(walk.kind(part) if isinstance(part, type) else walk.encode(part) for part in args or ())
    slots = None
    if isinstance(state, tuple) and len(state) == 2 and isinstance(state[1], dict):
        state, slots = state
    parts.extend(
        _pairs(walk, part.items(), ".%s") if isinstance(part, dict) else walk.encode(part) for part in (state, slots)
    )
    if items is not None:
        parts.append(EXACT[list](walk, list(items)))
    if pairs is not None:
        parts.append(_pairs(walk, pairs, "[%s]", isinstance(value, OrderedDict)))
    return b"".join([b"O%d:" % len(parts), *parts])


def _maker(walk: Walk, make: Any) -> bytes:
    if isinstance(make, type):
        return walk.kind(make)
    return class_name(make) if hasattr(make, "__name__") else walk.encode(make)


EXACT: dict[type, Encoder] = {
    list: _sequence(b"l"),
    tuple: _sequence(b"r"),
    dict: _dict,
    set: _set,
    frozenset: _set,
    bytearray: lambda walk, value: _bytes(b"B", value),
    memoryview: lambda walk, value: _bytes(b"V", value.tobytes()),
    FunctionType: _code,
    MethodType: _code,
    CodeType: _code,
    type: _code,
}


def _encoder(kind: type, value: Any) -> Encoder:
    """Return the encoder for a type that is not in the table; the value itself is not asked."""
    if issubclass(kind, Enum):
        return _enum
    if issubclass(kind, type):
        return _code
    if issubclass(kind, PurePath):
        return lambda walk, path: _path(path)
    if issubclass(kind, ModuleType):
        return _module
    numpy = sys.modules.get("numpy")
    if numpy is not None and (kind is numpy.ndarray or issubclass(kind, (numpy.generic, numpy.memmap))):
        return _array
    if numpy is not None and issubclass(kind, numpy.ndarray) and hasattr(value, "mask"):
        return _masked
    if issubclass(kind, (set, frozenset)):
        return _subset
    if any(of_class(kind, name) is not None for name in ("__pydantic_fields__", "__pydantic_core_schema__")):
        return _dataclass if dataclasses.is_dataclass(kind) else _model
    if dataclasses.is_dataclass(kind) and kind.__reduce_ex__ is object.__reduce_ex__ and not _own_pickle(kind):
        return _dataclass
    return _object


def _own_pickle(kind: Any) -> bool:
    """Return whether a class has its own pickling methods, or is a container too."""
    if kind.__reduce__ is not object.__reduce__ or issubclass(kind, (list, dict, tuple, str, bytes, int, float)):
        return True
    own = getattr(kind, "__getstate__", None)
    default = own is None or own is getattr(object, "__getstate__", None) or own.__name__ == "_dataclass_getstate"
    return not default
