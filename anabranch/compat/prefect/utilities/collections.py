"""Prefect's functions on collections."""

from __future__ import annotations

import enum
import io
import itertools
import re
from typing import TYPE_CHECKING, Any

from anabranch.compat.prefect.utilities.annotations import quote
from anabranch.compat.prefect.utilities.visiting import StopVisiting, visit_collection

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator

__all__ = [
    "AutoEnum",
    "StopVisiting",
    "batched_iterable",
    "deep_merge",
    "deep_merge_dicts",
    "dict_to_flatdict",
    "distinct",
    "ensure_iterable",
    "extract_instances",
    "flatdict_to_dict",
    "get_from_dict",
    "isiterable",
    "listrepr",
    "quote",
    "remove_nested_keys",
    "set_in_dict",
    "visit_collection",
]


class AutoEnum(str, enum.Enum):  # noqa: UP042 - its text is that of its repr
    """An enumeration of texts: `auto()` makes each member its own name."""

    @staticmethod
    def _generate_next_value_(name: str, *_: object, **__: object) -> str:
        return name

    @staticmethod
    def auto() -> Any:
        return enum.auto()

    def __repr__(self) -> str:
        return f"{type(self).__name__}.{self.value}"

    __str__ = __repr__


def dict_to_flatdict(dct: dict[Any, Any]) -> dict[tuple[Any, ...], Any]:
    """Return a nested dict as a flat one, with tuples of keys; empty dicts stay as values."""
    flat: dict[tuple[Any, ...], Any] = {}
    left: list[tuple[tuple[Any, ...], Any]] = [((), dct)]
    while left:
        path, value = left.pop()
        if isinstance(value, dict) and (value or not path):
            left += [((*path, key), inner) for key, inner in reversed(value.items())]
        else:
            flat[path] = value
    return flat


def flatdict_to_dict(dct: dict[tuple[Any, ...], Any]) -> dict[Any, Any]:
    """Return the nested dict of a flat one."""
    nested: dict[Any, Any] = {}
    for path, value in dct.items():
        place = nested
        for key in path[:-1]:
            place = place.setdefault(key, {})
        place[path[-1]] = value
    return nested


def isiterable(obj: Any) -> bool:
    """Return whether an object has elements to go through; texts, bytes and files do not count."""
    try:
        iter(obj)
    except TypeError:
        return False
    return not isinstance(obj, (str, bytes, io.IOBase))


def ensure_iterable(obj: Any) -> Any:
    """Return a collection as it is, another object as a list of one."""
    return obj if isinstance(obj, (list, tuple, set, frozenset, dict)) else [obj]


def listrepr(objs: Iterable[Any], sep: str = " ") -> str:
    """Return the reprs of objects in a line."""
    return sep.join(map(repr, objs))


def extract_instances(objects: Iterable[Any], types: Any = object) -> Any:
    """Return the objects of one type as a list; of several types, as a dict of lists."""
    wanted = ensure_iterable(types)
    found = {kind: [one for one in objects if isinstance(one, kind)] for kind in wanted} if len(wanted) > 1 else None
    return [one for one in objects if isinstance(one, wanted[0])] if found is None else found


def batched_iterable(iterable: Iterable[Any], size: int) -> Iterator[tuple[Any, ...]]:
    """Yield tuples of at most `size` elements."""
    elements = iter(iterable)
    while batch := tuple(itertools.islice(elements, size)):
        yield batch


def remove_nested_keys(keys_to_remove: list[Any], obj: Any) -> Any:
    """Return a dict without some keys, on every level of dicts."""
    if not isinstance(obj, dict):
        return obj
    return {key: remove_nested_keys(keys_to_remove, value) for key, value in obj.items() if key not in keys_to_remove}


def distinct(iterable: Iterable[Any], key: Callable[[Any], Hashable] | None = None) -> Iterator[Any]:
    """Yield each element once, in order."""
    seen: set[Any] = set()
    for element in iterable:
        mark = element if key is None else key(element)
        if mark not in seen:
            seen.add(mark)
            yield element


def get_from_dict(dct: Any, keys: str | list[str | int], default: Any = None) -> Any:
    """Return the value at a path such as ``a.b[1]``; the default where there is none."""
    path: list[Any] = list(keys) if not isinstance(keys, str) else re.findall(r"[^.\[\]]+", keys)
    for key in path:
        try:
            dct = dct[int(key)] if isinstance(dct, list) else dct[key]
        except (KeyError, IndexError, TypeError, ValueError):
            return default
    return dct


def set_in_dict(dct: dict[str, Any], keys: str | list[str], value: Any) -> None:
    """Set the value at a path; raises TypeError where something on it is no dict."""
    *path, last = keys.split(".") if isinstance(keys, str) else keys
    for key in path:
        if not isinstance(dct.get(key, {}), dict):
            raise TypeError(f"Key path exists and contains a non-dict value: {keys}")
        dct = dct.setdefault(key, {})
    dct[last] = value


def deep_merge(dct: dict[str, Any], merge: dict[str, Any]) -> dict[str, Any]:
    """Return a dict laid over another one, level by level."""
    both = dict(dct)
    for key, value in merge.items():
        old = both.get(key)
        both[key] = deep_merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return both


def deep_merge_dicts(*dicts: dict[str, Any]) -> dict[str, Any]:
    """Return several dicts laid over each other, the last on top."""
    found: dict[str, Any] = {}
    for one in dicts:
        found = deep_merge(found, one)
    return found
