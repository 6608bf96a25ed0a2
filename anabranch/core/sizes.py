"""Estimates of the bytes that a value takes."""

from __future__ import annotations

import sys
import time
import weakref
from functools import lru_cache
from types import GetSetDescriptorType, MethodDescriptorType, WrapperDescriptorType
from typing import Any

from anabranch.core.asking import of_class, passes

SMALL = frozenset({int, float, bool, type(None), complex})
UNKNOWN = 64  # bytes, for a value without a size
MOST = 1 << 50  # bytes; a larger answer is not believed
SLOW_SECONDS = 0.25  # a type that takes so long to answer is not asked again

_HEADER, _BUFFER, _OWN_BUFFER, _OWN_SIZE = range(4)  # the last two run code of the class's author
# The last answer of each slow type.
_slow: weakref.WeakKeyDictionary[type, int] = weakref.WeakKeyDictionary()


def sizeof(value: Any) -> int:
    """Return about how many bytes a value takes; a guess that costs next to nothing and never fails."""
    kind: Any = type(value)
    if kind in SMALL:
        return 32
    if kind in (bytes, str, bytearray):
        return 49 + len(value)
    if kind in (list, tuple) and value:
        return sys.getsizeof(value) + len(value) * (sizeof(value[0]) if type(value[0]) is not kind else 64)
    way = _way(kind)
    if way == _HEADER:
        return sys.getsizeof(value)
    if way == _BUFFER:
        return _asked(value, buffer=True)
    if kind in _slow:
        return _slow[kind]
    begun = time.perf_counter()
    found = _asked(value, buffer=way == _OWN_BUFFER)
    if time.perf_counter() - begun > SLOW_SECONDS:
        _slow[kind] = found
    return found


@lru_cache(maxsize=1024)
def _way(kind: type) -> int:
    """Return how to size values of a class, by the class's own definitions; an instance may make up attributes."""
    nbytes = of_class(kind, "nbytes")
    if kind.__module__.partition(".")[0] == "dask":  # its `nbytes` is that of the result
        nbytes = None
    if nbytes is not None:
        return _BUFFER if type(nbytes) is GetSetDescriptorType else _OWN_BUFFER
    by_c = type(of_class(kind, "__sizeof__")) in (MethodDescriptorType, WrapperDescriptorType)
    return _HEADER if by_c else _OWN_SIZE


def _asked(value: Any, *, buffer: bool) -> int:
    """Return the value's own answer, if it can be true."""
    try:
        nbytes = value.nbytes if buffer else None
        if type(nbytes) is int and 0 <= nbytes <= MOST:
            return 128 + nbytes
        return min(sys.getsizeof(value), MOST)
    except BaseException as bad:
        if passes(bad):
            raise
        return UNKNOWN
