"""Objects that JSON has no form for, as JSON and back."""

from __future__ import annotations

import io
from typing import Any

from pydantic import TypeAdapter
from pydantic_core import to_jsonable_python

from anabranch.compat.prefect.utilities.importtools import from_qualified_name, to_qualified_name


def encoded(obj: Any) -> Any:
    """Return an object in the form of a dict of JSON, with its class; raises TypeError for what has none."""
    kind = type(obj)
    if isinstance(obj, BaseException):
        return {"__exc_type__": to_qualified_name(kind), "message": str(obj)}
    if isinstance(obj, io.IOBase):
        told = f"type={kind.__name__}, repr={obj!r} (original content not read)"
        return {"__class__": to_qualified_name(kind), "data": f"<Prefect IOStream Placeholder: {told}>"}
    generic = getattr(kind, "__pydantic_generic_metadata__", {}).get("origin")
    try:
        data = to_jsonable_python(obj, bytes_mode="utf8")
    except ValueError as error:
        raise TypeError(str(error)) from None
    return {"__class__": to_qualified_name(generic or kind), "data": data}


def decoded(found: dict[str, Any]) -> Any:
    """Return the object of a dict that `encoded` made; another dict as it is.

    Raises ValueError for the name of something that is no exception in its place.
    """
    if "__class__" in found:
        try:
            kind = from_qualified_name(found["__class__"])
        except (ImportError, AttributeError, ValueError):
            return found
        return TypeAdapter(kind).validate_python(found["data"])
    if "__exc_type__" not in found:
        return found
    name = found["__exc_type__"]
    try:
        kind = from_qualified_name(name)
    except (ImportError, AttributeError, ValueError):
        kind = None
    if not (isinstance(kind, type) and issubclass(kind, BaseException)):
        raise ValueError(f"Invalid exception type: {name!r}")
    return kind(found["message"])
