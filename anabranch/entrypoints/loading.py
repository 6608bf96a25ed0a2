"""The module of a target is imported, as Python would for `python FILE` or `python -m MODULE`, but not as __main__."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import traceback
import zlib
from typing import TYPE_CHECKING

from anabranch.core import own_code
from anabranch.core.errors import EntrypointError, LoadError
from anabranch.core.nearest import meant

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

    from anabranch.entrypoints.target import Target


def of_target(target: Target) -> ModuleType:
    """Import the file or the module of a target.

    Raises:
        EntrypointError: there is none.
        LoadError: it does not load; the trace begins in the user's code.
    """
    module = _module(target) if target.module else _file(_checked(target))
    own_code.roles.stand_in = module  # values that `python FILE` stored are of its classes
    return module


# -- files ---------------------------------------------------------------------------------------


def _checked(target: Target) -> Path:
    """Return the file of a target; an error names what is like it."""
    file = target.place
    if file.is_dir():
        raise EntrypointError(f"{target} is a folder; give the file in it that holds the flow")
    if not file.exists():
        raise EntrypointError(f"there is no file {target}{meant(file.name, _files_in(file.parent))}")
    if file.suffix != ".py" and all(word.isidentifier() for word in file.name.split(".")):
        _look_first_in(file.parent)
        if _found(file.name):
            raise EntrypointError(f"{target} is both a file and a module: rename the file, or end its name in .py")
    return file


def _file(file: Path) -> ModuleType:
    path = file.resolve()
    name = path.stem
    if name in sys.modules or not name.isidentifier():
        name = f"anabranch_run_{zlib.crc32(str(path).encode()):08x}"  # equal in each program: stored values contain it
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise EntrypointError(f"{str(file)!r} is not a Python file")
    sys.path.insert(0, str(path.parent))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise _not_loaded(repr(str(file)), error) from None
    return module


# -- modules -------------------------------------------------------------------------------------


def _module(target: Target) -> ModuleType:
    """Import a module, with its folder first on the search path."""
    name = target.module
    _look_first_in(target.place)
    try:
        if not _found(name):
            near = meant(name, _files_in(target.place))
            raise EntrypointError(f"there is no module {name!r}, and no file of this name{near}")
        return importlib.import_module(name)
    except EntrypointError:
        raise
    except Exception as error:
        raise _not_loaded(repr(name), error) from None


def _found(name: str) -> bool:
    """Return whether there is a module of a name; the packages that it is in are imported."""
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError as error:  # of a package that it would be in, or of a module that is no package
        if error.name is not None and (error.name == name or name.startswith(f"{error.name}.")):
            return False
        raise
    except ValueError:  # a module that was made by hand
        return name in sys.modules


def _look_first_in(folder: Path) -> None:
    place = os.path.abspath(folder)
    if sys.path[:1] != [place]:
        sys.path.insert(0, place)


# -- errors --------------------------------------------------------------------------------------


def _not_loaded(what: str, error: Exception) -> LoadError:
    """Return the error with a trace that begins in the user's code, without the frames of anabranch and importer."""
    shown = error.__traceback__
    while shown is not None and _of_the_importer(shown.tb_frame.f_code.co_filename):
        shown = shown.tb_next
    text = "".join(traceback.format_exception(type(error), error, shown)).rstrip()
    return LoadError(f"{what} could not be loaded:\n{text}")


def _of_the_importer(file: str) -> bool:
    return file in (__file__, importlib.__file__, importlib.util.__file__) or file.startswith("<frozen ")


def _files_in(folder: Path) -> list[str]:
    return [f.name for f in folder.glob("*.py")] if folder.is_dir() else []
