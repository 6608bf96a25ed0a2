"""About how many bytes a value takes."""

from __future__ import annotations

import sys
from typing import Any

SMALL = frozenset({int, float, bool, type(None), complex})


def sizeof(value: Any) -> int:
    """About how many bytes a value takes; a guess that must cost next to nothing."""
    kind = type(value)
    if kind in SMALL:
        return 32
    if kind in (bytes, str, bytearray):
        return 49 + len(value)
    nbytes = getattr(value, "nbytes", None)
    if type(nbytes) is int:
        return 128 + nbytes
    if kind in (list, tuple) and value:
        return sys.getsizeof(value) + len(value) * (sizeof(value[0]) if type(value[0]) is not kind else 64)
    try:
        return sys.getsizeof(value)
    except Exception:
        return 64
