"""Arguments bound as ours binds them, with Prefect's error where they do not fit."""

from __future__ import annotations

from typing import Any, Protocol

from anabranch.compat.prefect.exceptions import ParameterBindError
from anabranch.compat.prefect.utilities.calls import get_call_parameters
from anabranch.core import errors


class _Callee(Protocol):
    @property
    def plain_fn(self) -> Any: ...
    @property
    def binder(self) -> Any: ...


def bound(
    callee: _Callee, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments; raises ParameterBindError where they do not fit."""
    try:
        callee.binder.bind(args, kwargs)
    except errors.ParameterBindError as error:
        get_call_parameters(callee.plain_fn, args, kwargs)
        raise ParameterBindError(str(error)) from None
    return args, kwargs
