"""Classes and functions that travel by value, and become the receiver's own of their name where it has them.

    pickled:    class Row of __main__ --> own(maker, arguments, "__main__", "Row"), then filled(..., state)
    unpickled:  in the script's program, or its next start   --> its class Row, as it stands there
                on a worker                                  --> made anew once, found as __main__.Row from then on

So a value of the script's own classes that comes home, or out of the store, is one for `isinstance`, `is`
and `match`; and a task finds in `__main__` what it would find there in the script: `pickle.dumps` of an
object, a function given to a pool of processes, a file that the script pickled. Nothing of the script
is run on a worker: what no pickle has brought is asked for (`core.script`).
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
    """What this process is."""

    def __init__(self) -> None:
        self.home = True  # it has the user's script or session: what is found there is the real thing
        self.driver = False  # it stays so, whatever else is asked of it
        self.stand_in: ModuleType | None = None  # read in the place of `__main__`, which is another program's
        # Elsewhere: what was made by value, by module and name, as long as anything else holds it.
        self.made: WeakValueDictionary[tuple[str, str], Any] = WeakValueDictionary()
        self.whole: WeakSet[Any] = WeakSet()  # of these, those that have their attributes
        self.ask: Callable[[str], Any] | None = None  # brings what nothing has brought yet; None: there is none


roles = _Roles()


@contextlib.contextmanager
def standing_in(module: ModuleType) -> Iterator[None]:
    """Inside, what was pickled as the script's own is the module's of that name, where it has one."""
    before, roles.stand_in = roles.stand_in, module
    try:
        yield
    finally:
        roles.stand_in = before


@functools.cache
def pickler(base: Any, kept: bool = False) -> Any:
    """A pickler by value made of `base`, which is cloudpickle's.

    Args:
        kept: for what is read by a later program: a class is another one there, whatever it was here.
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
            """The value's pickle (protocol 5); raises what its pickling raises."""
            kind = cls if kept or whole_modules.that_go() is None else Whole
            with io.BytesIO() as file:
                kind(file, 5, buffer_callback=buffer_callback).dump(value)
                return file.getvalue()

    class Whole(Pickler):
        """Tells what is in a module that goes whole by its name there."""

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
    """What a pickled class or function is here: this process's own one of that name, or a copy.

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
    """Give a copy its attributes; what is the process's own, or came from the script itself, keeps those it has."""
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
        made.__qualname__ = name  # a class inside another one: by this name it is known again
    return made


def known_as(name: str) -> Any:
    """On a worker: what the script has as `name`, as far as it came here or can be asked for; None: nothing."""
    first, _, rest = name.partition(".")
    found = roles.made.get((MAIN, name))
    if found is None and rest:
        inner = _inside({first: known_as(first)}, name)
        return None if inner is _NONE else inner
    if found is None and roles.ask is not None:
        found = roles.ask(name)
    return found


def _place(value: Any) -> tuple[str, str]:
    """The module and name where it is found; an empty name for what stands nowhere, as what a function makes.

    Two may have one name: `dataclass(slots=True)` makes a second class, and its methods still hold the first.
    """
    module, name = getattr(value, "__module__", None), value.__qualname__
    if not isinstance(module, str) or "<" in name:
        return "", ""
    if module != MAIN and module not in sys.modules and roles.home:  # nobody else can have the name
        return module, name
    found = _at_home(module, name) if roles.home else roles.made.get((module, name))
    return (module, name) if found is value else ("", "")


def _with_slots(kind: type, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Have the copy made with the slots of the class: one without them keeps its objects' state elsewhere."""
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
    """What a dotted name leads to."""
    first, *rest = name.split(".")
    found = names.get(first, _NONE)
    for part in rest:
        found = _NONE if found is _NONE else getattr(found, part, _NONE)
    return found


def _same(found: Any, make: Callable[..., Any], args: tuple[Any, ...]) -> bool:
    """Whether what stands under the name is what was pickled, as far as that matters to its values."""
    if make.__name__ == "_make_function":
        return isinstance(found, FunctionType) and found.__code__ == args[0] and found.__closure__ is None
    if not isinstance(found, type):
        return False
    if make.__name__ == "_make_skeleton_enum":  # a member that is gone can only be one of the copy
        there = getattr(found, "__members__", {})
        return all(name in there and there[name].value == value for name, value in args[3].items())
    return True
