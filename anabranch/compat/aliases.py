"""Other packages' names in `import`: a finder on `sys.meta_path` that gives our modules in their place.

    import prefect.tasks
      -> Aliases.find_spec: the package is one of ours
         -> anabranch.compat.prefect.tasks, the very module: both names stand for one object
         -> else ModuleNotFoundError, which says what to use

Nothing is written to disk, and a package that was imported before is never replaced.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from importlib.machinery import ModuleSpec
from typing import TYPE_CHECKING, Any, NoReturn, cast

from anabranch.compat.lacking import LACKING, lacking

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from importlib.abc import Loader
    from types import ModuleType


class Aliases:
    """Finds the modules of some packages among ours.

    Args:
        homes: for each package the module of ours that stands for it; submodules have the same names.
        elsewhere: for modules that we do not have, by dotted name, what to use in their place. A name stands for all
            modules below it.
    """

    def __init__(self, homes: Mapping[str, str], elsewhere: Mapping[str, str]) -> None:
        self._homes = homes
        self._elsewhere = elsewhere

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        package, _, rest = fullname.partition(".")
        home = self._homes.get(package)
        if home is None:
            return None
        ours = f"{home}.{rest}" if rest else home
        found = _found(ours)
        if found is None:
            self._refuse(fullname)
        loader = cast("Loader", _Same(ours))  # without its base class: importlib.abc loads importlib.resources
        return ModuleSpec(fullname, loader, is_package=found.submodule_search_locations is not None)

    def _refuse(self, name: str) -> NoReturn:
        """Raise ModuleNotFoundError with the way out."""
        parts = name.split(".")
        known = (".".join(parts[:n]) for n in range(len(parts), 0, -1))
        advice = next((self._elsewhere[one] for one in known if one in self._elsewhere), "")
        raise ModuleNotFoundError(f"anabranch has no {name}{': ' if advice else ''}{advice}", name=name)


class _Same:
    """Loads a module by giving another one, which keeps its own spec."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._spec: ModuleSpec | None = None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = importlib.import_module(self._name)
        self._spec = module.__spec__
        self._lacks(module, spec.name)
        return module

    @staticmethod
    def _lacks(module: ModuleType, name: str) -> None:
        """Let names that the other package's module has, and ours has not, be found as placeholders."""
        if name not in LACKING or "__lacking__" in vars(module):
            return
        inner = vars(module).get("__getattr__")

        def found(word: str) -> Any:
            known = lacking(name)
            if inner is not None and word not in known:
                return inner(word)
            if word not in known:
                raise AttributeError(f"module {name!r} has no attribute {word!r}")
            placeholders = importlib.import_module("anabranch.compat.prefect.absent")
            return placeholders.absent(f"{name}.{word}", known[word])

        vars(module).update(__getattr__=found, __lacking__=inner)

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._spec


def _found(name: str) -> ModuleSpec | None:
    """Return how a module is found; None where it, or a package around it, is not there."""
    try:
        return importlib.util.find_spec(name)
    except ModuleNotFoundError:
        return None


def install(homes: Mapping[str, str], elsewhere: Mapping[str, str]) -> None:
    """Let these packages be found among our modules from now on, unless that is so already.

    Raises ImportError where one of them was imported before: its classes are in use, and cannot be replaced.
    """
    for package, home in homes.items():
        found = sys.modules.get(package)
        if found is not None and getattr(found, "__name__", "") != home:
            raise ImportError(
                f"the package {package!r} was imported already, from {getattr(found, '__file__', None)}: import "
                f"{next(iter(homes.values()))} before anything that imports it, or start the program with "
                f"`python -m anabranch.compat {next(iter(homes))} script.py`"
            )
    if not any(isinstance(one, Aliases) and one._homes == homes for one in sys.meta_path):
        sys.meta_path.insert(0, Aliases(homes, elsewhere))
