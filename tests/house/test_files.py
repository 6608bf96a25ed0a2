"""Files stay small, are named after what they hold, and public names are importable and documented."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

import anabranch

ROOT = Path(__file__).resolve().parents[2] / anabranch.__name__
FILES = sorted(ROOT.rglob("*.py"))
LINES = 500  # 400 is the wish
DRAWERS = {"utils", "util", "helpers", "helper", "common", "manager", "managers", "misc"}


def label(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("file", FILES, ids=label)
def test_file_is_small(file: Path) -> None:
    assert len(file.read_text(encoding="utf-8").splitlines()) <= LINES


def test_no_drawers() -> None:
    assert [label(file) for file in FILES if DRAWERS & {file.stem, *file.relative_to(ROOT).parts}] == []


def test_all_names_each_name_once() -> None:
    assert len(anabranch.__all__) == len(set(anabranch.__all__))
    assert set(anabranch.__all__) <= set(dir(anabranch))


@pytest.mark.parametrize("name", sorted(getattr(anabranch, "__all__", ["__all__"])))
def test_public_name_is_documented(name: str) -> None:
    value = getattr(anabranch, name)
    if isinstance(value, str | int | float):
        return
    doc = inspect.getdoc(value)
    if inspect.isclass(value):
        doc = vars(value).get("__doc__")  # its own, not an inherited one
        assert not (doc or "").startswith(f"{value.__name__}("), f"{name}: only the signature a dataclass writes"
    assert (doc or "").strip(), f"{name} has no docstring"


def test_no_public_name_is_hidden_by_a_module() -> None:
    """Importing the module would put it in the place of what is meant."""
    modules = {name for name in anabranch.__all__ if (ROOT / f"{name}.py").exists() or (ROOT / name).is_dir()}
    assert all(inspect.ismodule(getattr(anabranch, name)) for name in modules), modules


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = anabranch.no_such_name


def test_package_is_typed() -> None:
    assert (ROOT / "py.typed").exists()
