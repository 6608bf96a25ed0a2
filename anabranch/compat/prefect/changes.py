"""Arguments of a flow or task with others laid over, as `with_options` takes them."""

from __future__ import annotations

import dataclasses
import inspect
from typing import TYPE_CHECKING, Any, TypeVar

from anabranch.compat.prefect.utilities.annotations import NotSet

if TYPE_CHECKING:
    from collections.abc import Collection

_Given = TypeVar("_Given", bound=Any)  # a dataclass


def signed(first: str, arguments: Any, without: Collection[str] = ()) -> inspect.Signature:
    """Return the signature of a function that takes arguments by keyword, for `help` and editors.

    Args:
        first: the name of its first parameter.
        arguments: a dataclass of the others.
        without: those of its fields that the function does not take.
    """
    by_place, by_name = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY
    words = [field for field in dataclasses.fields(arguments) if field.name not in without]
    others = [inspect.Parameter(field.name, by_name, default=field.default) for field in words]
    return inspect.Signature([inspect.Parameter(first, by_place), *others])


def changed(given: _Given, kind: str, changes: dict[str, Any], clear: Collection[str]) -> _Given:
    """Return the arguments with changes; NotSet leaves one as it is, and so does None, except where it clears.

    Args:
        kind: "Flow" or "Task", for the error.
        clear: the names for which None is a value.

    Raises TypeError for a name that is no argument.
    """
    known = {field.name for field in dataclasses.fields(given)}
    for name in changes:
        if name not in known:
            raise TypeError(f"{kind}.with_options() got an unexpected keyword argument {name!r}")
    kept = {
        name: value for name, value in changes.items() if value is not NotSet and (value is not None or name in clear)
    }
    return dataclasses.replace(given, **kept)
