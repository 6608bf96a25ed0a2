"""An attribute of `prefect.runtime`: from the run around, or for tests from an environment variable."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def _time(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


_READS: dict[type, Callable[[str], Any]] = {
    bool: lambda text: text.lower() == "true",
    int: int,
    float: float,
    str: str,
    datetime: _time,
    type(None): str,
}


def of_context(
    kind: Any, get: Callable[[Any], Any], otherwise: Callable[[], Any] = lambda: None
) -> Callable[[], Any]:
    """Return a reader of the context of this kind around the code that reads.

    Args:
        otherwise: makes the value where there is none around.
    """

    def found() -> Any:
        here = kind.get()
        return otherwise() if here is None else get(here)

    return found


def read(module: str, name: str, fields: Mapping[str, Callable[[], Any]]) -> Any:
    """Return an attribute; an environment variable ``PREFECT__RUNTIME__FLOW_RUN__NAME`` wins.

    Raises:
        AttributeError: there is no such attribute.
        ValueError: it has a type that a text cannot stand for.
    """
    variable = f"PREFECT__RUNTIME__{module.upper()}__{name.upper()}"
    given = os.environ.get(variable)
    if name not in fields:
        if given is None:
            raise AttributeError(f"prefect.runtime.{module} has no attribute {name!r}")
        return given
    found = fields[name]()
    if given is None:
        return found
    if type(found) not in _READS:
        raise ValueError(
            "This runtime context attribute cannot be mocked using an environment variable. Please use monkeypatch "
            "instead."
        )
    return _READS[type(found)](given)
