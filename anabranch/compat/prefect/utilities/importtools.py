"""Objects by their dotted names, and of scripts."""

from __future__ import annotations
import __future__

import ast
import importlib
import importlib.util
import logging
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anabranch.compat.prefect.exceptions import ScriptError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

_logger = logging.getLogger("prefect.utilities.importtools")


def to_qualified_name(obj: Any) -> str:
    """Return the dotted name of a class or function."""
    return f"{obj.__module__}.{obj.__qualname__}"


def from_qualified_name(name: str) -> Any:
    """Return the object of a dotted name; raises ImportError and AttributeError."""
    try:
        return importlib.import_module(name)
    except ImportError:
        module, _, attribute = name.rpartition(".")
        if not module:
            raise
    return getattr(importlib.import_module(module), attribute)


def load_script_as_module(path: str) -> ModuleType:
    """Run a script as a module that nobody else sees, its folder being the first in the search path.

    Raises ScriptError where its code raises.
    """
    spec = importlib.util.spec_from_file_location("__prefect_loader__", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    folder = str(Path(path).resolve().parent)
    sys.path.insert(0, folder)
    sys.modules[spec.name] = module  # dataclasses and pickle look a class's module up
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ScriptError(error, path) from error
    finally:
        sys.modules.pop(spec.name, None)
        sys.path.remove(folder)
    return module


def load_module(module_name: str) -> ModuleType:
    """Import a module, that of the working folder too; raises ScriptError where its code raises."""
    sys.path.insert(0, "")
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name == module_name.partition(".")[0]:
            raise
        raise ScriptError(error, module_name) from error
    except Exception as error:
        raise ScriptError(error, module_name) from error
    finally:
        sys.path.remove("")


def import_object(import_path: str) -> Any:
    """Return the object of SCRIPT.py:NAME, MODULE:NAME or MODULE.NAME.

    Raises:
        ScriptError: the code of the script or module raised.
        AttributeError: it has no such name.
    """
    place, _, path = import_path.rpartition(":" if ":" in import_path else ".")
    if not place:
        raise ValueError(f"Invalid format for object import. Received {import_path!r}.")
    found: Any = load_script_as_module(place) if place.endswith(".py") else load_module(place)
    for name in path.split("."):
        found = getattr(found, name)
    return found


def safe_load_namespace(source_code: str, filepath: str | None = None) -> dict[str, Any]:
    """Return the names that the imports, definitions and assignments of a module make; those that raise are left out.

    Args:
        filepath: of the module, for imports of its neighbours.
    """
    file = filepath or "<entrypoint>"
    names: dict[str, Any] = {"__name__": "prefect_safe_namespace_loader", "__file__": file}
    tree = ast.parse(source_code)
    flags = _flags(tree)
    with _neighbours(filepath, names):
        for part in tree.body:
            if isinstance(part, (ast.Expr, ast.If, ast.With, ast.For, ast.While)):
                continue  # code that runs for its effect
            try:
                exec(compile(ast.Module([part], []), file, "exec", flags, True), names)
            except Exception as error:  # their code, and what it imports
                _logger.debug("line %d of %s is left out: %s", part.lineno, file, error)
    return names


def _flags(tree: ast.Module) -> int:
    later = any(isinstance(one, ast.ImportFrom) and one.module == "__future__" for one in tree.body)
    return __future__.annotations.compiler_flag if later else 0


@contextmanager
def _neighbours(filepath: str | None, names: dict[str, Any]) -> Iterator[None]:
    """Let a file's folder, and the one around it, be found by imports in this block."""
    if filepath is None:
        yield
        return
    folder = Path(filepath).resolve().parent
    names["__package__"] = folder.name
    before = sys.path.copy()
    sys.path[:0] = [str(folder), str(folder.parent)]
    try:
        yield
    finally:
        sys.path[:] = before
