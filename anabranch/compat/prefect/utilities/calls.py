"""A call of a function as a dict of its parameters, and back; as Prefect has it, with `**kwargs` under their name."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from anabranch.compat.prefect.exceptions import (
    MappingLengthMismatch,
    MappingMissingIterable,
    ParameterBindError,
    ReservedArgumentError,
    SignatureMismatchError,
)
from anabranch.compat.prefect.utilities.annotations import allow_failure, quote, unmapped
from anabranch.compat.prefect.utilities.collections import isiterable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_P = inspect.Parameter


def get_call_parameters(
    fn: Callable[..., Any], call_args: tuple[Any, ...], call_kwargs: dict[str, Any], apply_defaults: bool = True
) -> dict[str, Any]:
    """Return the parameters of a call by name; raises ParameterBindError where the arguments do not fit."""
    owner = getattr(fn, "__prefect_self__", getattr(fn, "__prefect_cls__", None))
    if owner is not None:
        call_args = (owner, *call_args)
    try:
        bound = inspect.signature(fn).bind(*call_args, **call_kwargs)
    except TypeError as error:
        raise ParameterBindError.from_bind_failure(fn, error, call_args, call_kwargs) from None
    if apply_defaults:
        bound.apply_defaults()
    return dict(bound.arguments)


def get_parameter_defaults(fn: Callable[..., Any]) -> dict[str, Any]:
    """Return the defaults of a function's parameters."""
    return {p.name: p.default for p in inspect.signature(fn).parameters.values() if p.default is not _P.empty}


def _varkw(fn: Callable[..., Any]) -> str | None:
    parameters = inspect.signature(fn).parameters.values()
    return next((p.name for p in parameters if p.kind is _P.VAR_KEYWORD), None)


def explode_variadic_parameter(fn: Callable[..., Any], parameters: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters with the content of `**kwargs` beside the others."""
    name = _varkw(fn)
    if name is None:
        return parameters
    rest = {key: value for key, value in parameters.items() if key != name}
    return {**rest, **parameters.get(name, {})}


def collapse_variadic_parameters(fn: Callable[..., Any], parameters: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters with those that the function does not name under the name of its `**kwargs`.

    Raises ValueError where the function has none.
    """
    known = inspect.signature(fn).parameters
    loose = {key: value for key, value in parameters.items() if key not in known}
    if not loose:
        return parameters
    name = _varkw(fn)
    if name is None:
        raise ValueError(
            f"Signature for {fn} does not include any variadic keyword argument but parameters were given that are not "
            "present in the signature."
        )
    return {**{key: value for key, value in parameters.items() if key in known}, name: loose}


def parameters_to_args_kwargs(
    fn: Callable[..., Any], parameters: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments of a call with these parameters; what has a default is given by keyword.

    Raises:
        SignatureMismatchError: the function has no parameter of such a name.
        TypeError: one parameter is given twice.
    """
    signature = inspect.signature(fn)
    if parameters.keys() - signature.parameters.keys():
        raise SignatureMismatchError.from_bad_params(list(signature.parameters), list(parameters))
    starred = any(p.kind is _P.VAR_POSITIONAL for p in signature.parameters.values())
    slots = _slots(fn, signature)
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    taken = 0
    for p in signature.parameters.values():
        if p.name not in parameters:
            starred = starred and p.kind is _P.VAR_POSITIONAL  # none after a gap can go by its place
            slots = 0
            continue
        value = parameters[p.name]
        if p.kind is _P.VAR_POSITIONAL:
            args += value
        elif p.kind is _P.VAR_KEYWORD:
            _check_once(fn, signature, parameters, value)
            kwargs.update(value)
        elif p.kind is _P.POSITIONAL_ONLY:
            args.append(value)
        elif p.kind is _P.POSITIONAL_OR_KEYWORD and (starred or (taken < slots and _by_place(fn, p))):
            args.append(value)
            taken += 1
        else:
            kwargs[p.name] = value
    return tuple(args), kwargs


def _wrapped(fn: Any) -> bool:
    return hasattr(fn, "__wrapped__") or hasattr(getattr(fn, "func", None), "__wrapped__")


def _by_place(fn: Any, p: inspect.Parameter) -> bool:
    return p.default is _P.empty or _wrapped(fn)


def _slots(fn: Any, signature: inspect.Signature) -> int:
    """Return how many parameters can be given by their place: of a wrapper, as many as it has itself."""
    every = len(signature.parameters)
    if not _wrapped(fn):
        return every
    try:
        own = inspect.signature(fn, follow_wrapped=False).parameters.values()
    except (ValueError, TypeError):
        return every
    kinds = [p.kind for p in own]
    if _P.VAR_POSITIONAL in kinds or not {_P.VAR_KEYWORD, _P.KEYWORD_ONLY} & set(kinds):
        return every
    only = sum(p.kind is _P.POSITIONAL_ONLY for p in signature.parameters.values())
    return max(0, sum(kind in (_P.POSITIONAL_ONLY, _P.POSITIONAL_OR_KEYWORD) for kind in kinds) - only)


def _check_once(fn: Any, signature: inspect.Signature, parameters: dict[str, Any], rest: dict[str, Any]) -> None:
    named = {p.name for p in signature.parameters.values() if p.kind is not _P.POSITIONAL_ONLY}
    twice = sorted(rest.keys() & parameters.keys() & (named - {_varkw(fn)}))
    if twice:
        name = getattr(fn, "__name__", type(fn).__name__)
        raise TypeError(f"{name}() got multiple values for argument(s): {', '.join(twice)}")


def call_with_parameters(fn: Callable[..., Any], parameters: dict[str, Any]) -> Any:
    """Call a function with parameters by name."""
    args, kwargs = parameters_to_args_kwargs(fn, parameters)
    return fn(*args, **kwargs)


def raise_for_reserved_arguments(fn: Callable[..., Any], reserved_arguments: Iterable[str]) -> None:
    """Raise ReservedArgumentError for a function with a parameter of such a name."""
    known = inspect.signature(fn).parameters
    for name in reserved_arguments:
        if name in known:
            raise ReservedArgumentError(f"{name!r} is a reserved argument name and cannot be used.")


def mapping_error(fn: Callable[..., Any], parameters: dict[str, Any]) -> MappingMissingIterable | MappingLengthMismatch:
    """Return the reason why these parameters cannot be mapped over."""
    lengths: dict[str, int] = {}
    for name, value in explode_variadic_parameter(fn, parameters).items():
        while isinstance(value, (allow_failure, quote)):
            value = value.value
        if not isinstance(value, unmapped) and isiterable(value):
            lengths[name] = len(list(value))
    if not lengths:
        return MappingMissingIterable(
            "No iterable parameters were received. Parameters for map must include at least one iterable. "
            f"Parameters: {parameters}"
        )
    return MappingLengthMismatch(
        "Received iterable parameters with different lengths. Parameters for map must all be the same length. "
        f"Got lengths: {lengths}"
    )
