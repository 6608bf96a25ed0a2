"""What a task's function answered, as the value it stands for."""

from __future__ import annotations

from collections.abc import Generator
from itertools import islice
from types import GeneratorType
from typing import Any

from anabranch.core.asking import of_class
from anabranch.core.context import current_task
from anabranch.core.futures import Future, FutureList
from anabranch.core.walk import fill, lift

LOOKED_AT = 4  # first elements of what a task returns that submitted nothing itself

_FUTURES = frozenset({Future, FutureList})


def plain_value(value: Any) -> Any:
    """A generator's items, futures' values at any depth; which of these it is, its type says.

    Futures of others, which got here through a closure or `quote`, are found where they are among the first elements
    of a collection: to look through all that tasks return would cost those most that return most.
    """
    kind = type(value)
    if kind is str or kind is bytes:
        return value
    if kind is list or kind is tuple:
        first = value[:LOOKED_AT]
    elif kind is dict:
        first = islice(value.values(), LOOKED_AT)
    elif kind in _FUTURES:
        return value.result()
    elif kind is GeneratorType or (kind.__name__ == "generator" and _compiled(kind)):
        first = value = list(value)
    else:
        first = ()
    here = current_task.get()
    if (here is not None and here.submits) or (first and not _FUTURES.isdisjoint(map(type, first))):
        return _with_values(value)
    return value


def _with_values(value: Any) -> Any:
    lifted, found = lift(value, _is_future)
    return fill(lifted, [future.result(raise_on_failure=not allow) for future, allow in found]) if found else value


def _is_future(value: object) -> bool:
    """A State is an answer of its own."""
    return type(value) in _FUTURES


def _compiled(kind: type) -> bool:
    """Whether these are generators of functions that Cython compiled."""
    return issubclass(kind, Generator) and of_class(kind, "gi_frame") is not None
