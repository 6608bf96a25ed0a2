"""Modules that travel whole, so that their content need not be pickled: a lock, a connection, an open file.

    pickled:    work of module tools --> reached(module, "work", ("plain_fn",)), the module by its name and its source
    unpickled:  the same file is found here --> a plain import
                missing, or another file    --> a module of that name, made here once from the source

    Code by value takes along the values that it reads of its module, one by one. That is tried first. Where a value
    cannot be pickled, its module goes whole: functions and classes go by name, and functions without a name (lambdas,
    those inside decorators) by code, with the module's own globals.
"""

from __future__ import annotations

import contextlib
import importlib.util
import sys
import threading
from importlib.abc import InspectLoader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

from anabranch.core.asking import attribute, is_a
from anabranch.core.user_code import is_local
from anabranch.core.wrappers import LRU

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

MAIN = "__main__"
MOST = 100  # objects searched for a function inside the object under its name
_NONE = object()
_INSIDE = ("plain_fn", "fn", "__wrapped__", "__func__", "func", "fget", "fset")  # attributes of wrappers

Source = tuple[str, str, bool]  # the file, its text, whether it is a package


class WholeModule:
    """A module to pickle; unpickles as the worker's module."""

    __slots__ = ("name", "sources")

    def __init__(self, name: str, sources: dict[str, Source]) -> None:
        self.name = name
        self.sources = sources  # of the module, and of the user's modules that it imports

    def __reduce__(self) -> Any:
        return present, (self.name, self.sources)


class _Space:
    """The globals of a module, to pickle."""

    def __init__(self, module: WholeModule) -> None:
        self.module = module

    def __reduce__(self) -> Any:
        return vars, (self.module,)


class WholeModules:
    """The modules that go whole: those of the user's that were taken, and all installed ones.

    Args:
        taken: modules of the user's that go with their source.
        imported: whether workers import from the same folders; then the user's modules go whole too, without source.
    """

    def __init__(self, taken: Iterable[ModuleType] = (), *, imported: bool = False) -> None:
        self._imported = imported
        self._found: dict[str, WholeModule | None] = {}
        taken = list(taken)
        self.chosen = frozenset(module.__name__ for module in taken)
        for module in taken:  # with its imports, so that both sides have the same classes
            sources = _sources(module)
            self._found.update({name: WholeModule(name, sources) for name in (module.__name__, *sources)})
        self.names = frozenset(self._found)  # names of the taken modules

    def and_more(
        self, modules: Mapping[str, ModuleType], refuses: Callable[[Any], bool], read: Mapping[str, set[str]] | None
    ) -> WholeModules | None:
        """Return this with those of the modules that contain unpicklable values added; None: there are none.

        Args:
            read: the names to look at, by module; None: all.
        """
        more = [
            module
            for name, module in modules.items()
            if name not in self.names and _holds(module, refuses, None if read is None else read.get(name, set()))
        ]
        known = [sys.modules[name] for name in self.chosen if name in sys.modules]
        return WholeModules([*known, *more]) if more else None

    def get(self, name: Any) -> WholeModule | None:
        if type(name) is not str or name == MAIN:
            return None
        if name not in self._found:
            module = sys.modules.get(name)
            whole = is_a(module, ModuleType) and (self._imported or not is_local(module)) and _importable(module)
            self._found[name] = WholeModule(name, {}) if whole else None
        return self._found[name]


class _Here(threading.local):
    modules: WholeModules | None = None


_here = _Here()


@contextlib.contextmanager
def going_whole(modules: WholeModules) -> Iterator[None]:
    """Pickle content of these modules by name in this thread, for the block."""
    before, _here.modules = _here.modules, modules
    try:
        yield
    finally:
        _here.modules = before


def that_go() -> WholeModules | None:
    """Return the modules that go whole in this thread's present pickle."""
    return _here.modules


def reduction(value: Any, modules: WholeModules, by_value: Collection[str]) -> Any:
    """Reduce a module, function or class as part of a whole module, like `__reduce__`; None for other objects.

    Args:
        by_value: modules that travel piece by piece, where they do not go whole.
    """
    if not is_a(value, ModuleType, FunctionType, type, LRU):
        return None
    name = attribute(value, "__name__" if is_a(value, ModuleType) else "__module__")
    module = modules.get(name)
    taken = name in modules.names
    if module is None or (name in by_value and not taken):
        return None
    if is_a(value, ModuleType):
        return module.__reduce__() if taken and sys.modules.get(name) is value else None
    steps = _steps(sys.modules.get(name), attribute(value, "__qualname__"), value)
    if steps is None or (not steps and not taken):  # without a name, or with one that plain pickle uses
        return None
    return reached, (module, value.__qualname__, steps)


def with_space(
    fn: FunctionType, modules: WholeModules, args: tuple[Any, ...], state: Any
) -> tuple[tuple[Any, ...], Any]:
    """Return the arguments and state to rebuild a function: with the globals of its whole module, if it has one."""
    module = modules.get(fn.__globals__.get("__name__"))
    if module is None or vars(sys.modules[module.name]) is not fn.__globals__:
        return args, state
    own, slots = state
    return (args[0], _Space(module), *args[2:]), (own, {**slots, "__globals__": {}})


# -- on the way to a name ----------------------------------------------------------------------------


def reached(module: ModuleType, name: str, steps: Sequence[str | int]) -> Any:
    """Return the object under a name of a module, or one inside it."""
    found = _under(module, name)
    for step in steps:
        found = _at(found, step)
    if found is _NONE:
        raise AttributeError(f"module {module.__name__!r} has no {name!r} here")
    return found


def _steps(module: Any, name: Any, value: Any) -> tuple[str | int, ...] | None:
    """Return the path from the object under the name to the value; None: there is none."""
    first = _under(module, name) if type(name) is str and "<" not in name else _NONE
    queue: list[tuple[Any, tuple[str | int, ...]]] = [(first, ())]
    seen = {id(first)}
    for found, steps in queue:
        if found is value:
            return steps
        cells = range(len(found.__closure__ or ())) if is_a(found, FunctionType) else ()
        for step in (*_INSIDE, *cells) if not is_a(found, type, ModuleType) and len(queue) < MOST else ():
            inner = _at(found, step)
            if inner is not _NONE and id(inner) not in seen:
                seen.add(id(inner))
                queue.append((inner, (*steps, step)))
    return None


def _under(module: Any, name: str) -> Any:
    """Return the object of a dotted name; an attribute of a class as its body has it, unbound."""
    found = module
    for part in name.split("."):
        holders = found.__mro__ if is_a(found, type) else (found,)
        spaces = [space for space in (attribute(holder, "__dict__") for holder in holders) if space is not None]
        found = next((space[part] for space in spaces if part in space), _NONE)
        if found is _NONE:
            break
    return found


def _at(found: Any, step: str | int) -> Any:
    if isinstance(step, str):
        return attribute(found, step, _NONE)
    try:
        return found.__closure__[step].cell_contents
    except (AttributeError, IndexError, TypeError, ValueError):  # other code, or a cell that is not filled yet
        return _NONE


# -- where modules come from -------------------------------------------------------------------------


def _importable(module: Any) -> bool:
    """Return whether a process with this path imports the module's own file under its name."""
    spec = _spec(module.__name__)
    return spec is not None and spec.origin == getattr(attribute(module, "__spec__"), "origin", None)


def _spec(name: str) -> ModuleSpec | None:
    parent = name.rpartition(".")[0]
    path = attribute(sys.modules.get(parent), "__path__") if parent else None
    try:
        return PathFinder.find_spec(name, None if path is None else list(path))
    except Exception:  # finders and loaders on the path may raise anything
        return None


def _source(module: ModuleType) -> Source | None:
    file = attribute(module, "__file__")
    text = _text(file)
    return None if text is None else (file, text, attribute(module, "__path__") is not None)


def _text(file: Any) -> str | None:
    if type(file) is not str:
        return None
    try:
        with open(file, "rb") as opened:
            return importlib.util.decode_source(opened.read())
    except (OSError, SyntaxError, UnicodeError):  # the file is gone, or is no Python
        return None


def _sources(module: ModuleType) -> dict[str, Source]:
    """Return the sources of a module, and of the user's modules that it imports, as far as its names tell."""
    found: dict[str, Source] = {}
    stack = [module.__name__]
    while stack:
        name = stack.pop()
        one = sys.modules.get(name)
        if name in found or one is None or not is_a(one, ModuleType) or not is_local(one):
            continue
        source = _source(one)
        if source is None:
            continue
        found[name] = source
        stack += [name.rpartition(".")[0]] if "." in name else []
        for value in list(vars(one).values()):
            kind = value if is_a(value, ModuleType, FunctionType, type) else type(value)
            inner = attribute(kind, "__name__" if is_a(value, ModuleType) else "__module__")
            stack += [inner] if type(inner) is str else []
    return found


def neighbours(modules: Mapping[str, ModuleType]) -> dict[str, ModuleType]:
    """Return these modules, and those of the user's that they import."""
    names = {name for module in modules.values() for name in _sources(module)}
    return {**modules, **{name: sys.modules[name] for name in names}}


def _holds(module: ModuleType, refuses: Callable[[Any], bool], names: set[str] | None) -> bool:
    """Return whether a value under these names (None: all), or one in a class of the module, cannot be pickled."""
    seen: set[int] = set()
    stack: list[Any] = [{n: v for n, v in list(vars(module).items()) if names is None or n in names}]
    while stack:
        for name, value in list(stack.pop().items()):
            if id(value) in seen or name.startswith("__") or is_a(value, ModuleType):
                continue
            seen.add(id(value))
            if is_a(value, type):
                stack += [vars(value)] if value.__module__ == module.__name__ else []
            elif refuses(value):
                return True
    return False


# -- on a worker -------------------------------------------------------------------------------------


class _Finder(MetaPathFinder):
    """A finder of modules that came with their source, unless the same file is on the path."""

    def __init__(self) -> None:
        self.sources: dict[str, Source] = {}

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        source = self.sources.get(name)
        if source is None:
            return None
        with contextlib.suppress(Exception):  # other finders on the path may raise anything
            spec = PathFinder.find_spec(name, path)
            if spec is not None and _text(spec.origin) == source[1]:
                return spec
        file, text, package = source
        spec = ModuleSpec(name, _Loader(file, text), origin=file, is_package=package)
        spec.has_location = True
        return spec


class _Loader(InspectLoader):
    """A loader for a module without a file here."""

    def __init__(self, file: str, text: str) -> None:
        self.file = file
        self.text = text

    def get_source(self, fullname: str) -> str:
        return self.text

    def get_code(self, fullname: str) -> Any:
        return self.source_to_code(self.text, self.file)


_finder = _Finder()
_finding = threading.Lock()


def present(name: str, sources: Mapping[str, Source]) -> ModuleType:
    """Return the module of this name, of another version if only that was here; raises its import's exception."""
    if any(_finder.sources.get(each) != source for each, source in sources.items()):
        _expect(sources)
    found = sys.modules.get(name)
    return importlib.import_module(name) if found is None else found


def _expect(sources: Mapping[str, Source]) -> None:
    """Let imports find these sources from now on; modules of other versions are forgotten."""
    with _finding:
        if _finder not in sys.meta_path:
            sys.meta_path.insert(0, _finder)
        for name, source in sources.items():
            there = sys.modules.get(name)
            if there is not None and not _is_that(there, source):
                del sys.modules[name]
            _finder.sources[name] = source


def _is_that(module: Any, source: Source) -> bool:
    """Return whether a module is of this source, or of the same file, which was edited since."""
    loader = attribute(attribute(module, "__spec__"), "loader")
    if type(loader) is _Loader:
        return loader.text == source[1]
    file = attribute(module, "__file__")
    return file == source[0] or _text(file) == source[1]
