"""Objects of the standard library round a function, or round what lives, that no pickler takes along as they are.

`functools.lru_cache` is pickled by its name alone, which a worker has not where that stands in the script; weak
collections, read-only views of dicts and (before Python 3.12) cached properties are refused.
"""

from __future__ import annotations

import functools
import sys
import weakref
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

LRU: Any = type(functools.lru_cache(len))


def _of_cache(value: Any, by_value: Collection[str]) -> Any:
    module = value.__module__
    if isinstance(module, str) and not _travels(module, by_value) and _found(module, value.__qualname__) is value:
        return NotImplemented  # a worker imports it
    return cached, (value.__wrapped__, *value.cache_parameters().values())


def cached(fn: Callable[..., Any], maxsize: int | None, typed: bool) -> Any:
    """A function's `lru_cache`, empty."""
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


# By type, how one is made again, as `__reduce__` tells it, or NotImplemented; the second argument are the modules
# whose functions travel by value.
reductions: dict[type, Callable[[Any, Collection[str]], Any]] = {
    LRU: _of_cache,
    functools.cached_property: _of_property,
    weakref.WeakKeyDictionary: _of_mapping,
    weakref.WeakValueDictionary: _of_mapping,
    weakref.WeakSet: _of_set,
    MappingProxyType: _of_mapping,
}


def _travels(module: str, by_value: Collection[str]) -> bool:
    return module == "__main__" or any(module == name or module.startswith(f"{name}.") for name in by_value)


def _found(module: str, name: str) -> Any:
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found
