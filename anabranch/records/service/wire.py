"""Rows as JSON and back, by the types of their dataclasses.

An object has a field for each of the dataclass's. What is missing has its default, and what is not known is dropped:
within one version of the API there are only additions, and either side may be the newer one.
"""

from __future__ import annotations

import math
import types
import typing
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from anabranch.core.errors import ServiceError

if TYPE_CHECKING:
    from collections.abc import Callable


def dump(value: Any) -> Any:
    """Return a value as JSON takes it; raises ServiceError for a number that is not finite, which JSON cannot have."""
    if is_dataclass(value) and not isinstance(value, type):
        return {name: dump(getattr(value, name)) for name in _names(type(value))}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, (list, tuple)):
        return [dump(one) for one in value]
    if isinstance(value, dict):
        return {key: dump(one) for key, one in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        raise ServiceError(f"{value} cannot be sent: numbers must be finite")
    return value


def load(kind: Any, data: Any) -> Any:
    """Return the value of this type that JSON stands for.

    Raises:
        ServiceError: the JSON does not fit the type; says where.
    """
    try:
        _check_finite(data)
        return _loader(kind)(data)
    except (KeyError, OverflowError, TypeError, ValueError) as error:
        raise ServiceError(f"this is no {getattr(kind, '__name__', kind)} as it travels: {error}") from None


def _check_finite(data: Any) -> None:
    """Raise ValueError where a number in JSON is not finite: Python reads such ones, and others refuse them."""
    left = [data]
    while left:
        one = left.pop()
        if isinstance(one, dict):
            left.extend(one.values())
        elif isinstance(one, list):
            left.extend(one)
        elif isinstance(one, float) and not math.isfinite(one):
            raise ValueError(f"{one} is among its numbers, which must be finite")


def unknown(kind: Any, data: Any, place: str = "") -> list[str]:
    """Return the fields in JSON that the type does not have, as paths."""
    origin = typing.get_origin(kind)
    arguments = typing.get_args(kind)
    if is_dataclass(kind) and isinstance(data, dict):
        hints = _hints(typing.cast("type", kind))
        found = [f"{place}{name}" for name in data if name not in hints]
        for name, hint in hints.items():
            if data.get(name):
                found += unknown(hint, data[name], f"{place}{name}.")
        return found
    if origin in (list, tuple) and isinstance(data, list):
        return [path for one in data for path in unknown(arguments[0], one, place)]
    if origin in (typing.Union, types.UnionType):
        return [path for one in arguments for path in unknown(one, data, place)]
    return []


@cache
def _names(kind: type) -> tuple[str, ...]:
    return tuple(one.name for one in fields(kind))


@cache
def _hints(kind: type) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    return {name: hints[name] for name in _names(kind)}


@cache
def _loader(kind: Any) -> Callable[[Any], Any]:
    """Return the function that makes values of a type; dataclasses may contain themselves not."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if is_dataclass(kind):
        return _dataclass_loader(typing.cast("type", kind))
    if origin in (typing.Union, types.UnionType):
        inner = _loader(next(one for one in arguments if one is not types.NoneType))
        return lambda data: None if data is None else inner(data)
    if origin in (list, tuple):
        one = _loader(arguments[0])
        return lambda data: origin(map(one, data)) if isinstance(data, list) else _refuse(data, "a list")
    if origin is Literal or kind is Any:
        return lambda data: data
    if origin is dict or kind is dict:
        return lambda data: data if isinstance(data, dict) else _refuse(data, "an object")
    if kind is float:
        return lambda data: float(data) if isinstance(data, (int, float)) else _refuse(data, "a number")
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind
    return lambda data: data if isinstance(data, kind) else _refuse(data, kind.__name__)


def _dataclass_loader(kind: type) -> Callable[[Any], Any]:
    loaders = {name: _loader(hint) for name, hint in _hints(kind).items()}
    needed = [one.name for one in fields(kind) if one.default is MISSING and one.default_factory is MISSING]

    def made(data: Any) -> Any:
        if not isinstance(data, dict):
            _refuse(data, "an object")
        for name in needed:
            if name not in data:
                raise ValueError(f"{kind.__name__} has no {name!r}")
        return kind(**{name: one(data[name]) for name, one in loaders.items() if name in data})

    return made


def _refuse(data: Any, wanted: str) -> Any:
    raise TypeError(f"{wanted} is expected in place of {str(data)[:60]!r}")
