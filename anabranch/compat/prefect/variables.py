"""Prefect's variables: from the environment, and for this program those that it sets itself."""

from __future__ import annotations

import json
import os
from typing import Any

from anabranch.compat.prefect.utilities.asyncutils import awaited, either

_set: dict[str, Any] = {}


def _get(name: str, default: Any = None) -> Any:
    """Return a variable: one that was set here, else that of the environment, `PREFECT_VARIABLE_NAME` (JSON)."""
    if name in _set:
        return _set[name]
    text = os.environ.get(f"PREFECT_VARIABLE_{name.upper()}")
    if text is None:
        return default
    try:
        return json.loads(text)
    except ValueError:
        return text


def _put(name: str, value: Any, tags: list[str] | None = None, overwrite: bool = False) -> None:
    if name in _set and not overwrite:
        raise ValueError(f"Variable {name!r} already exists. Use `overwrite=True` to update it.")
    _set[name] = value


def _drop(name: str) -> bool:
    return _set.pop(name, None) is not None


class Variable:
    """Values by name, for the life of the program."""

    get, aget = staticmethod(either(_get)), staticmethod(awaited(_get))
    set, aset = staticmethod(either(_put)), staticmethod(awaited(_put))
    unset, aunset = staticmethod(either(_drop)), staticmethod(awaited(_drop))
