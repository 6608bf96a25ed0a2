"""Targets as people type them: a file or a module, and the flow in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from anabranch.entrypoints.target import target_of


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "src" / "pkg").mkdir(parents=True)
    (tmp_path / "src" / "pkg" / "__init__.py").touch()
    (tmp_path / "data").mkdir()
    for name in ("flows.py", "with:colon.py", "pkg.names"):
        (tmp_path / name).touch()


@pytest.mark.parametrize(
    ("text", "place", "module", "flow"),
    [
        ("flows.py", "flows.py", "", ""),
        ("flows.py:main", "flows.py", "", "main"),
        ("flows.py:Study.main", "flows.py", "", "Study.main"),
        ("absent.py:main", "absent.py", "", "main"),
        ("with:colon.py", "with:colon.py", "", ""),
        ("with:colon.py:main", "with:colon.py", "", "main"),
        ("flows", ".", "flows", ""),
        ("pkg.flows", ".", "pkg.flows", ""),
        ("pkg.flows:main", ".", "pkg.flows", "main"),
        ("pkg.flows:Study.main", ".", "pkg.flows", "Study.main"),
        ("src/pkg", "src", "pkg", ""),
        ("src/pkg.flows:main", "src", "pkg.flows", "main"),
        ("absent/pkg.flows:main", "absent/pkg.flows", "", "main"),
        ("data", "data", "", ""),
        ("pkg.names", "pkg.names", "", ""),
        ("my-script:main", "my-script", "", "main"),
        ("a:b:c", "a:b", "", "c"),
    ],
)
def test_a_text_is_a_file_or_a_module_and_a_flow(text: str, place: str, module: str, flow: str) -> None:
    assert target_of(text) == (Path(place), module, flow)


@pytest.mark.parametrize("text", ["flows.py", "flows.py:main", "pkg.flows:main", "pkg", "src/pkg.flows:Study.main"])
def test_a_target_names_the_same_from_any_folder(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = target_of(text)
    there = here.everywhere()
    assert there == f"{tmp_path}/{text}"
    monkeypatch.chdir("/")
    target = target_of(there)
    assert (target.module, target.flow) == here[1:]
    assert target.everywhere() == there
