"""Names of a package that are loaded when asked for (PEP 562), and modules that are loaded at their first use."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def lazily(package: str, **homes: str) -> Callable[[str], Any]:
    """Return a `__getattr__` for a package.

    Args:
        package: its `__name__`.
        homes: by name, the module of the package that defines it.
    """

    def load(name: str) -> Any:
        if name in homes:
            return getattr(importlib.import_module(f"{package}.{homes[name]}"), name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return load


class _Later(ModuleType):
    """Stands for a module until the first use of one of its names, and is replaced by it then.

    Args:
        names: the globals that it stands in, under the name `known_as`.
    """

    def __init__(self, home: str, names: dict[str, Any], known_as: str) -> None:
        super().__init__(home)
        self._names, self._known_as = names, known_as

    def __getattr__(self, name: str) -> Any:
        home = importlib.import_module(self.__name__)
        if self._names.get(self._known_as) is self:
            self._names[self._known_as] = home
        return getattr(home, name)


def later(names: dict[str, Any], package: str, *modules: str, **known_as: str) -> None:
    """Put modules into a module's globals that are loaded at their first use.

    A module at the top imports so what carries runs out: a program that declares tasks and flows, and runs none, does
    not load the engine. Type checkers read the imports of an `if TYPE_CHECKING` beside it.

    Args:
        modules: of the package, under their own names.
        known_as: others, by their name in these globals.
    """
    for name, module in {**dict(zip(modules, modules, strict=True)), **known_as}.items():
        names[name] = _Later(f"{package}.{module}", names, name)
