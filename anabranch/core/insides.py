"""The insides of objects, read without running any of their code."""

from __future__ import annotations

import functools
from types import MemberDescriptorType
from typing import Any

from anabranch.core.asking import is_a

_PACKAGE = __name__.partition(".")[0]


def attributes_of(value: Any) -> dict[str, Any]:
    """Return an object's attributes: those in its slots and in its own dict."""
    found: dict[str, Any] = {}
    for kind in reversed(type(value).__mro__):
        for name, member in vars(kind).items():
            if is_a(member, MemberDescriptorType):
                try:
                    found[name] = member.__get__(value)
                except (AttributeError, TypeError):  # not set, or not a slot of this object
                    continue
    found.update(dict_of(value))
    return found


def dict_of(value: Any) -> dict[str, Any]:
    """Return an object's own dict, an empty one where it has none."""
    try:
        found = object.__getattribute__(value, "__dict__")
    except Exception:  # a property of that name raised
        return {}
    return found if type(found) is dict else {}


def wrapped_in(value: Any) -> Any:
    """Return the function inside a task, a flow, or a wrapper of `functools.wraps` or `lru_cache`; else None."""
    inside = dict_of(value)
    if type(value).__module__.partition(".")[0] == _PACKAGE:
        return inside.get("plain_fn", inside.get("fn"))
    return inside.get("__wrapped__")


def opened(value: Any) -> Any:
    """Return the function or value inside a descriptor of a class."""
    if is_a(value, staticmethod, classmethod):
        return value.__func__
    if is_a(value, property):
        return (value.fget, value.fset, value.fdel)
    return value.func if is_a(value, functools.cached_property) else value
