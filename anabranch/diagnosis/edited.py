"""Whether a module's file has other functions than the module that was imported from it."""

from __future__ import annotations

import contextlib
import sys
from types import CodeType
from typing import TYPE_CHECKING, Any

from anabranch.core.runnable import Runnable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import ModuleType


def edited(module: ModuleType, path: Path) -> bool:
    """Return whether a function at the top of the file is not the module's one; raises SyntaxError.

    Classes and other values are not compared: a function that was moved by one line counts as another one.
    """
    if getattr(module, "__file__", None) != str(path) or not path.is_file():
        return False
    there = compile(path.read_bytes(), str(path), "exec", dont_inherit=True)
    functions = [code for code in there.co_consts if isinstance(code, CodeType) and code.co_flags & _OPTIMIZED]
    return any(_code(getattr(module, code.co_name, None)) != code for code in functions if _named(code))


_OPTIMIZED = 0x1  # of functions; a class's body has no fast locals


def _named(code: CodeType) -> bool:
    return not code.co_name.startswith("<")  # a lambda or a comprehension


def _code(value: Any) -> Any:
    """Return the code of a task, flow or function; None for others."""
    fn = value.plain_fn if isinstance(value, Runnable) else getattr(value, "fn", value)
    while hasattr(fn, "__wrapped__"):
        fn = fn.__wrapped__
    return getattr(fn, "__code__", None)


@contextlib.contextmanager
def in_place_of(name: str, module: ModuleType) -> Iterator[None]:
    """Inside, values of the module of this name are read with the classes of the other one."""
    before = sys.modules[name]
    sys.modules[name] = module
    try:
        yield
    finally:
        sys.modules[name] = before
