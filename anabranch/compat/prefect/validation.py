"""Parameters by name, validated as a flow's are."""

from __future__ import annotations

from typing import Any

from anabranch.compat.prefect.exceptions import ParameterTypeError
from anabranch.compat.prefect.utilities.calls import get_call_parameters, parameters_to_args_kwargs
from anabranch.core import errors
from anabranch.core.validate import validate_call


def validated_call(
    fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any], name: str = ""
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments as the annotations of `fn` make them; raises ParameterTypeError."""
    try:
        return validate_call(fn, args, kwargs, name)
    except errors.ParameterTypeError as error:
        raise ParameterTypeError(f"Flow run received invalid parameters:\n - {error}") from None


def validated(fn: Any, parameters: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters as the annotations of `fn` make them; raises ParameterTypeError."""
    args, kwargs = validated_call(fn, *parameters_to_args_kwargs(fn, parameters))
    return get_call_parameters(fn, args, kwargs, apply_defaults=False)
