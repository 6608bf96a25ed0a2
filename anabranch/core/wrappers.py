"""Wrappers of the standard library that picklers do not take along: `lru_cache`, weak collections and others.

`functools.lru_cache` is pickled by its name alone, which a worker does not have where it stands in the script. Weak
collections, read-only views of dicts and (before Python 3.12) cached properties are refused.
"""

from __future__ import annotations

import contextvars
import functools
import sys
import weakref
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from anabranch.core import variables

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

LRU: Any = type(functools.lru_cache(len))


def _of_cache(value: Any, by_value: Collection[str]) -> Any:
    module = value.__module__
    if isinstance(module, str) and not _travels(module, by_value) and _found(module, value.__qualname__) is value:
        return NotImplemented  # a worker imports it by name
    return cached, (value.__wrapped__, *value.cache_parameters().values())


def cached(fn: Callable[..., Any], maxsize: int | None, typed: bool) -> Any:
    """Make a function's `lru_cache` again, empty."""
    return functools.lru_cache(maxsize, typed)(fn)


def _of_property(value: functools.cached_property[Any], by_value: Collection[str]) -> Any:
    return cached_property, (value.func, value.attrname)


def cached_property(fn: Callable[..., Any], name: str | None) -> Any:
    made = functools.cached_property(fn)
    made.attrname = name
    return made


def _of_mapping(value: Any, by_value: Collection[str]) -> Any:
    return type(value), (dict(value),)


def _of_set(value: weakref.WeakSet[Any], by_value: Collection[str]) -> Any:
    return weakref.WeakSet, (list(value),)


# By type, a function that returns a value for `__reduce__`, or NotImplemented. Its second argument is the set of
# modules that travel by value.
reductions: dict[type, Callable[[Any, Collection[str]], Any]] = {
    LRU: _of_cache,
    functools.cached_property: _of_property,
    weakref.WeakKeyDictionary: _of_mapping,
    weakref.WeakValueDictionary: _of_mapping,
    weakref.WeakSet: _of_set,
    MappingProxyType: _of_mapping,
    contextvars.ContextVar: variables.reduced,
}


def _travels(module: str, by_value: Collection[str]) -> bool:
    return module == "__main__" or any(module == name or module.startswith(f"{name}.") for name in by_value)


def _found(module: str, name: str) -> Any:
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found
