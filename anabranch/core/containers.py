"""Containers that can hold a future: their kinds and their parts."""

from __future__ import annotations

import dataclasses
import gc
import types
from collections import ChainMap, UserDict, UserList, deque
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING, Any

from anabranch.core.annotations import Annotation
from anabranch.core.asking import MISSING, attribute, of_class
from anabranch.core.future_lists import LISTS, FutureList
from anabranch.core.future_sets import FutureSet
from anabranch.core.states import StateSequence

if TYPE_CHECKING:
    from collections.abc import Iterable

# Exact types without parts: one set look-up instead of a visit.
LEAVES: frozenset[type] = frozenset({
    int, str, bytes, float, bool, type(None), complex, bytearray, memoryview, range, slice, type, type(...),
    types.FunctionType, types.BuiltinFunctionType, types.MethodType, types.ModuleType,
})  # fmt: skip
# The immutable ones among them; a built-in method is left out because it has an object.
FIXED = LEAVES - {bytearray, memoryview, types.BuiltinFunctionType, types.MethodType, types.ModuleType}
EXACT: frozenset[type] = frozenset({list, tuple, dict, set, frozenset})  # never futures themselves

OTHER, LIST, TUPLE, DICT, SET, FROZENSET, DEQUE = range(7)
FIELDS, NAMESPACE, MODEL, VIEW, ITERATOR, STEPS, SEVERAL, MARK = range(7, 15)
_BUILTIN: tuple[tuple[type, int], ...] = (
    (list, LIST), (tuple, TUPLE), (dict, DICT), (set, SET), (frozenset, FROZENSET), (deque, DEQUE),
    (StateSequence, SEVERAL), (FutureSet, SEVERAL),
)  # fmt: skip
# Iterators that show their content without being advanced.
_LOOKED_THROUGH = frozenset({
    zip, enumerate, reversed, type(iter([])), type(iter(())), type(reversed([])), type(iter(set())), type(iter({})),
    type(iter({}.values())), type(iter({}.items())), type(iter(deque())),
})  # fmt: skip
_ENDLESS = (zip, enumerate, reversed)  # unless the iterators inside end
# Fields of classes that are neither dataclasses nor attrs classes.
_HOLDERS = ((UserDict, ("data",)), (UserList, ("data",)), (ChainMap, ("maps",)))


class Steps:
    """The elements of an iterator, with holes for values to come; filling them gives a new iterator each time."""

    __slots__ = ("items",)

    def __init__(self, items: list[Any]) -> None:
        self.items = items


@lru_cache(maxsize=1024)
def kind_of(cls: Any) -> int:
    """Return the kind, of those above, that the instances of a class have."""
    if issubclass(cls, Annotation):
        return MARK
    if cls is Steps:
        return STEPS
    for base, kind in _BUILTIN:
        if issubclass(cls, base):
            return kind
    # The class is asked, never the instance: mocks and lazy proxies answer yes to everything.
    if callable(of_class(cls, "model_copy")) and type(_model_fields(cls)) is dict:
        return MODEL
    if _field_names(cls):
        return FIELDS
    if issubclass(cls, types.SimpleNamespace) or any(_is_parsed(base) for base in cls.__mro__):
        return NAMESPACE
    if cls is types.MappingProxyType:
        return VIEW
    return ITERATOR if cls in _LOOKED_THROUGH or cls is types.GeneratorType else OTHER


def _is_parsed(cls: type) -> bool:
    """Return whether it is `argparse.Namespace`, without importing argparse."""
    return cls.__name__ == "Namespace" and cls.__module__ == "argparse"


def _model_fields(cls: type) -> Any:
    return of_class(cls, "__pydantic_fields__", of_class(cls, "model_fields"))


@lru_cache(maxsize=1024)
def _field_names(cls: Any) -> tuple[str, ...]:
    """Return the field names of a dataclass, an attrs class, or a class that wraps a container."""
    found = of_class(cls, "__dataclass_fields__")
    if type(found) is dict:
        return tuple(f.name for f in dataclasses.fields(cls))
    found = of_class(cls, "__attrs_attrs__")
    if isinstance(found, tuple):
        return tuple(field.name for field in found)
    return next((names for base, names in _HOLDERS if issubclass(cls, base)), ())


def attributes_of(kind: int, value: Any) -> dict[str, Any]:
    """Return the attributes of an object that are set."""
    cls: Any = type(value)
    if kind == FIELDS:
        found = {name: attribute(value, name, MISSING) for name in _field_names(cls)}
        return {name: v for name, v in found.items() if v is not MISSING}
    held: dict[str, Any] = attribute(value, "__dict__") or {}
    if kind == NAMESPACE:
        return dict(held)
    fields = _model_fields(cls)
    found = {name: v for name, v in held.items() if name in fields}
    found.update(attribute(value, "__pydantic_extra__") or {})
    return found


def parts_of(kind: int, value: Any) -> Iterable[Any]:
    """Return a container's parts, a dict's keys included, as its builtin base has them; overrides are not called."""
    if kind == DICT:
        return chain(dict.__iter__(value), dict.values(value))
    if kind == LIST:
        return list.__iter__(value)
    if kind == TUPLE:
        return tuple.__iter__(value)
    if kind == SEVERAL:  # its parts are made on demand
        several: Iterable[Any] = value
        return several
    if kind == MARK:
        return (value.value,)
    if kind in (FIELDS, NAMESPACE, MODEL):
        return attributes_of(kind, value).values()
    if kind == ITERATOR:
        return behind(value) if ends(value) else ()
    if kind == VIEW:
        return behind(value)
    if kind == STEPS:
        return (value.items,)
    base: Any = {SET: set, FROZENSET: frozenset, DEQUE: deque}[kind]
    parts: Iterable[Any] = base.__iter__(value)
    return parts


def ends(iterator: Any) -> bool:
    """Return whether an iterator of this kind ends, without any foreign code running on the way."""
    kind = type(iterator)
    if kind is types.GeneratorType:
        return _future_list_of(iterator) is not None
    if kind not in _LOOKED_THROUGH:
        return False
    if kind not in _ENDLESS:
        return True
    for part in behind(iterator):
        cls: Any = type(part)
        if cls in EXACT or cls is deque or cls in LISTS or (kind_of(cls) == ITERATOR and ends(part)):
            return True
    return False


def behind(value: Any) -> Iterable[Any]:
    """Return the object behind an iterator or a view, without advancing it."""
    kind = type(value)
    if kind is types.GeneratorType:
        found = _future_list_of(value)
        return () if found is None else (found,)
    if kind in _ENDLESS:
        inner: tuple[Any, ...] = value.__reduce__()[1]
        return inner
    return gc.get_referents(value)


def _future_list_of(generator: Any) -> FutureList | None:
    """Return the future list that a generator iterates over."""
    if generator.gi_code is not FutureList.__iter__.__code__ or generator.gi_frame is None:
        return None
    found: FutureList = generator.gi_frame.f_locals["self"]
    return found
