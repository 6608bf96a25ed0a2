"""Code in all its forms, and objects that are bound to their process."""

from __future__ import annotations

import contextvars
import functools
import math
import os
import re
import threading
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np

from tests.zoo.animals.keeper import Keeper, kind
from tests.zoo.animals.records import Colour

if TYPE_CHECKING:
    from collections.abc import Callable

_SINK = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - open as long as the process lives


def _scaled(k: int) -> Callable[[int], int]:
    def scale(x: int) -> int:
        return x * k

    return scale


def _referent() -> Any:
    return weakref.ref(Colour)  # what it points to stays


ANIMALS: dict[str, Keeper] = {
    # what is bound to its process
    "weak reference": Keeper(_referent, kind, travels=False),
    "lock": Keeper(threading.Lock, kind, travels=False),
    "event": Keeper(threading.Event, kind, travels=False),
    "open file": Keeper(lambda: _SINK, kind, travels=False),
    "context variable": Keeper(lambda: contextvars.ContextVar("v"), kind),
    "thread-local": Keeper(threading.local, kind, travels=False),
    # code
    "module": Keeper(lambda: math, lambda one: one.__name__),
    "class": Keeper(lambda: Colour, lambda one: one.__name__),
    "function": Keeper(lambda: kind, lambda one: one(3)),
    "lambda": Keeper(lambda: lambda x: x + 1, lambda one: str(one(3))),
    "closure": Keeper(lambda: _scaled(4), lambda one: str(one(3))),
    "partial": Keeper(lambda: functools.partial(_scaled(4), 5), lambda one: str(one())),
    "bound method": Keeper(lambda: [3, 1, 2].index, lambda one: str(one(1))),
    "builtin": Keeper(lambda: len, lambda one: str(one("abc"))),
    "ufunc": Keeper(lambda: np.add, lambda one: str(one(1, 2))),
    "pattern": Keeper(lambda: re.compile("a+"), lambda one: one.pattern),
}
