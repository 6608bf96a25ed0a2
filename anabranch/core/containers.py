"""What can hold a future: the kinds of containers, and their parts."""

from __future__ import annotations

import dataclasses
import types
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING, Any

from anabranch.core.annotations import Annotation

if TYPE_CHECKING:
    from collections.abc import Iterable

# Exact types whose instances hold nothing: one set look-up instead of a visit.
LEAVES: frozenset[type] = frozenset({
    int, str, bytes, float, bool, type(None), complex, bytearray, memoryview, range, slice, type, type(...),
    types.FunctionType, types.BuiltinFunctionType, types.MethodType, types.ModuleType,
})  # fmt: skip
EXACT: frozenset[type] = frozenset({list, tuple, dict, set, frozenset})  # never futures themselves

OTHER, LIST, TUPLE, DICT, SET, FROZENSET, DATACLASS, MODEL, MARK = range(9)
_BUILTIN = ((list, LIST), (tuple, TUPLE), (dict, DICT), (set, SET), (frozenset, FROZENSET))


@lru_cache(maxsize=1024)
def kind_of(cls: type) -> int:
    """Which of the kinds above the instances of a class are."""
    if issubclass(cls, Annotation):
        return MARK
    for base, kind in _BUILTIN:
        if issubclass(cls, base):
            return kind
    # Asked of the class, never of the instance: mocks and lazy proxies answer yes to everything.
    if callable(getattr(cls, "model_copy", None)) and isinstance(_model_fields(cls), dict):
        return MODEL
    return DATACLASS if dataclasses.is_dataclass(cls) else OTHER


def _model_fields(cls: type) -> Any:
    fields = getattr(cls, "__pydantic_fields__", None)
    return fields if fields is not None else getattr(cls, "model_fields", None)


@lru_cache(maxsize=1024)
def _field_names(cls: type) -> tuple[str, ...]:
    return tuple(f.name for f in dataclasses.fields(cls))


def attributes_of(kind: int, value: Any) -> dict[str, Any]:
    """A dataclass's or model's fields that are set."""
    cls: Any = type(value)
    if kind == DATACLASS:
        return {name: getattr(value, name) for name in _field_names(cls) if hasattr(value, name)}
    fields = _model_fields(cls)
    found = {name: v for name, v in vars(value).items() if name in fields}
    found.update(getattr(value, "__pydantic_extra__", None) or {})
    return found


def parts_of(kind: int, value: Any) -> Iterable[Any]:
    """What a container holds, a dict's keys included."""
    if kind == DICT:
        return chain(value, value.values())
    if kind == MARK:
        return (value.value,)
    if kind in (DATACLASS, MODEL):
        return attributes_of(kind, value).values()
    parts: Iterable[Any] = value
    return parts
