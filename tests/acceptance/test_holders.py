"""Who holds values: the ledger's answer, with the names that the program has for its lists and futures."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

import anabranch
from anabranch import task
from anabranch.core.errors import OptionError
from tests.acceptance.gates import SOON, Gate, until
from tests.acceptance.kernels import Kernel
from tests.acceptance.test_interrupts import through

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.acceptance.conftest import Marks


@task
def big(x: int) -> bytes:
    return bytes(1_000_000)


@pytest.fixture
def main(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The program's own namespace."""
    made = ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", made)
    return made


def of(what: Any) -> Any:
    (found,) = anabranch.holders(what).found
    return found


def test_the_list_and_futures_of_items_hold(concurrent: str, main: ModuleType) -> None:
    main.fs = fs = big.map(range(3))  # type: ignore[attr-defined]
    fs.wait()
    main.kept = {"first": [fs[0], fs[1]]}  # type: ignore[attr-defined]
    found = of(fs)
    assert (found.task, found.items) == ("big", 3)
    assert 3_000_000 <= found.nbytes <= 3_100_000
    assert found.by == ("the list that map returned, or its states", "futures of 2 items")
    assert found.names == ("the variable `fs`", "the variable `kept`")
    assert found.way_out == "del fs; del kept"
    assert str(found).split("\n")[0] == "big, 3 items: 3.0 MB held"
    fs.release()
    found = of(main.kept["first"][0])
    assert found.by == ("futures of 2 items",)
    assert found.names == ("the variable `kept`",)
    del main.kept
    assert of(fs).nbytes == 0


def test_readers_that_have_not_ended_hold(
    threads: str, gates: Callable[[str], Gate], marks: Marks, main: ModuleType
) -> None:
    gate = gates("all")
    fs = big.map(range(3), chunk=1)
    reader = through.map(fs, gate, marks, chunk=1)
    until(lambda: len(marks.read()) == 3, "the items that read")
    fs.release()
    assert of(fs).by == ("'through', which reads it and has not ended",)
    gate.open()
    reader.wait(SOON)
    until(lambda: of(fs).nbytes == 0, "the end of what its readers held")
    assert of(fs).by == ()


def test_a_run_key_holds(threads: str, main: ModuleType) -> None:
    big.map(range(3), run_key="held").wait(SOON)
    fs = big.map(range(3), run_key="held")
    assert of(fs).by[0] == "the run_key 'held'"
    assert of(fs).way_out == ".release() of the list"
    fs.release()
    assert of(fs).nbytes == 0


def test_all_that_hold_values_are_listed_the_largest_first(threads: str, main: ModuleType) -> None:
    kept = [big.map(range(n)) for n in (1, 3)]
    for one in kept:
        one.wait(SOON)
    found = [one for one in anabranch.holders().found if one.task == "big"]
    assert [one.items for one in found][:2] == [3, 1]


def test_what_is_none_of_ours_is_refused(threads: str) -> None:
    with pytest.raises(OptionError, match=r"holders\(\) takes a future or a future list, got int 7"):
        anabranch.holders(7)  # type: ignore[arg-type]


@pytest.mark.filterwarnings("default")  # Jupyter's own deprecations are not ours
def test_outputs_and_tracebacks_of_a_notebook_are_named_and_let_go_as_said(tmp_path: Path) -> None:
    with Kernel(tmp_path) as kernel:
        kernel.run("import anabranch, gc\nfrom anabranch import task\n@task\ndef big(x):\n    return bytes(1_000_000)")
        kernel.run("fs = big.map(range(3))\nfs.wait()")

        def told() -> list[str]:
            cell = kernel.run("print(anabranch.holders())")
            assert cell.error == "", cell.trace
            return [line.strip() for line in cell.stdout.splitlines()]

        assert told()[2:] == ["named by Out[2], `_`, the variable `fs`", "to let go: del fs; %xdel _2"]
        kernel.run("del fs\n%xdel _2")
        assert told() == ["no values are held"]
        kernel.run("def work():\n    rows = big.map(range(2))\n    rows.wait()\n    raise ValueError('boom')\nwork()")
        assert told()[2] == "named by `rows` in work(), of the last error"
        assert told()[3] == "to let go: another error such as 1/0, and gc.collect() after it"
        kernel.run("1/0")
        kernel.run("gc.collect();")
        assert told() == ["no values are held"]
