"""The path to the part of a value that cannot be pickled: ``value['config'].lock`` instead of a bare refusal."""

from __future__ import annotations

import dataclasses
from functools import partial
from types import FunctionType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any

from anabranch.core.asking import attribute, is_a, shown, text
from anabranch.core.errors import SerializationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_DEEPEST = 50
_WAY_OUT = "; make it inside the task, or move it and the functions that use it into a module that the script imports"


def culprit_path(value: Any, dumps: Callable[[Any], Any], where: str = "value") -> str:
    """Return the path to the innermost part of `value` that `dumps` refuses; `where` when no part is to blame.

    It looks into containers, the state that objects save, partials, methods, closures, defaults and the globals that a
    function names. It costs about one `dumps` of each part on the way.
    """
    return where + "".join(step for step, _ in _way(value, dumps))


def unpicklable(
    value: Any, error: BaseException, dumps: Callable[[Any], Any], where: str = "value"
) -> SerializationError:
    """Return the error to raise when `dumps` refused `value` with `error`: it names the part and the cause."""
    way = _way(value, dumps)
    path = where + "".join(step for step, _ in way)
    culprit = way[-1][1] if way else value
    kind = type(culprit)
    reason = _refusal(culprit, dumps) or error
    told = f"cannot serialize {path} ({kind.__module__}.{kind.__qualname__}): {text(reason)}"
    return SerializationError(told + (_WAY_OUT if ".__globals__[" in path else ""))


def _way(value: Any, dumps: Callable[[Any], Any]) -> list[tuple[str, Any]]:
    way: list[tuple[str, Any]] = []
    seen = {id(value)}
    while len(way) < _DEEPEST:
        found = _refused_part(value, dumps, seen)
        if found is None:
            break
        way.append(found)
        value = found[1]
        seen.add(id(value))
    return way


def _refused_part(value: Any, dumps: Callable[[Any], Any], seen: set[int]) -> tuple[str, Any] | None:
    try:
        for step, part in _parts(value):
            if id(part) not in seen and _refusal(part, dumps) is not None:
                return step, part
    except Exception:  # the object's own code raised: the search ends here
        return None
    return None


def _refusal(value: Any, dumps: Callable[[Any], Any]) -> Exception | None:
    try:
        dumps(value)
    except Exception as error:  # the object's own code may raise anything
        return error
    return None


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the parts that pickling `value` would visit, each with its step in the path."""
    if is_a(value, str, bytes, bytearray, int, float, type):
        return
    if is_a(value, FunctionType):
        yield from _parts_of_function(value)
    elif is_a(value, MethodType):
        yield ".__self__", value.__self__
        yield ".__func__", value.__func__
    elif is_a(value, ModuleType):
        yield from ((f".{name}", part) for name, part in list(vars(value).items()) if not name.startswith("__"))
    elif is_a(value, partial):
        yield ".func", value.func
        yield from ((f".args[{n}]", part) for n, part in enumerate(value.args))
        yield from ((f".keywords[{name!r}]", part) for name, part in value.keywords.items())
    else:
        if is_a(value, dict):
            for key, part in list(value.items()):
                yield f"[{shown(key, 60)}]", part
                yield f".keys()[{shown(key, 60)}]", key
        elif is_a(value, list, tuple):
            yield from ((f"[{n}]", part) for n, part in enumerate(value))
        elif is_a(value, set, frozenset):
            yield from (("{...}", part) for part in value)
        elif dataclasses.is_dataclass(type(value)):
            names = [field.name for field in dataclasses.fields(type(value))]
            yield from ((f".{name}", attribute(value, name)) for name in names)
        yield from _parts_of_state(value)


def _parts_of_state(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the state that the object saves; where saving fails, its attributes."""
    try:
        reduced = value.__reduce_ex__(4)
    except Exception:  # the object's own code, or an object that cannot be saved at all
        yield from ((f".{name}", part) for name, part in list((attribute(value, "__dict__") or {}).items()))
        return
    if not isinstance(reduced, tuple):
        return
    yield from ((f".__reduce__()[1][{n}]", part) for n, part in enumerate(reduced[1] or ()) if part is not type(value))
    state = reduced[2] if len(reduced) > 2 else None
    for part in state if isinstance(state, tuple) else (state,):
        if isinstance(part, dict):
            yield from ((f".{name}", inner) for name, inner in part.items())
        elif part is not None:
            yield ".__getstate__()", part


def _parts_of_function(value: FunctionType) -> Iterator[tuple[str, Any]]:
    for name, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=False):
        try:
            yield f".__closure__[{name!r}]", cell.cell_contents
        except ValueError:  # not yet filled
            continue
    yield from ((f".__defaults__[{n}]", part) for n, part in enumerate(value.__defaults__ or ()))
    yield from ((f".__kwdefaults__[{name!r}]", part) for name, part in (value.__kwdefaults__ or {}).items())
    for name in value.__code__.co_names:
        if name in value.__globals__:
            yield f".__globals__[{name!r}]", value.__globals__[name]
