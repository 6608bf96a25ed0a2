"""Objects by their dotted names."""

from __future__ import annotations

import importlib
from typing import Any


def to_qualified_name(obj: Any) -> str:
    """Return the dotted name of a class or function."""
    return f"{obj.__module__}.{obj.__qualname__}"


def from_qualified_name(name: str) -> Any:
    """Return the object of a dotted name; raises ImportError and AttributeError."""
    try:
        return importlib.import_module(name)
    except ImportError:
        module, _, attribute = name.rpartition(".")
        if not module:
            raise
    return getattr(importlib.import_module(module), attribute)
