"""The user's own code: what kind of function it is, and the modules it comes from, which travel by value."""

from __future__ import annotations

import contextlib
import inspect
import os
import sys
import sysconfig
import threading
from types import CodeType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

def is_async(fn: Any) -> bool:
    """Whether its calls want an event loop: a coroutine function, an async generator's, an object called like one."""
    call = getattr(fn, "__call__", None)  # noqa: B004
    return any(inspect.iscoroutinefunction(f) or inspect.isasyncgenfunction(f) for f in (fn, call))


_registering = threading.Lock()  # cloudpickle's register is the program's
_PATHS = tuple(
    os.path.realpath(path) + os.sep
    for path in {sys.prefix, sys.base_prefix, *(sysconfig.get_path(p) for p in ("stdlib", "purelib", "platlib"))}
)
_PACKAGE = __name__.partition(".")[0]


@contextlib.contextmanager
def by_value(modules: dict[str, ModuleType], pickler: Any) -> Iterator[None]:
    """Inside, `pickler` (the module cloudpickle) takes along what lives in these modules."""
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


@contextlib.contextmanager
def own_classes(module: ModuleType, pickler: Any) -> Iterator[None]:
    """Inside, classes that were pickled by value are the module's own of that name, where it has one.

    `pickler` is the module cloudpickle's inner one, by whose functions such classes are built.
    """
    build, fill = pickler._make_skeleton_class, pickler._class_setstate
    names = ("__main__", module.__name__)

    def built(kind: Any, name: str, bases: Any, given: dict[str, Any], *more: Any) -> Any:
        own = getattr(module, name, None)
        if isinstance(own, type) and given.get("__module__") in names:
            return own
        return build(kind, name, bases, given, *more)

    def filled(made: Any, state: Any) -> Any:
        return made if getattr(module, made.__name__, None) is made else fill(made, state)

    pickler._make_skeleton_class, pickler._class_setstate = built, filled
    try:
        yield
    finally:
        pickler._make_skeleton_class, pickler._class_setstate = build, fill


def is_local(module: ModuleType | None) -> bool:
    """Whether a module is the user's own: neither the standard library, nor installed, nor ours."""
    if module is None or module.__name__ == "__main__" or module.__name__.partition(".")[0] == _PACKAGE:
        return False
    path = getattr(module, "__file__", None)
    if not path:
        return False
    path = os.path.realpath(path)
    parts = path.split(os.sep)
    return not ("site-packages" in parts or "dist-packages" in parts or path.startswith(_PATHS))


def local_modules(value: Any) -> dict[str, ModuleType]:
    """The user's modules that a task's function, its hooks and what those call come from."""
    found: dict[str, ModuleType] = {}
    seen: set[int] = set()
    options = getattr(value, "options", None)
    hooks = [getattr(options, name) for name in getattr(options, "__slots__", ())] if options is not None else []
    stack: list[Any] = [getattr(value, "fn", value), *hooks]
    while stack:
        one = stack.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, (tuple, list)):
            stack.extend(one[:100])
            continue
        module = one if isinstance(one, ModuleType) else sys.modules.get(getattr(one, "__module__", None) or "")
        local = is_local(module)
        if module is not None and local:
            found[module.__name__] = module
        stack.extend(getattr(one, name, None) for name in ("func", "__func__", "__wrapped__"))
        if isinstance(one, FunctionType) and (local or one.__module__ == "__main__"):
            names = _names(one.__code__)
            stack.extend(one.__globals__[name] for name in names if name in one.__globals__)
            stack.extend(cell.cell_contents for cell in one.__closure__ or () if _filled(cell))
        elif isinstance(one, type) and (local or one.__module__ == "__main__"):
            stack.extend((*one.__bases__, *vars(one).values()))
    return found


def _names(code: CodeType) -> set[str]:
    inner = (_names(const) for const in code.co_consts if isinstance(const, CodeType))
    return set(code.co_names).union(*inner)


def _filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:
        return False
