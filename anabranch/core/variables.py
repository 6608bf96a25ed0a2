"""Context variables that travel with the functions that read them: elsewhere such a variable begins with its value.

    script:  REQ.set("r-17"); t.submit()  -->  REQ is pickled with the value that it has there
    worker:  REQ.get() == "r-17"; REQ.set(...) counts for its chunk of runs alone

A variable has no place by which another process could find it, so each has a number in the process that it comes from.
"""

from __future__ import annotations

import contextvars
import itertools
import threading
from typing import TYPE_CHECKING, Any

from anabranch.core import forks
from anabranch.core.processes import process_token

if TYPE_CHECKING:
    from collections.abc import Collection

    Made = tuple[list[Any] | None, contextvars.ContextVar[Any]]  # the value it began with; None: it is of this process
_PLAIN = frozenset({str, bytes, int, float, bool, type(None)})


class _Known:
    """The variables that have come or gone; variables live as long as their process does."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.numbers: dict[contextvars.ContextVar[Any], tuple[str, int]] = {}
        self.made: dict[tuple[str, int], Made] = {}
        self.next = itertools.count(1)


_known = _Known()


def _in_a_copy() -> None:
    _known.lock = threading.Lock()


forks.in_copies(_in_a_copy)


def values_of(variable: contextvars.ContextVar[Any]) -> list[Any]:
    """The value that it has in this context, if any."""
    try:
        return [variable.get()]
    except LookupError:
        return []


def reduced(variable: contextvars.ContextVar[Any], by_value: Collection[str]) -> Any:
    """How a variable is made again, as `__reduce__` tells it."""
    with _known.lock:
        key = _known.numbers.get(variable)
        if key is None:
            key = _known.numbers[variable] = (process_token(), next(_known.next))
            _known.made[key] = (None, variable)
    return arrived, (key, variable.name, values_of(variable))


def arrived(key: tuple[str, int], name: str, values: list[Any]) -> contextvars.ContextVar[Any]:
    """The variable here: one that came home is itself; elsewhere the one made before, if it began with this value."""
    with _known.lock:
        before, variable = _known.made.get(key, ([], None))
        if variable is not None and (before is None or _plainly_equal(before, values)):
            return variable
        if variable is not None:
            del _known.numbers[variable]
        # One that is made here is no module's: nothing else than what travels has it.
        made: contextvars.ContextVar[Any] = contextvars.ContextVar(name, **({"default": values[0]} if values else {}))
        _known.made[key], _known.numbers[made] = (values, made), key
        return made


def _plainly_equal(one: list[Any], other: list[Any]) -> bool:
    """Whether both are empty, or hold the same text, number or the like; other values are not asked."""
    if not one or not other:
        return not one and not other
    return type(one[0]) is type(other[0]) and type(one[0]) in _PLAIN and one == other
