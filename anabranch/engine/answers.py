"""What a task's function answered, as the value it stands for."""

from __future__ import annotations

from collections.abc import Generator
from itertools import islice
from types import GeneratorType
from typing import Any

from anabranch.core.asking import of_class
from anabranch.core.containers import EXACT
from anabranch.core.context import current_task
from anabranch.core.futures import Future, FutureList
from anabranch.core.walk import fill, lift

LOOKED_AT = 32  # elements of what a task returns that submitted nothing itself

_FUTURES = frozenset({Future, FutureList})


def plain_value(value: Any) -> Any:
    """A generator's items, futures' values at any depth; which of these it is, its type says.

    Futures of others, which got here through a closure or `quote`, are found where they stand at the top of a
    collection: to look through all that tasks return would cost those most that return most.
    """
    kind = type(value)
    if kind is str or kind is bytes:
        return value
    if kind in _FUTURES:
        return value.result()
    if kind is GeneratorType or (kind.__name__ == "generator" and _compiled(kind)):
        value = list(value)
        kind = list
    here = current_task.get()
    if (here is not None and here.submits) or (kind in EXACT and value and _begins_with_futures(kind, value)):
        return _with_values(value)
    return value


def _begins_with_futures(kind: Any, value: Any) -> bool:
    return not _FUTURES.isdisjoint(map(type, islice(value.values() if kind is dict else value, LOOKED_AT)))


def _with_values(value: Any) -> Any:
    lifted, found = lift(value, _is_future)
    return fill(lifted, [future.result(raise_on_failure=not allow) for future, allow in found]) if found else value


def _is_future(value: object) -> bool:
    """A State is an answer of its own."""
    return type(value) in _FUTURES


def _compiled(kind: type) -> bool:
    """Whether these are generators of functions that Cython compiled."""
    return issubclass(kind, Generator) and of_class(kind, "gi_frame") is not None
