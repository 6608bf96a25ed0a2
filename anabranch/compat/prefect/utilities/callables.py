"""Prefect's functions on functions."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import cloudpickle

from anabranch.compat.prefect.utilities.calls import (
    call_with_parameters,
    collapse_variadic_parameters,
    explode_variadic_parameter,
    get_call_parameters,
    get_parameter_defaults,
    parameters_to_args_kwargs,
    raise_for_reserved_arguments,
)
from anabranch.compat.prefect.utilities.parameter_schemas import (
    ParameterSchema,
    generate_parameter_schema,
    parameter_docstrings,
    parameter_schema,
)
from anabranch.compat.prefect.utilities.sources import parameter_schema_from_entrypoint

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "ParameterSchema",
    "call_with_parameters",
    "cloudpickle_wrapped_call",
    "collapse_variadic_parameters",
    "explode_variadic_parameter",
    "generate_parameter_schema",
    "get_call_parameters",
    "get_parameter_defaults",
    "parameter_docstrings",
    "parameter_schema",
    "parameter_schema_from_entrypoint",
    "parameters_to_args_kwargs",
    "raise_for_reserved_arguments",
]


def cloudpickle_wrapped_call(__fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Callable[[], bytes]:
    """Return a call that any pickler carries; it answers with a pickle of the value."""
    return functools.partial(_call_pickled, cloudpickle.dumps((__fn, args, kwargs)))


def _call_pickled(payload: bytes) -> bytes:
    fn, args, kwargs = cloudpickle.loads(payload)
    return bytes(cloudpickle.dumps(fn(*args, **kwargs)))
