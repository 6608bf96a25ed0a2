"""Classes and functions that travel by value, and become the receiver's own of the same name where it has them.

    pickled:    class Row of __main__ --> own(maker, arguments, "__main__", "Row"), then filled(..., state)
    unpickled:  in the script's program, or its next start   --> its own class Row
                on a worker                                  --> made once, found as __main__.Row from then on

    So `isinstance`, `is` and `match` hold for a value of the script's own classes that comes home or out of the store.
    And a task finds in `__main__` the names of the script, as `pickle.dumps` of an object needs them, a function given
    to a pool of processes, or a file that the script pickled. The script is not run on a worker: the worker asks for
    names that no pickle has brought (`core.script`).
"""

from __future__ import annotations

import contextlib
import functools
import io
import sys
from types import FunctionType
from typing import TYPE_CHECKING, Any
from weakref import WeakSet, WeakValueDictionary

from anabranch.core import whole_modules
from anabranch.core.wrappers import reductions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import ModuleType

MAIN = "__main__"
_NONE = object()
_PACKAGE = f"{__name__.partition('.')[0]}."


class _Roles:
    """The roles of this process."""

    def __init__(self) -> None:
        self.home = True  # it has the user's script or session, and so the original classes
        self.driver = False  # once a driver, a process stays one
        self.stand_in: ModuleType | None = None  # read in place of `__main__`, which is another program's
        # In other processes: objects made by value, by module and name, as long as anything else holds them.
        self.made: WeakValueDictionary[tuple[str, str], Any] = WeakValueDictionary()
        self.whole: WeakSet[Any] = WeakSet()  # the ones among them that have their attributes
        self.ask: Callable[[str], Any] | None = None  # asks the driver for a name; None: there is no driver to ask


roles = _Roles()


@contextlib.contextmanager
def standing_in(module: ModuleType) -> Iterator[None]:
    """Inside, names pickled as the script's own are read from this module, where it has them."""
    before, roles.stand_in = roles.stand_in, module
    try:
        yield
    finally:
        roles.stand_in = before


@functools.cache
def pickler(base: Any, kept: bool = False) -> Any:
    """Return a pickler by value, derived from `base`, which is cloudpickle's.

    Args:
        kept: the pickle is read by a later program, where classes are other objects than here.
    """

    registered = sys.modules[base.__module__].list_registry_pickle_by_value

    class Pickler(base):  # type: ignore[misc]
        """Pickles what lives in `__main__`, and in modules registered for it, by value."""

        def reducer_override(self, value: Any) -> Any:
            reduced = super().reducer_override(value)
            if reduced is NotImplemented:
                told = reductions.get(type(value))
                return reduced if told is None else told(value, registered())
            if type(reduced) is not tuple or len(reduced) != 6 or not isinstance(value, (type, FunctionType)):
                return reduced
            make, args, state, _, _, fill = reduced
            if isinstance(value, type):
                args = _with_slots(value, args)
            return own, (make, args, *_place(value), kept), (fill, state, kept), None, None, filled

        @classmethod
        def dumps(cls, value: Any, buffer_callback: Any = None) -> bytes:
            """Return the value's pickle (protocol 5); raises the exception of its pickling."""
            kind = cls if kept or whole_modules.that_go() is None else Whole
            with io.BytesIO() as file:
                kind(file, 5, buffer_callback=buffer_callback).dump(value)
                return file.getvalue()

    class Whole(Pickler):
        """A pickler's rule for modules that travel whole: their content goes by name."""

        def reducer_override(self, value: Any) -> Any:
            going = whole_modules.that_go()
            found = None if going is None else whole_modules.reduction(value, going, registered())
            if found is not None:
                return found
            reduced = super().reducer_override(value)
            if going is None or not isinstance(value, FunctionType) or type(reduced) is not tuple:
                return reduced
            make, (inner, args, *place), (fill, state, _), *rest = reduced
            args, state = whole_modules.with_space(value, going, args, state)
            return make, (inner, args, *place), (fill, state, kept), *rest

    return Pickler


def own(make: Callable[..., Any], args: tuple[Any, ...], module: str, name: str, kept: bool) -> Any:
    """Unpickle a class or function: as this process's own one of that name, or as a copy.

    The name of this function stands in stored values: it does not change.
    """
    if roles.home:
        found = _at_home(module, name)
        if found is not _NONE and _same(found, make, args):
            return found
        return _made(make, args, name)
    if kept and module == MAIN and make.__name__ != "_make_function":
        known = known_as(name)
        if isinstance(known, type):
            return known
    made = _made(make, args, name)
    if name:
        roles.made[module, name] = made
    return made


def filled(made: Any, state: tuple[Callable[[Any, Any], Any], Any, bool]) -> Any:
    """Give a copy its attributes; an object of this process, or of the script itself, keeps its own."""
    fill, given, kept = state
    if roles.home:
        if _at_home(getattr(made, "__module__", ""), getattr(made, "__qualname__", "")) is made:
            return made
    elif kept and made in roles.whole:
        return made
    fill(made, given)
    roles.whole.add(made)
    return made


def _made(make: Callable[..., Any], args: tuple[Any, ...], name: str) -> Any:
    made = make(*args)
    if name and isinstance(made, type):
        made.__qualname__ = name  # of a class inside another one: the name to find it by
    return made


def known_as(name: str) -> Any:
    """Return the script's object of this name, on a worker, if it came here or the driver sends it; else None."""
    first, _, rest = name.partition(".")
    found = roles.made.get((MAIN, name))
    if found is None and rest:
        inner = _inside({first: known_as(first)}, name)
        return None if inner is _NONE else inner
    if found is None and roles.ask is not None:
        found = roles.ask(name)
    return found


def _place(value: Any) -> tuple[str, str]:
    """Return the module and name where an object is found; an empty name for one that stands nowhere.

    Two objects may have one name: `dataclass(slots=True)` makes a second class, and its methods still hold the first.
    """
    module, name = getattr(value, "__module__", None), value.__qualname__
    if not isinstance(module, str) or "<" in name:
        return "", ""
    if module != MAIN and module not in sys.modules and roles.home:  # no other object can have the name
        return module, name
    found = _at_home(module, name) if roles.home else roles.made.get((module, name))
    return (module, name) if found is value else ("", "")


def _with_slots(kind: type, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Make the copy with the slots of the class: without them its instances would keep their state elsewhere."""
    slots = kind.__dict__.get("__slots__")
    if not slots or not isinstance(slots, (str, tuple, list, dict)) or issubclass(kind, tuple):
        return args
    if len(args) < 4 or not isinstance(args[3], dict):
        return args
    return (*args[:3], {**args[3], "__slots__": slots}, *args[4:])


def _at_home(module: str, name: str) -> Any:
    if not name:
        return _NONE
    there = roles.stand_in if module == MAIN and roles.stand_in is not None else sys.modules.get(module)
    found = _NONE if there is None else _inside(vars(there), name)
    ours = type(found).__module__.startswith(_PACKAGE)  # a task: its function has its name
    return getattr(found, "plain_fn", found) if ours else found


def _inside(names: Mapping[str, Any], name: str) -> Any:
    """Return the object behind a dotted name."""
    first, *rest = name.split(".")
    found = names.get(first, _NONE)
    for part in rest:
        found = _NONE if found is _NONE else getattr(found, part, _NONE)
    return found


def _same(found: Any, make: Callable[..., Any], args: tuple[Any, ...]) -> bool:
    """Return whether the object under the name is the pickled one, as far as that matters to its values."""
    if make.__name__ == "_make_function":
        return isinstance(found, FunctionType) and found.__code__ == args[0] and found.__closure__ is None
    if not isinstance(found, type):
        return False
    if make.__name__ == "_make_skeleton_enum":  # a member that is missing here exists in the copy alone
        there = getattr(found, "__members__", {})
        return all(name in there and there[name].value == value for name, value in args[3].items())
    return True
