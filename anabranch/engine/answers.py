"""What a task's function answered, as the value it stands for."""

from __future__ import annotations

from collections.abc import Generator
from types import GeneratorType
from typing import Any

from anabranch.core.asking import of_class
from anabranch.core.futures import Future, FutureList


def plain_value(value: Any) -> Any:
    """A generator's items, futures' values; which of these it is, its type says."""
    kind = type(value)
    if kind is Future or kind is FutureList:
        return value.result()
    if kind is GeneratorType or (kind.__name__ == "generator" and _compiled(kind)):
        return list(value)
    if kind in (list, tuple) and value and type(value[0]) is Future:
        return kind(v.result() if type(v) is Future else v for v in value)
    return value


def _compiled(kind: type) -> bool:
    """Whether these are generators of functions that Cython compiled."""
    return issubclass(kind, Generator) and of_class(kind, "gi_frame") is not None
