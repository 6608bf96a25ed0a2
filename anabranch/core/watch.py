"""A snapshot of a function and all that it reads, to be compared with later.

A fast look compares by identity, a whole namespace, class, closure or small container at once: some microseconds for
a function with its helpers. Long containers and opaque objects (arrays, objects of libraries) need a slow look, which
reads their content. Slow looks are skipped while they would take more than a fiftieth of the time.
"""

from __future__ import annotations

import contextlib
import copyreg
import operator
import pickle
import time
import types
import weakref
import zlib
from array import array
from collections import deque
from contextvars import ContextVar
from enum import Enum
from types import FunctionType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any

from anabranch.core.asking import is_a
from anabranch.core.encode import PLAIN, SCALARS
from anabranch.core.insides import attributes_of, opened, wrapped_in
from anabranch.core.reads import content_of, is_own_class, is_own_function, owner_of, places_of, reads_of
from anabranch.core.variables import values_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

MOST_OBJECTS = 50_000
SHORT = 256  # a longer container is read through
SHARE = 50  # a slow look of one second is repeated after so many seconds

_SET = ("__code__", "__defaults__", "__kwdefaults__")  # attributes of a function that can be assigned
_EQUALS = frozenset({*SCALARS, str, bytes})
_CONTAINERS = (tuple, list, dict, set, frozenset, deque)
_BUFFERS = (bytearray, memoryview, array)
_STILL: frozenset[type] = frozenset({  # immutable, or without readable content
    *PLAIN, types.CodeType, types.MemberDescriptorType, types.GetSetDescriptorType,
    types.MethodDescriptorType, types.WrapperDescriptorType, types.GeneratorType, types.CoroutineType,
    types.AsyncGeneratorType, types.GenericAlias, range, slice, object, type(Ellipsis), type(NotImplemented),
})  # fmt: skip
_CLOSED = frozenset({"_thread", "threading", "logging", "contextvars", "_contextvars", "weakref", "re"})

_NONE = object()  # in the place of a value that a context variable does not have
Look = tuple["Callable[[Any], Sequence[Any]]", Any, "list[Any]"]  # the reader, its object, the content then


class Watch:
    """The content at the time it was made; `same` compares it with the present."""

    __slots__ = (
        "_cells", "_fast", "_held", "_names", "_read_at", "_seconds", "_seen", "_slow", "_stack",
        "_variables", "classes", "functions", "late", "spaces",
    )  # fmt: skip

    def __init__(self, roots: Iterable[Any]) -> None:
        self.spaces: dict[int, tuple[dict[str, Any], set[str]]] = {}  # namespaces, and the names read in each
        self.classes: list[type] = []  # the user's classes
        self.late: set[str] = set()  # modules that the function imports as it runs
        self.functions: list[FunctionType] = []
        self._fast: list[Look] = []
        self._cells: list[Look] = []  # those of `_fast` at the closures of functions
        self._variables: list[Look] = []
        self._slow: list[tuple[Callable[[], Any], int]] = []  # getters of values, and their checksums
        self._held: list[Any] = []
        self._seen: set[int] = set()
        self._stack: list[Any] = list(roots)
        self._seconds = 0.0
        while self._stack:
            self._visit(self._stack.pop())
        looks, self._fast = self._fast, []
        for space, names in self.spaces.values():
            self._look_at_space(space, names)
        self._names = (*(look for look in self._fast if look[2]), *self._cells, *self._variables)
        self._fast += self._variables
        self._fast += [_look_at_each(self.functions, name) for name in _SET] + looks
        self._let_go()
        self._read_at = time.perf_counter()

    def moved(self) -> bool:
        """Return whether a name is bound to another object than it was: half a microsecond, at each submit."""
        try:
            for how, what, kept in self._names:
                if not all(map(operator.is_, how(what), kept)) and not _equal(how(what), kept):
                    return True
        except Exception:  # a name is gone
            return True
        return False

    def same(self, *, through: bool = False) -> bool:
        """Return whether nothing has changed; `through`: take the slow looks too, whatever they cost."""
        if not _same(self._fast):
            return False
        if not self._slow:
            return True
        begun = time.perf_counter()
        if not through and begun - self._read_at < SHARE * self._seconds:
            return True
        same = all(_sum_of(get()) == kept for get, kept in self._slow)
        self._read_at = time.perf_counter()
        self._seconds = self._read_at - begun
        return same

    # -- making ------------------------------------------------------------------------------------

    def _visit(self, value: Any) -> None:
        kind = type(value)
        if kind in _STILL or id(value) in self._seen:
            return
        self._seen.add(id(value))
        self._held.append(value)  # keeps it alive: another object must not get its id
        if len(self._held) > MOST_OBJECTS:
            self._stop()
        elif kind is FunctionType:
            self._function(value)
        elif kind is MethodType:
            self._stack += (value.__func__, value.__self__)
        elif kind is types.BuiltinFunctionType:
            self._stack.append(value.__self__)
        elif issubclass(kind, type):
            self._class(value)
        elif kind is ContextVar:
            self._variable(value)
        elif kind is ModuleType or issubclass(kind, Enum):
            self._stack.append(kind)
        else:
            self._object(kind, value)

    def _function(self, fn: FunctionType) -> None:
        self.functions.append(fn)
        self._stack += fn.__defaults__ or ()
        for space in (vars(fn), fn.__kwdefaults__):
            if space:
                self._look_at_dict(space)
        added = reads_of(fn.__code__).added_to
        named = zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=False)
        cells = [cell for name, cell in named if name not in added]
        if cells:
            self._look(_contents, cells)
            self._cells.append(self._fast[-1])
        if not is_own_function(fn):
            return
        self.late.update(reads_of(fn.__code__).imports)
        owner = owner_of(fn)
        if owner is not None:
            self._stack.append(owner)
        for place in places_of(fn):
            self.spaces.setdefault(id(place.space), (place.space, set()))[1].add(place.name)
            if not is_a(place.value, ModuleType):
                self._stack.append(place.value)

    def _class(self, kind: type) -> None:
        if not is_own_class(kind):
            return
        self.classes.append(kind)
        copyreg._slotnames(kind)  # type: ignore[attr-defined]  # the first pickle of an instance would add it to the class
        members = vars(kind)
        self._fast.append((operator.attrgetter("__bases__"), kind, list(kind.__bases__)))
        self._fast.append((list, members.keys(), list(members)))
        self._fast.append((list, members.values(), list(members.values())))
        self._stack += (*kind.__bases__, type(kind))
        for name, value in members.items():
            if type(value) is FunctionType or not (name.startswith("__") and name.endswith("__")):
                self._stack.append(opened(value))

    def _object(self, kind: type, value: Any) -> None:
        inner = wrapped_in(value)
        if inner is not None:
            self._stack.append(inner)
        seen = inner is not None or kind.__module__ in _CLOSED
        if is_own_class(kind):
            self._stack.append(kind)
            self._look(_attributes, value)
            seen = all(is_own_class(base) or base in _STILL for base in kind.__mro__)
        if issubclass(kind, _CONTAINERS) and _length(kind, value) <= SHORT:
            self._container(kind, value)
        elif kind.__name__ == "partial" and kind.__module__ == "functools":
            self._stack += (value.func, *value.args)
            self._look_at_dict(value.keywords)
        elif not seen:
            self._through(value)

    def _variable(self, variable: ContextVar[Any]) -> None:
        """Its value here: code elsewhere finds the one that it was sent with."""
        self._variables.append((_value_here, variable, _value_here(variable)))
        self._stack += values_of(variable)

    def _container(self, kind: type, value: Any) -> None:
        if issubclass(kind, dict):
            self._look_at_dict(value)
        else:
            self._look(_items_of(kind), value)

    def _through(self, value: Any) -> None:
        begun = time.perf_counter()
        found = _sum_of(value)
        if found is not None:
            self._slow.append((lambda: value, found))
        self._seconds += time.perf_counter() - begun

    def _stop(self) -> None:
        """Give up fast looks, because there are too many: take slow looks at whole values."""
        self._stack.clear()
        for space, names in self.spaces.values():
            for value in [space[name] for name in names if name in space]:
                if not is_a(value, FunctionType, type, ModuleType) and type(value) not in _STILL:
                    self._through(value)

    def _look_at_dict(self, space: dict[Any, Any]) -> None:
        self._fast.append((list, dict.keys(space), list(dict.keys(space))))
        self._look(list, dict.values(space))

    def _let_go(self) -> None:
        """Stop holding values with slow looks, so that rebinding a name frees the old value."""
        self._seen.clear()
        self._held.clear()
        refs: dict[int, weakref.ref[Any]] = {}
        for n, (get, found) in enumerate(self._slow):
            with contextlib.suppress(TypeError):  # a builtin container
                refs[id(get())] = weakref.ref(get())
                self._slow[n] = (refs[id(get())], found)
        if refs:
            for _, _, kept in self._fast:
                kept[:] = [refs.get(id(value), value) for value in kept]

    def _look_at_space(self, space: dict[str, Any], names: set[str]) -> None:
        there = [name for name in names if name in space]
        if there:
            kept = [space[name] for name in there]
            self._fast.append((operator.itemgetter(*there, there[0]), space, [*kept, kept[0]]))
        missing = frozenset(names).difference(there)
        if missing:
            self._fast.append((lambda names: list(missing.intersection(names)), space, []))

    def _look(self, how: Callable[[Any], Sequence[Any]], what: Any) -> None:
        kept = list(how(what))
        self._fast.append((how, what, kept))
        self._stack += kept


def _look_at_each(functions: list[FunctionType], name: str) -> Look:
    """Make one look at an attribute of many functions; `__kwdefaults__` only of those with keyword-only arguments."""
    if name == "__kwdefaults__":
        functions = [fn for fn in functions if fn.__code__.co_kwonlyargcount]
    get = operator.attrgetter(name)
    return (lambda all: list(map(get, all))), functions, list(map(get, functions))


def _same(looks: Sequence[Look]) -> bool:
    try:
        for how, what, kept in looks:
            now = how(what)
            if len(now) != len(kept) or (not all(map(operator.is_, now, kept)) and not _equal(now, kept)):
                return False
    except Exception:  # a name is gone, or another thread changes a dict meanwhile
        return False
    return True


def _equal(now: Sequence[Any], kept: list[Any]) -> bool:
    """Return whether plain values that are other objects are equal; equal ones replace the kept ones."""
    for n, (new, old) in enumerate(zip(now, kept, strict=True)):
        if new is old or (type(old) is weakref.ref and new is not None and old() is new):
            continue
        if type(new) is not type(old) or type(new) not in _EQUALS or new != old:
            return False
        kept[n] = new
    return True


def _base_of(kind: type) -> Any:
    """Return the builtin container among a class's bases."""
    return next(base for base in _CONTAINERS if issubclass(kind, base))


def _length(kind: type, value: Any) -> int:
    return _base_of(kind).__len__(value)  # type: ignore[no-any-return]


def _items_of(kind: type) -> Callable[[Any], list[Any]]:
    base = _base_of(kind)
    return list if kind is base else lambda value: list(base.__iter__(value))


def _value_here(variable: ContextVar[Any]) -> list[Any]:
    return values_of(variable) or [_NONE]


def _contents(cells: Sequence[Any]) -> list[Any]:
    return [content_of(cell) for cell in cells]


def _attributes(value: Any) -> list[Any]:
    found = attributes_of(value)
    return [*found, *found.values()]


class _Sum:
    """A file that takes a pickle and keeps its checksum alone."""

    def __init__(self) -> None:
        self.found = 0

    def write(self, data: Any) -> None:
        self.found = zlib.crc32(data, self.found)

    def buffer(self, buffer: pickle.PickleBuffer) -> bool:
        try:
            self.write(buffer.raw())
        except BufferError:  # not contiguous
            return True
        return False


def _sum_of(value: Any) -> int | None:
    """Return a checksum of a value's content; None for one that cannot be pickled, which is compared by identity."""
    found = _Sum()
    try:
        if issubclass(type(value), _BUFFERS):
            found.write(value)
        else:
            pickle.Pickler(found, 5, buffer_callback=found.buffer).dump(value)
    except Exception:  # the object's own code may raise anything
        return None
    return found.found
