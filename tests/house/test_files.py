"""Files stay small, are named after what they hold, and public names are importable and documented."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path

import pytest

import anabranch

ROOT = Path(__file__).resolve().parents[2] / anabranch.__name__
FILES = sorted(ROOT.rglob("*.py"))
REPOSITORY = ROOT.parent
LINES = 400
# Files over the cap, each with its reason. A file that has come under the cap has to leave this list.
LONG: dict[str, str] = {}
DRAWERS = {"utils", "util", "helpers", "helper", "common", "manager", "managers", "misc"}


def label(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def test_files_are_small() -> None:
    files = [file for folder in ("anabranch", "tests", "benchmarks") for file in (REPOSITORY / folder).rglob("*.py")]
    lengths = {file.relative_to(REPOSITORY).as_posix(): len(file.read_text("utf-8").splitlines()) for file in files}
    long = {name: length for name, length in lengths.items() if length > LINES}
    assert {name: length for name, length in long.items() if name not in LONG} == {}
    assert sorted(LONG.keys() - long.keys()) == [], "under the cap now (or gone): take them out of LONG"


def test_modules_beside_scripts_hide_none_of_the_library() -> None:
    """A script's folder comes first on its search path, and tests of that folder start scripts there."""
    folders = {file.parent for file in (REPOSITORY / "tests").rglob("*.py") if "__main__" in file.read_text("utf-8")}
    hidden = {file.name for folder in folders for file in folder.glob("*.py") if file.stem in sys.stdlib_module_names}
    assert hidden - {"code.py", "pipes.py"} == set()  # one is the zoo's animal; the other has left the library since


def test_no_drawers() -> None:
    assert [label(file) for file in FILES if DRAWERS & {file.stem, *file.relative_to(ROOT).parts}] == []


def test_all_names_each_name_once() -> None:
    assert len(anabranch.__all__) == len(set(anabranch.__all__))
    assert set(anabranch.__all__) <= set(dir(anabranch))


def undocumented(name: str) -> bool:
    """Whether this public name has no docstring of its own."""
    value = getattr(anabranch, name)
    if isinstance(value, str | int | float):
        return False
    doc = vars(value).get("__doc__") if inspect.isclass(value) else inspect.getdoc(value)
    return not (doc or "").strip() or (doc or "").startswith(f"{name}(")  # a dataclass writes its signature


def test_public_names_are_documented() -> None:
    assert [name for name in anabranch.__all__ if undocumented(name)] == []


def test_no_public_name_is_hidden_by_a_module() -> None:
    """Importing the module would put it in the place of what is meant."""
    modules = {name for name in anabranch.__all__ if (ROOT / f"{name}.py").exists() or (ROOT / name).is_dir()}
    assert all(inspect.ismodule(getattr(anabranch, name)) for name in modules), modules


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = anabranch.no_such_name


def test_package_is_typed() -> None:
    assert (ROOT / "py.typed").exists()
