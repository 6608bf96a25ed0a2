"""The identity of a function, method or class: its code, and all that this code closes over and reads.

    function -> code, defaults, closure, the wrapped function, the class it stands in,
                globals and attributes of modules that it reads -> functions, classes, values ...
    class    -> bases, metaclass, methods, data

The user's own code is followed; installed code counts by its name. Functions and classes are nodes, each written
once, so that recursion ends and shared parts cost once. A name that code only adds to is not read. A value that
code reads and also changes is its working state, which `identity_of` can leave out: a memo is full in one driver and
empty in the next. Locks and the like count by their type. A part without content to compare (a client, an open
file) also counts by its type where it is read by name: a global, an attribute of a module or class. Anywhere else (in
`self`, a closure, a default, the arguments of a partial) it makes the whole opaque: not to be told apart from others.
"""

from __future__ import annotations

import threading
import types
import weakref
from collections import deque
from contextvars import ContextVar
from enum import Enum
from hashlib import blake2b
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from anabranch.core.asking import is_a
from anabranch.core.copies import alike
from anabranch.core.encode import EXACT, PLAIN, Culprit, Tangle, Walk, class_name, digest
from anabranch.core.insides import attributes_of, opened, wrapped_in
from anabranch.core.reads import (
    MISSING,
    content_of,
    is_own,
    is_own_class,
    is_own_function,
    owner_of,
    places_of,
    reads_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_NODES = 20_000
_SIZE = 16
_LOCKS = (
    type(threading.Lock()), type(threading.RLock()), threading.Condition, threading.Event, threading.Semaphore,
    threading.Barrier,
)  # fmt: skip
_SERVICES = (threading.local, ContextVar, weakref.ref, weakref.WeakKeyDictionary, weakref.WeakValueDictionary)
_DESCRIPTORS = (types.MemberDescriptorType, types.GetSetDescriptorType, types.WrapperDescriptorType)
_PASSED_OVER = frozenset({"_abc_impl", "_abc_cache", "_abc_registry", "__parameters__", "__orig_bases__"})
_COUNTED = frozenset({"__slots__", "__match_args__", "__pydantic_fields__"})


class Identity(NamedTuple):
    """The identity as two digests, which are equal on every machine and day with one version of Python.

    Attributes:
        code: digest of all its code and its defaults.
        state: digest of that and of all values that the code closes over and reads; "" where a part is opaque.
        opaque: the part that cannot be told apart from others, and why; "" where there is none.
    """

    code: str
    state: str
    opaque: str = ""


def identity_of(fn: Any, *, working: bool = True) -> Identity:
    """Return the identity of a function, method, class or callable object; never raises for the user's objects.

    Args:
        working: whether its working state counts.
    """
    walk = CodeWalk(working)
    try:
        encoded = walk.whole(fn)
    except Culprit as culprit:
        path = walk.at + "".join(reversed(culprit.steps))
        return Identity(_told(b"".join(sorted(walk.codes))), "", f"cannot hash {path}: {culprit.error}")
    except (RecursionError, Tangle):
        return Identity(_told(b"".join(sorted(walk.codes))), "", f"cannot hash what {walk.at} reads: nested too deeply")
    return Identity(_told(b"".join(sorted(walk.codes))), _told(encoded))


def encoded(value: Any) -> bytes:
    """Encode a function, method or class as a part of another hash; raises Culprit."""
    if is_a(value, type) and not is_own_class(value):
        return class_name(value)
    return b"Y" + digest(CodeWalk().whole(value))


def _told(data: bytes) -> str:
    return blake2b(data, digest_size=_SIZE, person=b"anabranch-2").hexdigest()


class CodeWalk(Walk):
    """The walk over one function and all its parts."""

    __slots__ = ("at", "codes", "lenient", "marks", "named", "queue", "working")

    def __init__(self, working: bool = True) -> None:
        super().__init__(None, self._code, self._kind)
        self.working = working
        self.marks: dict[int, bytes] = {}
        self.named: dict[str, list[Any]] = {}
        self.queue: deque[tuple[bytes, Any]] = deque()
        self.codes: list[bytes] = []
        self.lenient = False  # the part at hand was read by name
        self.at = ""  # the part at hand, for errors

    def whole(self, root: Any) -> bytes:
        self.at = _title(root)
        rows = [self.encode(root)]
        nodes: list[bytes] = []
        while self.queue:
            mark, value = self.queue.popleft()
            self.lenient = False
            write = self._class if is_a(value, type) else self._function
            try:
                nodes.append(mark + digest(b"".join(write(mark, value))))
            except Culprit as culprit:
                culprit.steps += [f".{_title(value)}"] * (_title(value) != self.at)
                raise
        return b"".join([*rows, *sorted(nodes)])

    def encode(self, value: Any) -> bytes:
        kind = type(value)
        if kind in PLAIN or kind in EXACT or issubclass(kind, type):
            return super().encode(value)
        if issubclass(kind, _LOCKS) or (self.lenient and issubclass(kind, _SERVICES)):
            return b"?" + class_name(kind)
        inner = wrapped_in(value)
        return super().encode(value) if inner is None else b"@" + class_name(kind) + self.encode(inner)

    def pickled(self, value: Any, error: Exception) -> bytes:
        """Encode an object that pickle refuses: the user's by its attributes, one that is read by name by its type."""
        kind = type(value)
        if is_own_class(kind):
            return b"I" + self._kind(kind) + b"".join(self._parts(attributes_of(value).items(), ".%s"))
        if self.lenient:
            return b"?" + class_name(kind)
        raise Culprit(error) from error

    # -- nodes -------------------------------------------------------------------------------------

    def _kind(self, value: Any) -> bytes:
        return self._refer(value) if is_own_class(value) else class_name(value)

    def _code(self, value: Any) -> bytes:
        if is_a(value, MethodType):
            return b"M" + self._step(".__func__", _function_of(value)) + self._step(".__self__", value.__self__)
        if is_a(value, CodeType):
            return self._bytecode(value)
        return self._kind(value) if is_a(value, type) else self._refer(value)

    def _refer(self, value: Any) -> bytes:
        """Encode a reference to a node, which is written later: by name, and by number among nodes of one name.

        Only an installed module's name is part of it: a script is `__main__` in one process and a module in another.
        """
        mark = self.marks.get(id(value))
        if mark is None:
            name = value.__qualname__ if is_own(value.__module__) else f"{value.__module__}:{value.__qualname__}"
            self.held.append(value)
            known = self.named.setdefault(name, [])
            for other in known if is_a(value, FunctionType) else ():
                if alike(value, other):
                    found = self.marks[id(value)] = self.marks[id(other)]
                    return found
            mark = self.marks[id(value)] = f"@{name}#{len(known)};".encode()
            known.append(value)
            if len(self.marks) > MOST_NODES:
                raise Tangle
            self.queue.append((mark, value))
        return mark

    def _function(self, mark: bytes, fn: FunctionType) -> Iterator[bytes]:
        own = is_own_function(fn)
        if not own and not is_own(fn.__module__) and "<locals>" not in fn.__qualname__:
            return
        code = self._bytecode(fn.__code__) if own or fn.__closure__ else b""
        yield code
        self.codes.append(mark + digest(code))
        defaults = b"".join(self._parts(((n, getattr(fn, n)) for n in ("__defaults__", "__kwdefaults__")), ".%s"))
        self.codes.append(mark + digest(defaults))
        yield defaults
        self.lenient = not own
        reads = reads_of(fn.__code__)
        fluid = frozenset[str]() if self.working else reads.changed
        for name, cell in zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=False):
            if name not in reads.added_to and name not in fluid:
                yield self._step(f".__closure__[{name!r}]", content_of(cell))
        self.lenient = True
        for name, value in sorted(vars(fn).items()):
            yield name.encode() + self._step(f".{name}", value)
        if not own:
            return
        owner = owner_of(fn)
        if owner is not None:
            self._kind(owner)  # a node too: its methods may be called on `self`
        for place in places_of(fn):
            changes = place.name in fluid and place.space is fn.__globals__
            if not changes and not (is_a(place.value, ModuleType) and is_own(place.value.__name__)):
                yield place.path.encode() + self._step(f".__globals__[{place.path!r}]", place.value)

    def _class(self, mark: bytes, kind: type) -> Iterator[bytes]:
        yield b"".join([self._kind(base) for base in (type(kind), *kind.__bases__)])
        self.lenient = True
        if issubclass(kind, Enum):
            for member in kind.__members__.values():
                yield member.name.encode() + self._step(f".{member.name}", member._value_)
        for name, value in sorted(vars(kind).items()):
            value = opened(value)
            special = name.startswith("__") and name.endswith("__") and name not in _COUNTED
            hidden = name in _PASSED_OVER or name.startswith("_abc") or (name.startswith("__pydantic_") and special)
            if hidden or (special and not is_a(value, FunctionType, tuple)) or _of_enum(kind, name, value):
                continue
            yield name.encode() + self._step(f".{name}", value)

    def _bytecode(self, code: CodeType) -> bytes:
        consts = [self._bytecode(c) if is_a(c, CodeType) else self.encode(c) for c in code.co_consts]
        counts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
        names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
        return b"".join([b"C", self.encode((counts, names)), self.encode(code.co_code), *consts])

    # -- parts -------------------------------------------------------------------------------------

    def _step(self, step: str, value: Any) -> bytes:
        if value is MISSING or is_a(value, *_DESCRIPTORS):
            return b"-"
        try:
            return self.encode(value)
        except Culprit as culprit:
            culprit.steps.append(step)
            raise

    def _parts(self, parts: Any, step: str) -> Iterator[bytes]:
        for name, value in sorted(parts):
            yield name.encode() + self._step(step % name, value)


def _function_of(method: MethodType) -> Any:
    """Return a method's function; that of its class, where the method came by value as a copy."""
    fn, owner = method.__func__, method.__self__
    kind: type = owner if is_a(owner, type) else type(owner)  # type: ignore[assignment]
    if is_a(fn, FunctionType):
        for base in kind.__mro__:
            there = opened(vars(base).get(fn.__name__))
            if is_a(there, FunctionType) and there.__code__ == fn.__code__:
                return there
    return fn


def _of_enum(kind: type, name: str, value: Any) -> bool:
    """Return whether it is an attribute that the enum machinery keeps beside the members."""
    return issubclass(kind, Enum) and (name in kind.__members__ or not is_a(value, FunctionType))


def _title(value: Any) -> str:
    if is_a(value, MethodType):
        value = value.__func__
    named = value if is_a(value, FunctionType, type) else type(value)
    return str(named.__qualname__)
