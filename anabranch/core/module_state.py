"""The content of the user's modules, carried to workers that import these modules for themselves.

A worker process imports a module once, and its copy stays as it was then. (On Dask and Ray that holds for modules that
a task imports as it runs; others travel with the task.) The driver's module may have changed before the first task or
between two. So a task takes along the attributes that it reads of modules and classes: data, and functions put there
from elsewhere. A worker changes only the attributes that differ, containers in place. If a module was reloaded, or
its functions were given other code, the code is taken along too.
"""

from __future__ import annotations

import contextlib
import importlib
import marshal
import pickle
import sys
import zlib
from collections import deque
from dataclasses import replace
from enum import Enum
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

from anabranch.core.asking import is_a
from anabranch.core.computation import Computation
from anabranch.core.insides import opened
from anabranch.core.reads import MISSING, is_own
from anabranch.core.task_spec import TaskSpec
from anabranch.core.whole_modules import that_go

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from anabranch.core.watch import Watch

LARGE = 1 << 20  # larger values are taken along only once they have been seen to change
Way = tuple[str, ...]  # the path to a name: the module, the classes in it, the name

_first: dict[Way, Any] = {}  # the content at the first look: code, or the size and checksum of a pickle
_moved: set[str] = set()  # modules with functions of other code than at the first look
_specs: dict[str, Any] = {}  # those of modules at the first look: a reload makes another one
_set: dict[Way, tuple[bytes, Any, Any]] = {}  # the value last set here, and the one before it
_coded: dict[FunctionType, tuple[Way, tuple[Any, ...]]] = {}  # functions that were given other code, with their own
_settled: ModuleState | None = None  # the state that the modules of this process have now


class ModuleState:
    """The content that one task reads of modules; pickled value by value."""

    __slots__ = ("codes", "values")

    def __init__(self, values: dict[Way, bytes], codes: dict[Way, bytes]) -> None:
        self.values: dict[Way, bytes] = values
        self.codes: dict[Way, bytes] = codes

    def settle(self) -> None:
        """Set the modules of this process to this content."""
        global _settled
        if _settled is self:
            return
        _settled = self
        for way in [way for way in _set if way not in self.values]:
            _restore(way)
        for fn in [fn for fn, (way, _) in _coded.items() if way not in self.codes]:
            fn.__code__, fn.__defaults__, fn.__kwdefaults__ = _coded.pop(fn)[1]
        for settle, parts in ((_settle_code, self.codes), (_settle, self.values)):
            for way, data in parts.items():
                with contextlib.suppress(Exception):  # a value that does not unpickle here stays out
                    settle(way, data)

    def __reduce__(self) -> Any:
        going = that_go()
        names = {way[0] for way in (*self.values, *self.codes)}
        whole = [going.get(name) for name in sorted(names & going.names)] if going is not None else []
        return _arrived, (self.values, self.codes, whole)


def _arrived(values: dict[Way, bytes], codes: dict[Way, bytes], whole: list[ModuleType]) -> ModuleState:
    """Build and settle a state, so that functions that follow in the same pickle are found by name as of now.

    Args:
        whole: modules that were unpickled before and are in place.
    """
    found = ModuleState(values, codes)
    found.settle()
    return found


def carried(value: Any, dumps: Callable[[Any], bytes], *, imported: Collection[str] | None = None) -> Any:
    """Return a shared value in the form to send: a task with the content of the user's modules that it reads.

    Args:
        dumps: pickles for the worker.
        imported: the modules that workers import (None: all); others travel, but for those that the task imports as it
            runs.
    """
    watch = value.computed.watch if is_a(value, TaskSpec) and is_a(value.computed, Computation) else None
    only = None if imported is None or watch is None else {*imported, *watch.late}
    if watch is None or only == set():
        return value
    return replace(value, modules=_state_of(watch, dumps, only))


def names_read(value: Any) -> dict[str, set[str]]:
    """Return the names that a task reads in the user's modules, by module, as far as its code was read."""
    watch = value.computed.watch if is_a(value, TaskSpec) and is_a(value.computed, Computation) else None
    found: dict[str, set[str]] = {}
    for space, names in watch.spaces.values() if watch is not None else ():
        module = _module(space.get("__name__"))
        if module is not None:
            found.setdefault(module.__name__, set()).update(names)
    return found


def _state_of(watch: Watch, dumps: Callable[[Any], bytes], only: Collection[str] | None) -> ModuleState | None:
    values: dict[Way, bytes] = {}
    functions: dict[Way, list[FunctionType]] = {}
    for way, value in _read(watch):
        if only is not None and way[0] not in only:
            continue
        spec = getattr(sys.modules.get(way[0]), "__spec__", None)
        if _specs.setdefault(way[0], spec) is not spec:
            _moved.add(way[0])
        inside = _functions(value)
        if inside:
            codes = [fn.__code__ for fn in inside]
            if all(_is_home(way, fn) for fn in inside):
                functions[way] = inside
                if _first.setdefault(way, codes) != codes:
                    _moved.add(way[0])
                continue
        with contextlib.suppress(Exception):  # a lock or a client does not pickle: the worker has its own
            data = dumps(value)
            mark = (len(data), zlib.crc32(data))
            if _first.setdefault(way, mark) != mark or len(data) <= LARGE:
                values[way] = data
    changed = {way: _codes(inside, dumps) for way, inside in functions.items() if way[0] in _moved}
    return ModuleState(values, changed) if values or changed else None


def _functions(value: Any) -> list[FunctionType]:
    """Return the functions in an attribute: itself, or those inside a descriptor."""
    found = opened(value)
    return [fn for fn in (found if is_a(value, property) else (found,)) if is_a(fn, FunctionType)]


def _codes(functions: list[FunctionType], dumps: Callable[[Any], bytes]) -> bytes:
    return dumps([(marshal.dumps(fn.__code__), fn.__defaults__, fn.__kwdefaults__) for fn in functions])


def _read(watch: Watch) -> Iterator[tuple[Way, Any]]:
    for space, names in watch.spaces.values():
        module = _module(space.get("__name__"))
        if module is not None and vars(module) is space:
            for name in sorted(names):
                value = space.get(name, MISSING)
                if value is not MISSING and not is_a(value, type, ModuleType):
                    yield (module.__name__, name), value
    for fn in watch.functions:  # also one that the script has imported by its name
        module = _module(fn.__module__)
        if module is not None and vars(module).get(fn.__qualname__) is fn:
            yield (module.__name__, fn.__qualname__), fn
    for kind in watch.classes:
        module = _module(kind.__module__)
        way = (kind.__module__, *kind.__qualname__.split("."))
        if module is None or issubclass(kind, Enum) or _find(way) is not kind:
            continue
        for name, value in _members(kind):
            yield (*way, name), value


def _members(kind: type) -> Iterable[tuple[str, Any]]:
    for name, value in list(vars(kind).items()):
        hidden = name.startswith(("__", "_abc_")) or is_a(value, type) or hasattr(type(value), "__set__")
        if not hidden or _functions(value):
            yield name, value


def _module(name: Any) -> ModuleType | None:
    module = sys.modules.get(name) if is_a(name, str) and name != "__main__" and is_own(name) else None
    return module if is_a(module, ModuleType) else None


def _is_home(way: Way, fn: FunctionType) -> bool:
    return (fn.__module__, fn.__qualname__) == (way[0], ".".join(way[1:]))


def _find(way: Way) -> Any:
    found: Any = sys.modules.get(way[0]) or importlib.import_module(way[0])
    for name in way[1:]:
        found = vars(found).get(name, MISSING)
        if found is MISSING:
            break
    return found


def _settle(way: Way, data: bytes) -> None:
    holder, name = _find(way[:-1]), way[-1]
    now = vars(holder).get(name, MISSING)
    last, made, first = _set.get(way, (b"", MISSING, now))
    if last == data and made is now:
        return  # changes that tasks have made here since are left alone
    value = pickle.loads(data)
    if now is not MISSING and _alike(now, value, data):
        return
    if type(now) is type(value) and type(value) in (list, dict, set, deque):
        now.clear()
        now.extend(value) if is_a(now, list, deque) else now.update(value)
        first = now if first is MISSING else first
        value = now
    else:
        setattr(holder, name, value)
    _set[way] = (data, value, first)


def _restore(way: Way) -> None:
    """Put back the module's own attribute."""
    first = _set.pop(way)[2]
    with contextlib.suppress(Exception):
        if first is MISSING:
            delattr(_find(way[:-1]), way[-1])
        else:
            setattr(_find(way[:-1]), way[-1], first)


def _settle_code(way: Way, data: bytes) -> None:
    holder, name = _find(way[:-1]), way[-1]
    inside = _functions(vars(holder).get(name, MISSING))
    for n, (code, defaults, named) in enumerate(pickle.loads(data)):
        code = marshal.loads(code)
        if n < len(inside):
            fn = inside[n]
            if fn.__code__ != code:
                _coded.setdefault(fn, (way, (fn.__code__, fn.__defaults__, fn.__kwdefaults__)))
                fn.__code__ = code
        elif len(way) == 2:  # the name is new in its module
            fn = FunctionType(code, vars(holder), name)
            setattr(holder, name, fn)
        fn.__defaults__, fn.__kwdefaults__ = defaults, named


def _alike(now: Any, value: Any, data: bytes) -> bool:
    """Return whether this process has the value already."""
    if now is value or type(now) is not type(value):
        return now is value
    try:
        return pickle.dumps(now, 5) == data
    except Exception:  # a function that is not found by its name
        return False
