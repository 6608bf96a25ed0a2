"""The user's own code: the kind of a function, and the modules it comes from, which travel by value."""

from __future__ import annotations

import contextlib
import inspect
import os
import sys
import sysconfig
import threading
from dataclasses import fields
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any

from anabranch.core.asking import attribute, is_a
from anabranch.core.options import RunOptions

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST = 10_000  # objects that are visited for one task


def is_async(fn: Any) -> bool:
    """Return whether its calls need an event loop: a coroutine or async generator function, or an object like one."""
    call = attribute(fn, "__call__")
    return any(inspect.iscoroutinefunction(f) or inspect.isasyncgenfunction(f) for f in (fn, call))


_registering = threading.Lock()  # cloudpickle's register is global
_PATHS = tuple(
    os.path.realpath(path) + os.sep
    for path in {sys.prefix, sys.base_prefix, *(sysconfig.get_path(p) for p in ("stdlib", "purelib", "platlib"))}
)
_PACKAGE = __name__.partition(".")[0]
_CODE = (FunctionType, BuiltinFunctionType, MethodType)  # these have a `__module__` of their own


@contextlib.contextmanager
def by_value(modules: dict[str, ModuleType], pickler: Any) -> Iterator[None]:
    """Let `pickler` (the module cloudpickle) pickle the content of these modules by value, for the block."""
    with _registering:
        known = pickler.list_registry_pickle_by_value()
        mine = [module for name, module in modules.items() if name not in known and name in sys.modules]
        for module in mine:
            pickler.register_pickle_by_value(module)
        try:
            yield
        finally:
            for module in mine:
                pickler.unregister_pickle_by_value(module)


def is_local(module: ModuleType | None) -> bool:
    """Return whether a module is the user's own: not of the standard library, not installed, not this package."""
    name = attribute(module, "__name__", "")
    if module is None or type(name) is not str or name == "__main__" or name.partition(".")[0] == _PACKAGE:
        return False
    path = attribute(module, "__file__")
    if type(path) is not str or not path:
        return False
    path = os.path.realpath(path)
    parts = path.split(os.sep)
    return not ("site-packages" in parts or "dist-packages" in parts or path.startswith(_PATHS))


def local_modules(value: Any) -> dict[str, ModuleType]:
    """Return the user's modules that a task's function, its hooks and the code these call come from."""
    found: dict[str, ModuleType] = {}
    seen: dict[int, Any] = {}  # keeps the objects alive, so that ids stay unique
    options = attribute(value, "options")
    hooks = [getattr(options, f.name) for f in fields(options)] if isinstance(options, RunOptions) else []
    stack: list[Any] = [attribute(value, "fn", value), *hooks]
    while stack and len(seen) < MOST:  # properties may make new objects without end
        one = stack.pop()
        if id(one) in seen:
            continue
        seen[id(one)] = one
        if type(one) in (tuple, list):
            stack.extend(one[:100])
            continue
        module = _module_of(one)
        local = is_local(module)
        if module is not None and local:
            found[module.__name__] = module
        mine = local or module is sys.modules.get("__main__")
        stack.extend(attribute(one, name) for name in ("func", "__func__", "__wrapped__"))
        if type(one) is FunctionType and mine:
            names = _names(one.__code__)
            stack.extend(one.__globals__[name] for name in names if name in one.__globals__)
            stack.extend(cell.cell_contents for cell in one.__closure__ or () if _filled(cell))
        elif is_a(one, type) and mine:
            stack.extend((*one.__bases__, *vars(one).values()))
    return found


def _module_of(one: Any) -> ModuleType | None:
    """Return an object's module: that of a function or class, else that of its class."""
    if is_a(one, ModuleType):
        return one  # type: ignore[no-any-return]
    name = attribute(one, "__module__") if is_a(one, type, *_CODE) else attribute(type(one), "__module__")
    found = sys.modules.get(name) if type(name) is str else None
    return found if found is not None and is_a(found, ModuleType) else None


def _names(code: CodeType) -> set[str]:
    inner = (_names(const) for const in code.co_consts if isinstance(const, CodeType))
    return set(code.co_names).union(*inner)


def _filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:
        return False
