"""The one place that asks foreign objects anything: their text, repr, attributes.

Asking runs the object's own code, which may raise anything, lie, or make up attributes. So an answer from here
always has the kind that was asked for, and an object that fails to answer gets the fallback. The kind of an object
is read from its type, never asked of the object.
"""

from __future__ import annotations

import reprlib
import threading
from typing import Any

MISSING = object()  # the answer of an object that has no such attribute
_NESTED = (list, tuple, dict, set, frozenset)

_shown = reprlib.Repr()
_shown.maxlevel = 4
_shown.maxstring = _shown.maxother = 500


def passes(error: BaseException) -> bool:
    """Return whether an exception out of an object's code was meant for the thread, and must be raised further.

    Two are: Ctrl-C, which arrives in the main thread at any line, and the one that ends a thread that was written off.
    """
    if isinstance(error, KeyboardInterrupt):
        return threading.current_thread() is threading.main_thread()
    return type(error).__name__ == "WrittenOff"


def text(value: object) -> str:
    """Return the whole `str` of a value: in a cut text half a secret would not be masked."""
    try:
        return str.__str__(str(value))
    except BaseException as bad:
        if passes(bad):
            raise
        return f"<str() of it raised {type(bad).__name__}>"


def told(error: BaseException) -> str:
    """Return the last line of an exception's traceback: kind and message."""
    return f"{type(error).__name__}: {text(error)}"


def shown(value: object, longest: int = 500) -> str:
    """Return a `repr` for a message; nested values are asked only as far as they are shown."""
    try:
        found = _shown.repr(value) if type(value) in _NESTED else repr(value)
    except BaseException as bad:
        if passes(bad):
            raise
        found = f"<{type(value).__name__}>"
    return found if len(found) <= longest else f"{found[: longest - 3]}..."


def attribute(value: object, name: str, default: Any = None) -> Any:
    """Return an object's attribute; its `__getattr__` is not called, since it may make attributes up."""
    try:
        return object.__getattribute__(value, name)
    except BaseException as bad:  # a property's code may raise anything
        if passes(bad):
            raise
        return default


def of_class(kind: type, name: str, default: Any = None) -> Any:
    """Return the attribute that a class or one of its bases defines, unbound; the metaclass is not asked."""
    for base in kind.__mro__:
        if name in base.__dict__:
            return base.__dict__[name]
    return default


def is_a(value: object, *kinds: type) -> bool:
    """Return whether a value's type is one of these; `isinstance` would believe what mocks and proxies claim."""
    return issubclass(type(value), kinds)


def name_of(fn: object, default: str = "") -> str:
    """Return a function's name, or the type's name for any other callable."""
    found = attribute(fn, "__name__")
    return found if type(found) is str else default or type(fn).__name__
