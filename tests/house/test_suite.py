"""The suite: what a day leaves out another day runs; what its tables, and the programs in its texts, name is there."""

from __future__ import annotations

import re
import signal
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import hypothesis
import pytest

import anabranch
from tests import parts
from tests.acceptance import far
from tests.engines import BORROWERS
from tests.nightly import left_out, profile
from tests.parts import AT_ONCE, PARTS, STOPPED, UNENDED, WAITING, Part, Running, main, run, standing
from tests.waiting import until

TESTS = Path(__file__).resolve().parents[1]
ROOT = TESTS.parent
IMPORT = re.compile(r"^\s*(?:>>> )?(?:from (anabranch[\w.]*) import (\w+)|import (anabranch[\w.]+))", re.MULTILINE)


def case(n: int, one_in: int | None, file: str = "test_a.py", **kind: bool) -> Any:
    """A case; `nightly`, `whole`: as its marks say."""
    marks = {"nightly": pytest.mark.nightly("why").mark} if kind.pop("nightly", False) else {}
    if one_in is not None:
        marks["sampled"] = pytest.mark.sampled(one_in, "why", **kind).mark
    return SimpleNamespace(name=n, path=Path(file), get_closest_marker=marks.get)


def by_day(cases: list[Any], day: int) -> set[int]:
    out = left_out(cases, day)
    return {one.name for one in cases if one not in out}


@pytest.mark.parametrize("one_in", [1, 2, 7])
def test_each_case_of_a_sampled_test_runs_on_one_day_of_so_many(one_in: int) -> None:
    cases = [case(n, one_in) for n in range(20)]
    days = [by_day(cases, day) for day in range(700, 700 + one_in)]
    assert sorted(name for day in days for name in day) == list(range(20))
    assert max(map(len, days)) - min(map(len, days)) <= 1


def test_cases_that_are_not_sampled_run_each_day_and_files_have_their_own_days() -> None:
    always = [case(n, None) for n in range(5)]
    cases = [*always, case(5, 2), case(6, 2, "test_b.py"), case(7, 2)]
    days = [by_day(cases, day) - set(range(5)) for day in (0, 1)]
    assert sorted(days, key=min) in ([{5}, {6, 7}], [{5, 6}, {7}])


def test_files_of_one_case_come_on_different_days() -> None:
    """With one first day for all of them a day would have all of their load, and the others nothing."""
    cases = [case(n, 3, f"test_{n}.py") for n in range(300)]
    assert min(len(by_day(cases, day)) for day in range(3)) > 70


def test_what_waits_for_the_night_has_no_turn_by_day() -> None:
    cases = [case(n, 2, nightly=n % 2 == 0) for n in range(4)]
    assert [len(by_day(cases, day) & {1, 3}) for day in (0, 1)] == [1, 1]


def test_a_file_that_is_sampled_as_a_whole_has_all_its_cases_on_one_day() -> None:
    cases = [case(n, 3, whole=True) for n in range(5)]
    assert sorted(len(by_day(cases, day)) for day in range(3)) == [0, 0, 5]


def test_examples_are_fewer_by_day_and_drawn_anew() -> None:
    day, night = (hypothesis.settings.get_profile(name) for name in (profile("(not nightly) and x"), profile("")))
    assert 0 < day.max_examples < night.max_examples
    assert not day.derandomize
    assert hypothesis.settings.default.max_examples in (day.max_examples, night.max_examples)


@pytest.mark.parametrize("name", ["SAMPLE", "WIRE_SAMPLE", "NEAR_SAMPLE"])
def test_both_engines_have_some_of_each_sample(name: str) -> None:
    """Cases on Dask and Ray take turns: an even number would give a day to one of them."""
    assert getattr(far, name) % 2 == 1


def on(kind: str, file: str, fixture: str = "runner") -> Any:
    """A case on this kind of runner, which keeps the marks that it is given."""
    marks = [getattr(pytest.mark, kind).mark] if kind in ("dask", "ray") else []
    return SimpleNamespace(
        path=Path("acceptance", file), callspec=SimpleNamespace(params={fixture: kind}), marks=marks,
        get_closest_marker=lambda name: next((mark for mark in marks if mark.name == name), None),
        add_marker=lambda mark: marks.append(mark.mark),
    )  # fmt: skip


def marked(*cases: Any) -> list[int | None]:
    """One in how many days each case runs."""
    far.sampled(cases, Path("acceptance"))
    found = [case.get_closest_marker("sampled") for case in cases]
    return [mark and mark.args[0] for mark in found]


def test_a_day_samples_what_the_driver_decides_on_workers_elsewhere() -> None:
    cases = [on(kind, "test_hooks.py") for kind in ("inline", "thread", "process", "dask", "ray")]
    assert marked(*cases) == [None, None, far.NEAR_SAMPLE, far.SAMPLE, far.SAMPLE]
    assert marked(on("process", "test_hooks.py", "apart"), on("process", "test_hooks.py", "processes")) == [None, None]


def test_a_day_has_all_of_a_wire_on_processes_and_some_on_each_engine() -> None:
    cases = [on(kind, "test_resume.py") for _ in range(far.WIRE_SAMPLE) for kind in ("process", "dask", "ray")]
    assert marked(*cases) == [None, far.WIRE_SAMPLE, far.WIRE_SAMPLE] * far.WIRE_SAMPLE
    for day in range(far.WIRE_SAMPLE):
        left = left_out(cases, day)
        runs = [case.callspec.params["runner"] for case in cases if case not in left]
        assert {"dask", "ray"} <= set(runs)
    few = [on(kind, "test_resume.py") for kind in ("dask", "ray")]
    assert marked(*few) == [None, None]


def test_the_tables_name_what_is_there() -> None:
    assert [name for name in far.WIRE if not (TESTS / "acceptance" / f"{name}.py").exists()] == []
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


def folders(waits: bool) -> list[str]:
    return [folder for part in PARTS if part.waits is waits for folder in part.folders]


def test_each_folder_of_tests_is_in_one_part_of_the_suite() -> None:
    files = (file.relative_to(TESTS) for file in TESTS.rglob("test_*.py"))
    assert sorted(folders(waits=False)) == sorted({file.parts[0] for file in files})


def test_tests_that_wait_lie_in_the_folders_of_a_part_that_waits() -> None:
    waits = re.compile(rf"mark\.{WAITING.replace(' or ', '|')}\b")
    files = [file.relative_to(TESTS) for file in TESTS.rglob("*.py") if waits.search(file.read_text())]
    assert files
    assert [file for file in files if file.parts[0] not in folders(waits=True)] == []


def ran(*programs: str, stopped: threading.Event | None = None) -> tuple[int, list[str]]:
    """The code of parts that are these programs, and the lines that were told of them."""
    said: list[str] = []
    named = [(Part(f"part{n}", ()), [sys.executable, "-c", text]) for n, text in enumerate(programs)]
    return run(named, said.append, stopped or threading.Event()), "\n".join(said).splitlines()


def test_what_a_part_prints_stays_together_and_the_closing_lines_come_last() -> None:
    texts = ["of 0\n.... [ 50%]\n12 passed, 1 skipped in 0.12s", "of 1\n== 3 passed in 71.00s (0:01:11) =="]
    code, lines = ran(*(f"print({text!r})" for text in texts))
    assert code == 0
    assert sorted(lines[-2:]) == ["12 passed, 1 skipped in 0.12s (part0)", "3 passed in 71.00s (0:01:11) (part1)"]
    start = lines.index("== part0 ==")
    assert lines[start : start + 3] == ["== part0 ==", "of 0", ".... [ 50%]"]
    assert "\n".join(lines).count("12 passed") == 1


def test_what_comes_after_the_closing_line_does_not_hide_it() -> None:
    text = ". [100%]\n1 failed, 2 passed, 3 deselected in 71.00s (0:01:11)\nException ignored in: x"
    code, lines = ran(f"print({text!r})")
    assert code == 0
    assert lines[-1] == "1 failed, 2 passed, 3 deselected in 71.00s (0:01:11) (part0)"
    assert lines[1:4] == ["== part0 ==", ". [100%]", "Exception ignored in: x"]


def test_a_part_that_ends_well_before_its_end_has_not_passed() -> None:
    code, lines = ran("print('.... [ 50%]')")
    assert code == UNENDED
    assert lines[-1] == "ended with code 0 and no closing line (part0)"


@pytest.mark.parametrize("code", [1, 5, -9])
def test_a_part_that_fails_or_runs_nothing_or_dies_fails_the_suite(code: int) -> None:
    end = f"os._exit({code})" if code > 0 else "os.kill(os.getpid(), 9)"
    program = f"import os; print('no tests ran in 0.01s' if {code} == 5 else 'x', flush=True); {end}"
    found, lines = ran("print('1 passed in 0.01s')", program, "print('2 passed in 0.01s')")
    assert found == code
    told = "no tests ran in 0.01s" if code == 5 else f"ended with code {code} and no closing line"
    assert f"{told} (part1)" in lines


class Counted(Running):
    """A part that notes how many were under way when it had started."""

    open = most = 0

    def __init__(self, *words: Any) -> None:
        super().__init__(*words)
        Counted.open += 1
        Counted.most = max(Counted.most, Counted.open)

    def clear(self) -> None:
        super().clear()
        Counted.open -= 1


def test_no_more_parts_run_at_once_than_a_machine_carries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "Running", Counted)
    monkeypatch.setattr(Counted, "most", 0)
    code, _ = ran(*["print('1 passed in 0.01s')"] * (2 * AT_ONCE))
    assert (code, Counted.open, Counted.most) == (0, 0, AT_ONCE)


HELD = """
import pathlib, time
place = pathlib.Path({place!r})
(place / "began{n}").touch()
while not (place / "gate").exists():
    time.sleep(0.02)
print("1 passed in 0.01s")
"""


def test_parts_that_wait_do_not_start_once_the_suite_is_stopped(tmp_path: Path) -> None:
    stopped = threading.Event()

    def begun() -> list[str]:
        return sorted(file.name for file in tmp_path.glob("began*"))

    def stop() -> None:
        try:
            until(lambda: len(begun()) == AT_ONCE, begun)
        finally:
            stopped.set()
            (tmp_path / "gate").touch()

    stopping = threading.Thread(target=stop)
    stopping.start()
    code, lines = ran(*(HELD.format(place=str(tmp_path), n=n) for n in range(2 * AT_ONCE)), stopped=stopped)
    stopping.join()
    assert begun() == [f"began{n}" for n in range(AT_ONCE)]
    assert code == STOPPED
    assert [line for line in lines if line.startswith("not started")] == [
        f"not started (part{n})" for n in range(AT_ONCE, 2 * AT_ONCE)
    ]


def test_ctrl_c_stops_the_suite(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(commands: object, tell: object, stopped: threading.Event) -> int:
        assert not stopped.is_set()
        signal.raise_signal(signal.SIGINT)
        return 7 if stopped.is_set() else 0

    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(parts, "run", interrupted)
    try:
        assert main("", []) == 7
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_part_has_a_home_and_a_folder_for_temporary_files_that_go_with_it() -> None:
    show = "import os, tempfile; print(tempfile.gettempdir(), os.environ['ANABRANCH_HOME']); print('1 passed in 0.01s')"
    _, lines = ran(show, show)
    places = {place for line in lines if "/home" in line for place in line.split()}
    assert len(places) == 4
    assert [place for place in places if Path(place).exists()] == []


def test_how_far_a_part_is_stands_in_its_last_line_of_dots() -> None:
    assert standing("") == "0 %"
    assert standing("....  [  7%]\n....  [ 43%]\n..") == "43 %"


def test_the_marks_of_a_part_add_to_those_asked_for() -> None:
    assert Part("a", ("x", "y")).command("not nightly", ["-x"])[4:] == [
        "tests/x", "tests/y", "-m", f"(not nightly) and not {WAITING}", "-x",
    ]  # fmt: skip
    assert Part("b", ("x",), waits=True).command("", [])[4:] == ["tests/x", "-m", WAITING]
