"""Classes by the keys under which they are known to their base."""

from __future__ import annotations

from typing import Any

_registries: dict[type, dict[str, type]] = {}


def register_base_type(cls: Any) -> Any:
    """Begin a register of the subclasses of this class."""
    _registries.setdefault(cls, {})
    return cls


def get_registry_for_type(cls: type) -> dict[str, type] | None:
    """Return the register that a class is in; None where it is in none."""
    return next((_registries[base] for base in cls.__mro__ if base in _registries), None)


def register_type(cls: Any) -> Any:
    """Put a class into its register under its key."""
    key, registry = get_dispatch_key(cls), get_registry_for_type(cls)
    if registry is not None and key:
        registry[key] = cls
    return cls


def get_dispatch_key(cls: Any) -> str | None:
    """Return the key of a class; None where it has none."""
    found = cls.__dispatch_key__()
    return found if isinstance(found, str) else None


def lookup_type(cls: type, dispatch_key: str) -> type:
    """Return the class of a key; raises KeyError."""
    registry = get_registry_for_type(cls) or {}
    if dispatch_key not in registry:
        raise KeyError(f"No class found for dispatch key {dispatch_key!r} in registry for type {cls.__name__!r}.")
    return registry[dispatch_key]
