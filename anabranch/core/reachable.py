"""The function of a task or flow under a name by which pickle finds it: `work.fn`, since `work` is the task.

The plain function has the name that the task has taken, so pickle would find the task there, and refuse. Users get
from `.fn` a function with the same code and the other name; this package does not use it.
"""

from __future__ import annotations

import sys
from types import FunctionType
from typing import Any

STEP = ".fn"
_MARK = "__anabranch_reached__"


def reachable(whole: Any, fn: Any) -> Any:
    """Return the function of a task or flow, named `NAME.fn` where the task stands in its module under `NAME`."""
    if type(fn) is not FunctionType or "<" in fn.__qualname__ or not _is_found(whole, fn):
        return fn
    kept = vars(whole).get("_reached")
    if kept is not None and kept[0] is fn:
        return kept[1]
    found = FunctionType(fn.__code__, fn.__globals__, fn.__name__, fn.__defaults__, fn.__closure__)
    for name in ("__kwdefaults__", "__annotations__", "__doc__", "__module__", "__type_params__"):
        if hasattr(fn, name):
            setattr(found, name, getattr(fn, name))
    vars(found).update(vars(fn))
    vars(found)[_MARK] = True
    found.__qualname__ = fn.__qualname__ + STEP
    whole._reached = (fn, found)
    return found


def plain(fn: Any) -> Any:
    """Return the plain function behind one of `reachable`, which may have come here by value."""
    if type(fn) is not FunctionType or _MARK not in vars(fn):
        return fn
    name = fn.__qualname__.removesuffix(STEP)
    there = getattr(_at(fn.__module__, name), "plain_fn", None)
    if type(there) is FunctionType and there.__code__ is fn.__code__:
        return there
    del vars(fn)[_MARK]
    fn.__qualname__ = name
    return fn


def _is_found(whole: Any, fn: FunctionType) -> bool:
    return _at(fn.__module__, fn.__qualname__) is whole


def _at(module: str, name: str) -> Any:
    there: Any = sys.modules.get(module)
    for part in name.split("."):
        there = getattr(there, part, None)
    return there
