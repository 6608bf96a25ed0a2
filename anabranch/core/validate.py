"""Validating a flow's arguments against its annotations, with pydantic loaded only when asked."""

from __future__ import annotations

import functools
import inspect
import reprlib
import typing
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from anabranch.core.errors import ParameterTypeError
from anabranch.core.params import Binder

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pydantic import TypeAdapter, ValidationError

_SHOWN = reprlib.Repr()
_SHOWN.maxstring = _SHOWN.maxother = 60


def validate_call(
    fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], name: str = ""
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments validated by the annotations of `fn`: coerced, built, checked.

    Raises ParameterBindError when they do not fit the signature, ParameterTypeError when they do not validate.
    """
    return _validator_of(fn, name)(args, kwargs)


class CallValidator:
    """Validates calls of one function; its annotations are resolved once.

    A parameter takes anything if it has no annotation, or one that cannot be resolved or that pydantic does not know. A
    default is validated like an argument; a default of None always holds.
    """

    __slots__ = ("_adapters", "_binder", "_defaults", "_hints", "_name", "_validated")

    def __init__(self, fn: Callable[..., Any], name: str = "") -> None:
        self._binder = Binder(fn, name)
        self._name = self._binder.fn_name
        self._hints = {**_hints(fn, self._binder.signature), **_hints(fn, self._binder.inner)}
        self._adapters = {name: adapter for name, hint in self._hints.items() if (adapter := _adapter(hint))}
        self._defaults = _defaults(self._binder.signature, self._adapters)
        self._validated: dict[str, Any] = {}  # validated defaults that are immutable

    def __call__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the validated arguments; raises ParameterBindError and ParameterTypeError."""
        self._binder.bind(args, kwargs)
        signature = self._binder.fitting(args, kwargs)
        if signature is None or not self._adapters:
            return args, kwargs
        bound = signature.bind(*args, **kwargs)
        faults: list[str] = []
        left = self._defaults.keys() - bound.arguments.keys() if self._defaults else ()
        if left:
            bound.apply_defaults()
        for name in bound.arguments:
            if name in left and name in self._validated:
                bound.arguments[name] = self._validated[name]
            elif name in self._adapters:
                value = bound.arguments[name] = self._parameter(name, bound.arguments[name], faults)
                if name in left and not faults and type(value) in _UNCHANGING:
                    self._validated[name] = value
        if faults:
            count = "1 parameter does" if len(faults) == 1 else f"{len(faults)} parameters do"
            raise ParameterTypeError(f"flow {self._name!r}: {count} not validate:\n  " + "\n  ".join(faults))
        return bound.args, bound.kwargs

    def _parameter(self, name: str, value: Any, faults: list[str]) -> Any:
        if name == self._binder.varargs:
            return tuple(self._value(name, f"{name}[{n}]", v, faults) for n, v in enumerate(value))
        if name == self._binder.varkw:
            return {key: self._value(name, key, v, faults) for key, v in value.items()}
        return self._value(name, name, value, faults)

    def _value(self, name: str, label: str, value: Any, faults: list[str]) -> Any:
        from pydantic import ValidationError

        try:
            return self._adapters[name].validate_python(value)
        except ValidationError as error:
            if value is None and self._defaults.get(name, error) is None:
                return None  # `n: int = None`, as in older code
            faults.append(_told(label, self._hints[name], value, error))
        except Exception as error:  # a validator of the user's own raised
            faults.append(f"{label}: its validator raised {type(error).__name__}: {error}")
        return value


_UNCHANGING = frozenset({int, float, bool, complex, str, bytes, type(None)})


def _defaults(signature: inspect.Signature | None, adapters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the defaults of parameters with an annotation to validate."""
    given = () if signature is None else signature.parameters.values()
    return {p.name: p.default for p in given if p.name in adapters and p.default is not p.empty}


# -- what annotations mean -----------------------------------------------------------------------------


def _hints(fn: Callable[..., Any], signature: inspect.Signature | None) -> dict[str, Any]:
    """Return the resolved annotation of each parameter that has one; Any where it cannot be resolved."""
    if signature is None:
        return {}
    names = _namespace(fn)
    return {
        p.name: _resolved(p.annotation, names)
        for p in signature.parameters.values()
        if p.annotation is not p.empty
    }  # fmt: skip


def _namespace(fn: Any) -> dict[str, Any]:
    """Return the names that a function's annotations may use: its module's, and those it closes over."""
    while True:
        if isinstance(fn, functools.partial):
            fn = fn.func
        elif hasattr(fn, "__wrapped__"):
            fn = fn.__wrapped__
        elif inspect.ismethod(fn):
            fn = fn.__func__
        elif inspect.isclass(fn):
            fn = fn.__init__
        elif not inspect.isfunction(fn) and inspect.isfunction(call := inspect.getattr_static(fn, "__call__", None)):
            fn = call
        else:
            break
    names = dict(getattr(fn, "__globals__", {}))
    code, cells = getattr(fn, "__code__", None), getattr(fn, "__closure__", None) or ()
    for name, cell in zip(code.co_freevars if code is not None else (), cells, strict=False):
        try:
            names[name] = cell.cell_contents
        except ValueError:  # a variable that is not assigned yet
            continue
    return names


def _resolved(annotation: Any, names: Mapping[str, Any]) -> Any:
    # One at a time, so that a name known only to type checkers costs one parameter its check, not all.
    holder = SimpleNamespace(__annotations__={"it": annotation})
    try:
        return typing.get_type_hints(holder, dict(names), include_extras=True)["it"]
    except Exception:
        return Any


def _adapter(hint: Any) -> TypeAdapter[Any] | None:
    """Return pydantic's validator of one annotation; None for Any and for annotations that pydantic refuses."""
    if hint is Any or hint is object:
        return None
    from pydantic import ConfigDict, PydanticUserError, TypeAdapter

    try:
        return TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True))
    except PydanticUserError as error:
        if error.code != "type-adapter-config-unused":
            return None
    except Exception:
        return None
    try:
        return TypeAdapter(hint)  # models, dataclasses and typed dicts bring a config of their own
    except Exception:
        return None


# -- telling -------------------------------------------------------------------------------------------


def _told(label: str, hint: Any, value: Any, error: ValidationError) -> str:
    """Return one line for a parameter: its value, the expected type, and the path to the wrong part."""
    expected = _type_name(hint)
    given = "a hidden value" if "Secret" in expected else _SHOWN.repr(value)
    reasons = []
    for fault in error.errors(include_url=False, include_context=False, include_input=False)[:3]:
        place = ".".join(str(step) for step in fault["loc"])
        reasons.append(f"{place}: {fault['msg']}" if place else fault["msg"])
    more = error.error_count() - len(reasons)
    tail = f" (and {more} more)" if more > 0 else ""
    return f"{label}: got {given} ({type(value).__qualname__}), expected {expected}: {'; '.join(reasons)}{tail}"


def _type_name(hint: Any) -> str:
    if isinstance(hint, type) and not typing.get_args(hint):
        return hint.__qualname__
    return str(hint).replace("typing.", "")


# -- once per function ---------------------------------------------------------------------------------

_validators: WeakKeyDictionary[Any, CallValidator] = WeakKeyDictionary()


def _validator_of(fn: Callable[..., Any], name: str) -> CallValidator:
    try:
        found = _validators.get(fn)
        if found is None or (name and found._name != name):
            found = _validators[fn] = CallValidator(fn, name)
        return found
    except TypeError:  # an object that cannot be hashed or weakly referenced
        return CallValidator(fn, name)
