"""Arguments frozen at the moment they are handed over, so that later changes by the caller do not show.

submit(d) --> Frozen: a pickle of it --> part of the chunk's pickle --> unpickled on the worker
map(ds)   --> Cells: elements in groups, a pickle each; an element is a group and a place in it

Only for workers in other processes; threads share objects. Immutable values are not pickled. Classes and functions
of the user's own stand in such a pickle by name, and travel beside it as the runner sends code.
"""

from __future__ import annotations

import copy
import io
import operator
import pickle
import sys
from collections.abc import Sequence
from functools import lru_cache, partial
from itertools import chain
from types import FunctionType
from typing import TYPE_CHECKING, Any

from anabranch.core.asking import is_a
from anabranch.core.containers import FIXED
from anabranch.core.map_plan import Listed, is_array
from anabranch.core.search import Hole
from anabranch.core.user_code import is_local
from anabranch.core.walk import fill

if TYPE_CHECKING:
    from collections.abc import Iterator

APART = 64 << 10  # bytes from which on a buffer lies beside the pickle
GROUP_BYTES = 16 << 10  # of elements in one pickle: a chunk takes whole groups along
GROUP = 64  # elements, at most
LISTED_BYTES = 64 << 20  # of one list's elements; the rest is frozen when it is pulled


class Frozen:
    """A pickle that unpickles as the value itself."""

    __slots__ = ("buffers", "code", "data")

    def __init__(self, data: bytes, code: dict[tuple[str, str], Any], buffers: tuple[bytes, ...]) -> None:
        self.data = data
        self.code = code  # the user's own classes and functions that the pickle names
        self.buffers = buffers

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        if not (self.code or self.buffers):
            return pickle.loads, (self.data,)
        wrap: Any = pickle.PickleBuffer if protocol >= 5 else bytes
        return _thawed, (self.data, self.code, *map(wrap, self.buffers))

    def __sizeof__(self) -> int:
        return 64 + len(self.data) + sum(map(len, self.buffers))

    def value(self) -> Any:
        """Return a copy for the driver itself; raises the exception of unpickling it."""
        return _thawed(self.data, self.code, *self.buffers)


class Filled:
    """Frozen arguments with the values of the runs that they read."""

    __slots__ = ("frozen", "values")

    def __init__(self, frozen: Frozen, values: Sequence[Any]) -> None:
        self.frozen = frozen
        self.values = values

    def __reduce__(self) -> tuple[Any, ...]:
        return fill, (self.frozen, self.values)


class Element:
    """One element of a group; those of one chunk share their group."""

    __slots__ = ("group", "place")

    def __init__(self, group: Frozen, place: int) -> None:
        self.group = group
        self.place = place

    def __reduce__(self) -> tuple[Any, ...]:
        return operator.getitem, (self.group, self.place)

    def __sizeof__(self) -> int:
        return sys.getsizeof(self.group) // GROUP


class Run(Sequence[Any]):
    """Consecutive elements, as a chunk takes them: unpickles as a list of them."""

    __slots__ = ("_groups", "_skipped", "_width", "length")

    def __init__(self, groups: list[Frozen], width: int, skipped: int, length: int) -> None:
        self._groups = groups
        self._width = width
        self._skipped = skipped  # elements of the first group that come before them
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, which: Any) -> Any:
        if type(which) is slice:
            return [self[index] for index in range(*which.indices(self.length))]
        number, place = divmod(self._skipped + range(self.length)[which], self._width)
        return Element(self._groups[number], place)

    def __reduce__(self) -> tuple[Any, ...]:
        return _elements, (self._skipped, self.length, *self._groups)


class Cells(Listed):
    """The frozen elements of a list."""

    def __init__(self, groups: list[Any], width: int, length: int) -> None:
        self._groups = groups  # each frozen, or a list of immutable elements
        self._width = width
        self._length = length

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, which: Any) -> Any:
        if type(which) is slice:
            return self._some(*which.indices(self._length))
        number, place = divmod(which, self._width)
        group = self._groups[number]
        return Element(group, place) if type(group) is Frozen else group[place]

    def __iter__(self) -> Iterator[Any]:
        return (self[index] for index in range(self._length))

    def _some(self, first: int, last: int, step: int) -> Sequence[Any]:
        groups = self._groups[first // self._width : -(-last // self._width)]
        if step == 1 and first < last and all(type(group) is Frozen for group in groups):
            return Run(groups, self._width, first % self._width, last - first)
        return [self[index] for index in range(first, last, step)]


_STAND_INS = frozenset({Hole, Frozen, Element})


def taken(value: Any) -> Any:
    """Freeze a value; returns the value itself where it is immutable or cannot be pickled."""
    if _is_fixed(value):
        return value
    try:
        return Frozen(pickle.dumps(value, 5), {}, ()) if is_plain(value) else _frozen(value)
    except Exception:  # an object's own code raised; or a lambda, which only travels by value
        try:
            return copy.deepcopy(value)
        except Exception:  # it will not travel either: its run fails with the reason
            return value


def taken_list(cells: Any) -> Any:
    """Freeze the elements that a map goes over, if they are listed."""
    if is_array(cells):
        return cells.copy() if _may_change(cells) and cells.nbytes <= LISTED_BYTES else cells
    if type(cells) is not tuple or _are_fixed(cells):
        return cells
    groups: list[Any] = []
    left, width = LISTED_BYTES, 0
    while (at := len(groups) * width) < len(cells):
        if not width:  # measured on the first element
            first = taken(cells[0])
            width = max(1, min(GROUP, GROUP_BYTES // (1 + sys.getsizeof(first)))) if type(first) is Frozen else GROUP
        some = cells[at : at + width]
        group = taken(some) if left > 0 else some
        left -= sys.getsizeof(group) if type(group) is Frozen else 0
        groups.append(group)
    return Cells(groups, width, len(cells))


def as_given(item: Any) -> Any:
    """Return an item for the driver itself, thawed; raises the exception of unpickling it."""
    kind = type(item)
    if kind is Frozen:
        return item.value()
    if kind is Element:
        return item.group.value()[item.place]
    if kind is tuple and any(type(part) in (Frozen, Element) for part in item):
        return tuple([as_given(part) for part in item])
    return item


def is_plain(value: Any) -> bool:
    """Return whether a value is made of containers of leaves alone."""
    kind = type(value)
    if kind is dict:
        return FIXED.issuperset(map(type, value)) and FIXED.issuperset(map(type, value.values()))
    if kind is tuple:
        return all(type(part) in FIXED or is_plain(part) for part in value)
    return kind in (list, set) and FIXED.issuperset(map(type, value))


def _is_fixed(value: Any) -> bool:
    """Return whether a value is immutable throughout; False where finding out would take longer."""
    kind = type(value)
    if kind in FIXED or kind in _STAND_INS:
        return True
    if kind is tuple:
        return all(map(_is_fixed, value)) if len(value) <= GROUP else _are_fixed(value)
    return kind is dict and not value  # a call without keywords


def _are_fixed(cells: tuple[Any, ...]) -> bool:
    kinds = set(map(type, cells))
    if tuple in kinds:
        kinds.discard(tuple)
        kinds.update(map(type, chain.from_iterable(cell for cell in cells if type(cell) is tuple)))
    return kinds <= FIXED or kinds - FIXED <= _STAND_INS


def _may_change(array: Any) -> bool:
    """Return whether the caller can change an array; one that maps a file counts as unchanging."""
    return type(array).__name__ != "memmap" and (array.flags.writeable or array.base is not None)


class _Pickler(pickle.Pickler):
    """A plain pickler that notes the user's own classes and functions it names."""

    def __init__(self, file: io.BytesIO, buffers: list[bytes]) -> None:
        # Not a method: the pickler would hold itself, and its memo all that it has pickled.
        super().__init__(file, 5, buffer_callback=partial(_aside, buffers))
        self.code: dict[tuple[str, str], Any] = {}

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, (type, FunctionType)) and _is_users(value.__module__):
            self.code[value.__module__, value.__qualname__] = value
        return NotImplemented


def _aside(buffers: list[bytes], buffer: pickle.PickleBuffer) -> bool:
    """Take a large buffer out of the pickle."""
    raw = buffer.raw()
    if raw.nbytes < APART:
        return True
    buffers.append(bytes(raw))
    return False


class _Unpickler(pickle.Unpickler):
    def __init__(self, data: bytes, code: dict[tuple[str, str], Any], buffers: Any) -> None:
        super().__init__(io.BytesIO(data), buffers=buffers)
        self._code = code

    def find_class(self, module: str, name: str) -> Any:
        found = self._code.get((module, name))
        return super().find_class(module, name) if found is None else found


def _frozen(value: Any) -> Frozen:
    buffers: list[bytes] = []
    with io.BytesIO() as file:
        pickler = _Pickler(file, buffers)
        pickler.dump(value)
        return Frozen(file.getvalue(), pickler.code, tuple(buffers))


def _thawed(data: bytes, code: dict[tuple[str, str], Any], *buffers: Any) -> Any:
    """Return the value; arrays in it are writable."""
    own = [bytearray(buffer) if memoryview(buffer).readonly else buffer for buffer in buffers]
    return _Unpickler(data, code, own).load() if code else pickle.loads(data, buffers=own)


def _elements(skipped: int, length: int, *groups: Sequence[Any]) -> list[Any]:
    return list(chain.from_iterable(groups))[skipped : skipped + length]


@lru_cache(maxsize=1024)
def _is_users(module: Any) -> bool:
    return module == "__main__" or (is_a(module, str) and is_local(sys.modules.get(module)))
