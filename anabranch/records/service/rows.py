"""Rows of the service's tables and the dataclasses of the contract: columns stand in the order of the fields.

Lists and objects are JSON, truths are 0 and 1, as schema/0008_service.sql has them.
"""

from __future__ import annotations

import json
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

from anabranch.core.orders import OrderState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    _Change = Callable[[Any], Any] | None
    _Column = tuple[str, _Change, _Change]  # the field, what makes the column of a value, and the value of a column

Row = TypeVar("Row")

_known: dict[Any, list[_Column]] = {}  # by dataclass


def values(row: Any, *without: str) -> tuple[Any, ...]:
    """Return the columns of a dataclass in the order of its fields, some left out."""
    return tuple(
        getattr(row, name) if change is None else change(getattr(row, name))
        for name, change, _ in _columns(type(row))
        if name not in without
    )


def made(kind: type[Row], columns: Sequence[Any]) -> Row:
    """Return the dataclass of a row with all its columns, or its first ones."""
    pairs = zip(_columns(kind), columns, strict=False)
    return kind(**{name: value if change is None else change(value) for (name, _, change), value in pairs})


def all_made(kind: type[Row], rows: Iterable[Sequence[Any]]) -> list[Row]:
    return [made(kind, row) for row in rows]


def to_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _columns(kind: Any) -> list[_Column]:
    if kind not in _known:
        _known[kind] = [(field.name, *_changes(str(field.type))) for field in fields(kind)]
    return _known[kind]


def _changes(annotation: str) -> tuple[_Change, _Change]:
    """Return what makes a column of a value, and a value of a column."""
    if annotation.startswith("tuple"):
        return to_json, _tuple
    if annotation.startswith("dict"):
        return to_json, json.loads
    if annotation == "OrderState":
        return int, OrderState
    if annotation == "bool":
        return int, bool
    if annotation == "bool | None":
        return _maybe_int, _maybe_bool
    return None, None


def _tuple(text: str) -> tuple[Any, ...]:
    return tuple(json.loads(text))


def _maybe_int(value: bool | None) -> int | None:
    return None if value is None else int(value)


def _maybe_bool(value: int | None) -> bool | None:
    return None if value is None else bool(value)
