"""Parameters by name, validated as a flow's are."""

from __future__ import annotations

from typing import Any

from anabranch.compat.prefect.exceptions import ParameterTypeError
from anabranch.compat.prefect.utilities.calls import get_call_parameters, parameters_to_args_kwargs
from anabranch.core import errors
from anabranch.core.validate import validate_call


def validated(fn: Any, parameters: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters as the annotations of `fn` make them; raises ParameterTypeError."""
    args, kwargs = parameters_to_args_kwargs(fn, parameters)
    try:
        args, kwargs = validate_call(fn, args, kwargs)
    except errors.ParameterTypeError as error:
        raise ParameterTypeError(f"Flow run received invalid parameters:\n - {error}") from None
    return get_call_parameters(fn, args, kwargs, apply_defaults=False)
