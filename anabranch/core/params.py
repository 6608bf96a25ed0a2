"""Binding a call's arguments to a function's signature, cheaply and with good errors."""

from __future__ import annotations

import inspect
import sys
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from anabranch.core.errors import OptionError, ParameterBindError
from anabranch.core.nearest import nearest

if TYPE_CHECKING:
    from collections.abc import Callable

RESERVED = ("return_state", "wait_for")  # keywords of calls and submits themselves

_BY_POSITION = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class Binder:
    """The parameters of one function; made once per function.

    The called object decides which arguments fit. For a decorated function that is the decorator's wrapper, which may
    pass arguments of its own, or take more. The `inner` signature, of the wrapped function, gives the arguments their
    names wherever they fit it too.

    Raises OptionError when a parameter has a reserved name. A callable without a signature (some builtins) takes
    anything, and has `signature` None.
    """

    __slots__ = (
        "_defaults", "_high", "_low", "fn_name", "has_varargs", "has_varkw", "inner", "names", "positional",
        "required", "signature", "varargs", "varkw",
    )  # fmt: skip

    def __init__(self, fn: Callable[..., Any], name: str = "") -> None:
        self.fn_name: str = name or getattr(fn, "__name__", type(fn).__name__)
        self.signature: inspect.Signature | None
        self.inner: inspect.Signature | None
        self.signature, self.inner = _signatures(fn)
        parameters = list(self.signature.parameters.values()) if self.signature is not None else []
        self.names: tuple[str, ...] = tuple(p.name for p in parameters)
        for taken in RESERVED:
            if taken in self.names:
                raise OptionError(
                    f"{self.fn_name!r} cannot have a parameter named {taken!r}: calls and submits take that keyword "
                    "themselves; rename the parameter"
                )
        self.positional: tuple[str, ...] = tuple(p.name for p in parameters if p.kind in _BY_POSITION)
        needed = (p.name for p in parameters if p.default is p.empty and not _is_variadic(p))
        self.required: tuple[str, ...] = tuple(needed)
        self.varargs: str | None = next((p.name for p in parameters if p.kind is p.VAR_POSITIONAL), None)
        self.varkw: str | None = next((p.name for p in parameters if p.kind is p.VAR_KEYWORD), None)
        self.has_varargs: bool = self.varargs is not None or self.signature is None
        self.has_varkw: bool = self.varkw is not None or self.signature is None
        self._defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
        self._high = sys.maxsize if self.has_varargs else len(self.positional)
        self._low = len([n for n in self.required if n in self.positional])
        if self._low < len(self.required):  # keyword-only parameters are required: positions alone never fit
            self._low = sys.maxsize

    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments unchanged if they fit; raises ParameterBindError."""
        if not kwargs and self._low <= len(args) <= self._high:
            return args, kwargs
        if self.signature is not None:
            self._bound(args, kwargs)
        return args, kwargs

    def as_dict(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """Return the parameters' values by name, in the signature's order, defaults applied; raises ParameterBindError.

        ``*args`` come under their name as a tuple, ``**kwargs`` under theirs as a dict.
        """
        if self.signature is None:
            return {"args": args, "kwargs": kwargs}
        if self.inner is not None:
            found = self._as_inner(self.inner, args, kwargs)
            if found is not None:
                return found
        count = len(args)
        if not kwargs and not self.has_varargs and self._low <= count <= self._high:
            found = dict(zip(self.names, args, strict=False))
            for name in self.names[count:]:
                found[name] = {} if name == self.varkw else self._defaults[name]
            return found
        bound = self._bound(args, kwargs)
        bound.apply_defaults()
        return dict(bound.arguments)

    def call_of(self, parameters: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the (args, kwargs) that `as_dict` was made of."""
        if self.signature is None:
            return parameters["args"], parameters["kwargs"]
        told = self.signature
        if self.inner is not None and not all(name in self.names for name in parameters):
            told = self.inner
        bound = inspect.BoundArguments(told, OrderedDict((n, v) for n, v in parameters.items() if n in told.parameters))
        own = {name: value for name, value in parameters.items() if name not in told.parameters}
        return bound.args, {**bound.kwargs, **own}

    def fitting(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> inspect.Signature | None:
        """Return the signature that names these arguments: the wrapped function's if they fit it, else the caller's."""
        if self.inner is not None:
            try:
                self.inner.bind(*args, **kwargs)
            except TypeError:
                return self.signature
            return self.inner
        return self.signature

    def _as_inner(
        self, inner: inspect.Signature, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> dict[str, Any] | None:
        """Return the arguments by the wrapped function's names, and the wrapper's own; None where they do not fit."""
        own = {name: value for name, value in kwargs.items() if name in self.names and name not in inner.parameters}
        try:
            bound = inner.bind(*args, **{name: value for name, value in kwargs.items() if name not in own})
        except TypeError:
            return None
        bound.apply_defaults()
        return {**bound.arguments, **own}

    def takes(self, name: str) -> bool:
        """Return whether a keyword of this name belongs to the function: as a parameter, or because it takes any."""
        if self.signature is None:
            return False  # it has no signature
        told = self.inner if self.inner is not None else self.signature
        parameters = [*self.signature.parameters.values(), *told.parameters.values()]
        if any(p.name == name and not _is_variadic(p) for p in parameters):
            return True
        return self.has_varkw and any(p.kind is p.VAR_KEYWORD for p in told.parameters.values())

    def label(self, key: int | str) -> str:
        """Return the name of the argument at this position, or of this keyword, for a message."""
        if isinstance(key, str):
            return key
        if self.inner is not None:
            named = [p.name for p in self.inner.parameters.values() if p.kind in _BY_POSITION]
            if key < len(named):
                return named[key]
        if key < len(self.positional):
            return self.positional[key]
        return f"{self.varargs or 'args'}[{key - len(self.positional)}]"

    def _bound(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> inspect.BoundArguments:
        assert self.signature is not None
        try:
            return self.signature.bind(*args, **kwargs)
        except TypeError as error:
            raise ParameterBindError(
                f"{self.fn_name}: {self._fault(str(error), args, kwargs)}; it is called as "
                f"{self.fn_name}{_short(self.signature)}"
            ) from None

    def _fault(self, text: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        unknown = [] if self.has_varkw else [name for name in kwargs if name not in self.names]
        if unknown:
            near = nearest(unknown[0], [n for n in self.names if n not in kwargs])
            return f"got an unexpected argument {unknown[0]!r}" + (f" (did you mean {near!r}?)" if near else "")
        if len(args) > self._high:
            return f"takes at most {self._high} positional arguments, got {len(args)}"
        missing = [n for n in self.required if n not in kwargs and n not in self.positional[: len(args)]]
        if missing and "multiple values" not in text:
            return "missing " + ", ".join(repr(n) for n in missing)
        return text


def _signatures(fn: Callable[..., Any]) -> tuple[inspect.Signature | None, inspect.Signature | None]:
    """Return the callable's signature, and for a wrapper that takes any arguments that of the wrapped function.

    A wrapper without a signature of its own (`functools.lru_cache`) has that of the wrapped function.
    """
    inner, own = _signature(fn, True), _signature(fn, False)
    if own is None or inner is None:
        return inner, None
    mine, theirs = own.parameters.values(), inner.parameters.values()
    if not any(map(_is_variadic, mine)) or [(p.name, p.kind) for p in mine] == [(p.name, p.kind) for p in theirs]:
        return own, None
    return own, inner


def _signature(fn: Callable[..., Any], follow: bool) -> inspect.Signature | None:
    try:
        return inspect.signature(fn, follow_wrapped=follow)
    except (ValueError, TypeError):
        return None


def _is_variadic(parameter: inspect.Parameter) -> bool:
    return parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)


def _short(signature: inspect.Signature) -> str:
    """Return the signature without annotations and without long defaults."""
    shown = []
    for p in signature.parameters.values():
        default = p.default if p.default is p.empty or isinstance(p.default, (int, float, bool, type(None))) else ...
        shown.append(p.replace(annotation=p.empty, default=default))
    return str(signature.replace(parameters=shown, return_annotation=signature.empty)).replace("Ellipsis", "...")
