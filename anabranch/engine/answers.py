"""The return value of a task's function, turned into the value to keep."""

from __future__ import annotations

from collections.abc import Generator
from itertools import islice
from types import GeneratorType
from typing import Any

from anabranch.core.asking import of_class
from anabranch.core.context import current_task
from anabranch.core.futures import HANDLES
from anabranch.core.walk import fill, lift

LOOKED_AT = 4  # first elements that are searched, in the value of a task that submitted nothing itself


def plain_value(value: Any) -> Any:
    """Return the value to keep: a generator's items as a list, values in place of futures at any depth.

    Futures that the task did not submit, which came in through a closure or `quote`, are found among the first elements
    of a collection only: a full search would cost tasks with large results most.
    """
    kind = type(value)
    if kind is str or kind is bytes:
        return value
    if kind is list or kind is tuple:
        first = value[:LOOKED_AT]
    elif kind is dict:
        first = islice(value.values(), LOOKED_AT)
    elif kind in HANDLES:
        return value.result()
    elif kind is GeneratorType or (kind.__name__ == "generator" and _compiled(kind)):
        first = value = list(value)
    else:
        first = ()
    here = current_task.get()
    if (here is not None and here.submits) or (first and not HANDLES.isdisjoint(map(type, first))):
        return _with_values(value)
    return value


def _with_values(value: Any) -> Any:
    lifted, found = lift(value, _is_future)
    return fill(lifted, [future.result(raise_on_failure=not allow) for future, allow in found]) if found else value


def _is_future(value: object) -> bool:
    """Return whether a value is a future; a State is not, because it has a meaning of its own."""
    return type(value) in HANDLES


def _compiled(kind: type) -> bool:
    """Return whether this is the generator type of functions that Cython compiled."""
    return issubclass(kind, Generator) and of_class(kind, "gi_frame") is not None
