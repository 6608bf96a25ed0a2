"""The one place where objects of other people are asked anything: their text, repr, attributes.

An object's answer is its own code. It may raise whatever it likes, lie, or make up attributes as it
is asked for them, so an answer here is always one of the kind that was asked for, and a failure to
answer is never more than a fallback. What an object *is* is read from its type, never asked of it.
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
    """Whether what came out of an object's code was meant for the thread that ran it, and must go on.

    These are Ctrl-C, which arrives in the main thread wherever it is, and what ends a thread that was written off.
    """
    if isinstance(error, KeyboardInterrupt):
        return threading.current_thread() is threading.main_thread()
    return type(error).__name__ == "WrittenOff"


def text(value: object) -> str:
    """`str` of it, whole: a secret that was cut in two would not be found in it."""
    try:
        return str.__str__(str(value))
    except BaseException as bad:
        if passes(bad):
            raise
        return f"<str() of it raised {type(bad).__name__}>"


def told(error: BaseException) -> str:
    """An exception as one reads it behind a traceback: kind and message."""
    return f"{type(error).__name__}: {text(error)}"


def shown(value: object, longest: int = 500) -> str:
    """`repr` for a message; of what is nested only the beginning is asked."""
    try:
        found = _shown.repr(value) if type(value) in _NESTED else repr(value)
    except BaseException as bad:
        if passes(bad):
            raise
        found = f"<{type(value).__name__}>"
    return found if len(found) <= longest else f"{found[: longest - 3]}..."


def attribute(value: object, name: str, default: Any = None) -> Any:
    """What an object has under a name; what its `__getattr__` would make up is not asked for."""
    try:
        return object.__getattribute__(value, name)
    except BaseException as bad:  # also of a property's own code
        if passes(bad):
            raise
        return default


def of_class(kind: type, name: str, default: Any = None) -> Any:
    """What a class or one of its bases defines under a name, as it stands there; its metaclass is not asked."""
    for base in kind.__mro__:
        if name in base.__dict__:
            return base.__dict__[name]
    return default


def is_a(value: object, *kinds: type) -> bool:
    """Whether a value is of one of these types; `isinstance` would believe what mocks and proxies say of themselves."""
    return issubclass(type(value), kinds)


def name_of(fn: object, default: str = "") -> str:
    """A function's own name, the type's of anything else that can be called."""
    found = attribute(fn, "__name__")
    return found if type(found) is str else default or type(fn).__name__
