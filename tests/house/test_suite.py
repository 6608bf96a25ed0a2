"""The suite: what a day leaves out another day runs; what its tables, and the programs in its texts, name is there."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import anabranch
from tests.acceptance.far import SAMPLE, WIRE
from tests.engines import BORROWERS
from tests.halves import FOLDERS, WAITING
from tests.nightly import left_out

TESTS = Path(__file__).resolve().parents[1]
ROOT = TESTS.parent
IMPORT = re.compile(r"^\s*(?:>>> )?(?:from (anabranch[\w.]*) import (\w+)|import (anabranch[\w.]+))", re.MULTILINE)


def case(n: int, one_in: int | None, file: str = "test_a.py") -> Any:
    mark = None if one_in is None else pytest.mark.sampled(one_in, "why").mark
    return SimpleNamespace(name=n, path=Path(file), get_closest_marker=lambda name: mark)


@pytest.mark.parametrize("one_in", [1, 2, 7])
def test_each_case_of_a_sampled_test_runs_on_one_day_of_so_many(one_in: int) -> None:
    cases = [case(n, one_in) for n in range(20)]
    days = [{one.name for one in cases if one not in left_out(cases, day)} for day in range(700, 700 + one_in)]
    assert sorted(name for day in days for name in day) == list(range(20))
    assert max(map(len, days)) - min(map(len, days)) <= 1


def test_cases_that_are_not_sampled_run_each_day_and_files_have_their_own_days() -> None:
    always = [case(n, None) for n in range(5)]
    cases = [*always, case(5, 2), case(6, 2, "test_b.py"), case(7, 2)]
    assert [one.name for one in left_out(cases, 0)] == [7]
    assert [one.name for one in left_out(cases, 1)] == [5, 6]


def test_both_engines_have_some_of_each_sample() -> None:
    """Cases on Dask and Ray take turns: an even number would give a day to one of them."""
    assert SAMPLE % 2 == 1


def test_the_tables_name_what_is_there() -> None:
    assert [name for name in WIRE if not (TESTS / "acceptance" / f"{name}.py").exists()] == []
    assert [name for name in BORROWERS if not (TESTS / name).is_dir()] == []


def there(module: str) -> bool:
    """Whether there is such a module of ours."""
    path = ROOT / module.replace(".", "/")
    return path.is_dir() or path.with_suffix(".py").exists() or module.partition(".")[2] in anabranch._MODULES


def gone(text: str) -> set[str]:
    """The modules of ours that a text imports, in code or in a program that it holds, and that are not there."""
    found = set()
    for module, name, plain in IMPORT.findall(text):
        if not there(module or plain):
            found.add(module or plain)
        elif module in ("anabranch", "anabranch.runners") and not (
            there(f"{module}.{name}") or (module == "anabranch" and hasattr(anabranch, name))
        ):
            found.add(f"{module}.{name}")
    return found


def test_programs_in_texts_import_what_is_there() -> None:
    """No type checker and no start of pytest reads them: a module that moved would be missed when they run."""
    files = [file for folder in ("tests", "benchmarks", "docs") for file in (ROOT / folder).rglob("*.*")]
    sources = [file for file in (*files, ROOT / "README.md") if file.suffix in (".py", ".md")]
    texts = {file.relative_to(ROOT).as_posix(): file.read_text(encoding="utf-8") for file in sources}
    del texts["tests/house/test_floors.py"]  # its programs break the rules, and are only read
    assert {name: missing for name, text in texts.items() if (missing := gone(text))} == {}
    assert gone("from anabranch.no_such import x\nfrom anabranch import nothing, flow") == {
        "anabranch.no_such",
        "anabranch.nothing",
    }


def test_the_half_that_waits_lies_in_the_folders_that_it_collects() -> None:
    waits = re.compile(rf"mark\.{WAITING.replace(' or ', '|')}\b")
    files = [file.relative_to(ROOT).as_posix() for file in TESTS.rglob("*.py") if waits.search(file.read_text())]
    assert files
    assert [file for file in files if not file.startswith(tuple(FOLDERS))] == []
