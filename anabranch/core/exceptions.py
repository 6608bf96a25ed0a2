"""Exceptions that travel: the type, its attributes, its causes and its group survive a process border.

Pickle rebuilds an exception by calling its class with `args`, which fails for every class with another
`__init__`. Here it is built of its parts without `__init__`::

    class, args, members (errno, slots, ...), __dict__     parts that cannot be pickled are left out
    __cause__, __context__, members of a group             the same again, each by itself

A class with its own pickling method is asked first.
"""

from __future__ import annotations

import contextlib
from functools import lru_cache
from types import GetSetDescriptorType, MemberDescriptorType
from typing import TYPE_CHECKING, Any

from anabranch.core.asking import MISSING, attribute, is_a, of_class, passes, shown, text
from anabranch.core.errors import RemoteError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MOST = 30  # causes, contexts and group members of one exception
_OWN = ("__reduce__", "__reduce_ex__", "__getstate__", "__setstate__")


def portable(error: BaseException, dumps: Callable[[Any], bytes], loads: Callable[[bytes], Any]) -> bytes | None:
    """Return a pickle of the exception; None when its class does not travel. Never raises."""
    try:
        journey = _Journey(dumps, loads)
        form = journey.alone(error)
        if form is None:
            return None
        bare = journey.tried
        linked = journey.linked(error, form)
        if linked is form:
            return bare
        return journey.pickled(linked) or bare
    except BaseException as bad:
        if passes(bad):
            raise
        return None


def links_of(error: BaseException) -> tuple[BaseException | None, BaseException | None]:
    """Return its `__cause__` and its `__context__`."""
    cause, context = attribute(error, "__cause__"), attribute(error, "__context__")
    return (cause if is_a(cause, BaseException) else None), (context if is_a(context, BaseException) else None)


def members_of(group: BaseException) -> tuple[BaseException, ...]:
    """Return the exceptions of a group; () for any other exception."""
    return tuple(attribute(group, "exceptions", ())) if is_a(group, BaseExceptionGroup) else ()


# -- twins -----------------------------------------------------------------------------------------

_HEAP_TYPE = 1 << 9  # class flag: made by a class statement
_DICT: Any = BaseException.__dict__["__dict__"]
_NOT_COPIED = frozenset({"__dict__", "__weakref__", "__class__"})


def twin(error: BaseException, members: Sequence[BaseException] = ()) -> BaseException:
    """Return a copy to raise in place of a kept exception: same class, attributes, cause, notes and frames.

    Raising adds frames, each of which keeps the locals of a caller alive, and a `__context__`. The kept exception
    gets neither. No code of the class is called. Where no copy can be made, the error itself is returned.

    Args:
        members: members of a group that replace those of the error.
    """
    kind: Any = type(error)
    new = _bare(kind, error, members)
    if new is error:
        return error
    for member in _made_of(kind)[1]:
        _copy(member, error, new)
    attributes = _DICT.__get__(new)
    attributes.update(_DICT.__get__(error))
    notes = attributes.get("__notes__")
    if type(notes) is list:
        attributes["__notes__"] = list(notes)
    return new


def _bare(kind: Any, error: BaseException, members: Sequence[BaseException]) -> BaseException:
    """Return a new instance with its arguments alone; the error itself where none can be made."""
    base, _, single = _made_of(kind)
    if single:
        return error
    try:
        args = (attribute(error, "message"), members) if members else attribute(error, "args")
        new: BaseException = base.__new__(kind, *args)
    except BaseException as bad:
        if passes(bad):
            raise
        return error
    return new if type(new) is kind else error


def _copy(member: Any, old: BaseException, new: BaseException) -> None:
    with contextlib.suppress(AttributeError, TypeError):  # not set, or read-only and so made of the arguments
        value = member.__get__(old)
        if value is not None or member.__get__(new) is not None:  # some members tell a set None from an unset one
            member.__set__(new, value)


@lru_cache(maxsize=1024)
def _made_of(kind: Any) -> tuple[Any, tuple[Any, ...], bool]:
    """Return the builtin base class, the members beside attributes, and whether there is but one instance."""
    base = next(one for one in kind.__mro__ if not one.__flags__ & _HEAP_TYPE)
    found = [
        member
        for one in kind.__mro__
        for name, member in one.__dict__.items()
        if type(member) in (MemberDescriptorType, GetSetDescriptorType) and name not in _NOT_COPIED
    ]
    found.sort(key=lambda member: member.__name__ == "__suppress_context__")  # setting a cause sets it, too
    return base, tuple(found), of_class(kind, "__del__") is not None


# -- what is pickled in its place ------------------------------------------------------------------


class _Parts:
    """The parts of an exception; unpickles as the exception."""

    __slots__ = ("args", "group", "kind", "members", "state")

    def __init__(self, error: BaseException) -> None:
        kind: Any = type(error)
        self.kind = kind
        self.args: tuple[Any, ...] = tuple(attribute(error, "args", ()))
        self.group: tuple[str, list[Any]] | None = None
        found = {name: attribute(error, name, unset) for name, unset in _members(kind)}
        self.members = {name: found[name] for name, unset in _members(kind) if found[name] is not unset}
        self.state: dict[str, Any] = dict(attribute(error, "__dict__") or {})

    def __reduce__(self) -> Any:
        return build, (self.kind, self.args, self.members, self.state, self.group)


class _Linked:
    """An exception with its cause and context; unpickles as the exception."""

    __slots__ = ("parts",)

    def __init__(self, *parts: Any) -> None:
        self.parts = parts

    def __reduce__(self) -> Any:
        return link, self.parts


class Lost:
    """Stands for an argument that could not travel; has its repr."""

    __slots__ = ("said",)

    def __init__(self, said: str) -> None:
        self.said = said

    def __repr__(self) -> str:
        return self.said


def build(
    kind: type[BaseException], args: tuple[Any, ...], members: dict[str, Any], state: dict[str, Any],
    group: tuple[str, list[BaseException]] | None,
) -> BaseException:  # fmt: skip
    """Build an exception of its parts; no code of its class runs."""
    base: Any = next(b for b in kind.__mro__ if b.__module__ == "builtins")
    if group is not None:
        error: BaseException = base.__new__(kind, *group)
    else:
        error = base.__new__(kind, *args)
        with contextlib.suppress(TypeError, ValueError):  # `args` may have been changed: the members follow below
            base.__init__(error, *args)
    BaseException.args.__set__(error, args)  # type: ignore[attr-defined]
    for name, value in members.items():
        with contextlib.suppress(AttributeError, TypeError, ValueError):  # read only
            object.__setattr__(error, name, value)
    if state:
        BaseException.__setattr__(error, "__dict__", {**(attribute(error, "__dict__") or {}), **state})
    return error


def link(
    error: BaseException, cause: BaseException | None, context: BaseException | None, suppress: bool
) -> BaseException:
    """Set an exception's cause and context."""
    for name, value in (("__cause__", cause), ("__context__", context), ("__suppress_context__", suppress)):
        BaseException.__setattr__(error, name, value)
    return error


@lru_cache(maxsize=256)
def _members(kind: Any) -> tuple[tuple[str, Any], ...]:
    """Return the attributes that are neither in `args` nor in `__dict__`, each with its value while unset.

    These are slots, and members that builtin exceptions keep in C. The latter read as None while unset, though some
    print differently when None was set (the second file name of OSError).
    """
    found: dict[str, Any] = {}
    for base in kind.__mro__:
        if base not in (object, BaseException, BaseExceptionGroup, ExceptionGroup):
            for name, value in base.__dict__.items():
                if type(value) in (MemberDescriptorType, GetSetDescriptorType) and not name.startswith("__"):
                    found[name] = None if base.__module__ == "builtins" else MISSING
    return tuple(found.items())


@lru_cache(maxsize=256)
def _saves_itself(kind: Any) -> bool:
    """Return whether a class (or a base that is no builtin) has its own pickling method."""
    mine = next(base for base in kind.__mro__ if any(name in base.__dict__ for name in _OWN))
    return bool(mine.__module__ != "builtins")


# -- the way there and back --------------------------------------------------------------------------


class _Journey:
    """One exception and its chain made ready to travel; each part is tried here, where a bad one can be replaced."""

    def __init__(self, dumps: Callable[[Any], bytes], loads: Callable[[bytes], Any]) -> None:
        self.dumps = dumps
        self.loads = loads
        self.tried: bytes | None = None  # the last pickle that survived the round trip
        self.known: dict[int, Any] = {}

    def alone(self, error: BaseException) -> Any:
        """Return the form that unpickles as this exception, without its chain; None when its class does not travel."""
        self.known[id(error)] = None  # an exception inside itself is left out
        kind: Any = type(error)
        own = _saves_itself(kind)
        ways = (self._itself, self._of_parts) if own else (self._of_parts, self._itself)
        second: tuple[Any, bytes] | None = None
        for way in ways:
            form = way(error)
            back, data = self._there_and_back(form)
            if data is None and way == self._of_parts:
                form = self._lightened(form)
                back, data = self._there_and_back(form)
            if data is None or type(back).__qualname__ != type(error).__qualname__:
                continue
            if text(back) == text(error) and (own or form is not error or _complete(back, error)):
                self.tried = data
                return form
            second = second or (form, data)
        form, self.tried = second or (None, None)
        return form

    def linked(self, error: BaseException, form: Any) -> Any:
        """Return the form together with the exception's cause and context."""
        self.known[id(error)] = form
        cause, context = map(self.other, links_of(error))
        if cause is None and context is None:
            return form
        return _Linked(form, cause, context, bool(attribute(error, "__suppress_context__", False)))

    def other(self, error: BaseException | None) -> Any:
        """Return the form of a cause, a context or a group member: its text where its class does not travel."""
        if error is None:
            return None
        if id(error) in self.known:
            return self.known[id(error)]
        if len(self.known) > MOST:
            return None
        form = self.alone(error)
        if form is None:
            form = RemoteError(type(error).__qualname__, text(error), "")
        self.known[id(error)] = found = self.linked(error, form)
        return found

    def pickled(self, form: Any) -> bytes | None:
        return self._there_and_back(form)[1]

    def _itself(self, error: BaseException) -> Any:
        return error

    def _of_parts(self, error: BaseException) -> Any:
        parts = _Parts(error)
        parts.args = tuple(map(self._part, parts.args))
        parts.members = {name: self._part(value) for name, value in parts.members.items()}
        parts.state = {name: self._part(value) for name, value in parts.state.items()}
        if is_a(error, BaseExceptionGroup):
            inner = [form for form in map(self.other, members_of(error)) if form is not None]
            parts.group = (text(attribute(error, "message", "")), inner)
            parts.args = parts.group
        return parts

    def _part(self, value: Any) -> Any:
        return self.other(value) if is_a(value, BaseException) else value

    def _lightened(self, parts: _Parts) -> _Parts:
        """Return the parts without those that cannot travel."""
        parts.args = tuple(value if self._travels(value) else Lost(shown(value)) for value in parts.args)
        parts.members = {name: value for name, value in parts.members.items() if self._travels(value)}
        parts.state = {name: value for name, value in parts.state.items() if self._travels(value)}
        return parts

    def _travels(self, value: Any) -> bool:
        return self._there_and_back(value)[1] is not None

    def _there_and_back(self, value: Any) -> tuple[Any, bytes | None]:
        try:
            data = self.dumps(value)
            return self.loads(data), data
        except BaseException as bad:
            if passes(bad):
                raise
            return None, None


def _complete(back: BaseException, error: BaseException) -> bool:
    """Return whether the exception that came back has all parts of the original."""
    had, has = attribute(error, "__dict__") or {}, attribute(back, "__dict__") or {}
    kind: Any = type(error)
    return had.keys() <= has.keys() and all(
        attribute(back, name, unset) is not unset
        for name, unset in _members(kind)
        if attribute(error, name, unset) is not unset
    )
