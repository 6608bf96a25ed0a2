"""Parameters as JSON: what a document, an order and a form in a browser hold.

    Secret("KEY")                            {"$secret": "KEY"}, and a Secret again for the driver
    a date, a path, a model of pydantic ...  as pydantic writes them; the flow's annotations read them back
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Set
from functools import cache
from typing import Any

from anabranch.core.errors import DeploymentError
from anabranch.core.secrets import NAMED, Secret

MOST = 100_000  # values in one document; a few lines of YAML with anchors may stand for more than a memory holds
DEEPEST = 50
_SECRETS = ("SecretStr", "SecretBytes")  # of pydantic


def plain(value: Any, place: str = "parameters") -> Any:
    """Return a value as JSON has it.

    Raises:
        DeploymentError: it cannot be written as JSON, is too large, or is a secret's own text; names the place.
    """
    return _Writer().written(value, place, 0)


class _Writer:
    """Writes one value; counts its parts."""

    def __init__(self) -> None:
        self._left = MOST

    def written(self, value: Any, place: str, depth: int) -> Any:
        self._left -= 1
        if self._left < 0:
            raise DeploymentError(f"{place}: there are more than {MOST:,} values; store them, and give their address")
        if depth > DEEPEST:
            raise DeploymentError(f"{place}: it is more than {DEEPEST} deep")
        if isinstance(value, float) and not math.isfinite(value):
            raise DeploymentError(f"{place}: {value} is no number of JSON; leave it out, or give a text")
        if value is None or type(value) in (str, bool, int, float):
            return value
        if isinstance(value, Secret):
            return {NAMED: value.name}
        if _is_secret(value):
            raise DeploymentError(f"{place}: a deployment keeps no secrets; give Secret('NAME'), which travels by name")
        if isinstance(value, Mapping):
            return {str(key): self.written(one, f"{place}.{key}", depth + 1) for key, one in value.items()}
        if isinstance(value, list | tuple | Set):
            return [self.written(one, f"{place}[{n}]", depth + 1) for n, one in enumerate(value)]
        return self.written(_dumped(value, place), place, depth + 1)


def _is_secret(value: Any) -> bool:
    """Return whether a value is a secret of pydantic; where that was never loaded, no value is."""
    pydantic = sys.modules.get("pydantic")
    return pydantic is not None and isinstance(value, tuple(getattr(pydantic, name) for name in _SECRETS))


@cache
def _any() -> Any:
    """Return what writes any value that pydantic knows; loaded by the first that is not plain already."""
    from pydantic import TypeAdapter

    return TypeAdapter(Any)


def _dumped(value: Any, place: str) -> Any:
    try:
        return _any().dump_python(value, mode="json")
    except Exception as error:  # a serializer of the user's own may raise anything
        raise DeploymentError(f"{place}: {type(value).__qualname__} cannot be written as JSON: {error}") from None
