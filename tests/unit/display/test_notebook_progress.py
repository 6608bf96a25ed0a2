"""Progress in a notebook: one output a cell, few messages; with maps that tests move by hand."""

from __future__ import annotations

import gc
import weakref
from contextvars import ContextVar, copy_context

import pytest

from anabranch.core.states import FAILED
from anabranch.display.notebook import Notebook
from tests.unit.display.test_progress import Bench, FakeMap


class Outputs:
    """A notebook: the outputs of its cells, by name, and how often each was put there."""

    def __init__(self) -> None:
        self.cell = "one"
        self.shown: dict[str, dict[str, str]] = {}
        self.where: dict[str, str] = {}
        self.messages = 0

    def publish(self, data: dict[str, str], name: str, again: bool) -> None:
        assert again == (name in self.shown)
        self.shown[name] = data
        self.where.setdefault(name, self.cell)
        self.messages += 1

    @property
    def text(self) -> list[str]:
        return [data["text/plain"] for data in self.shown.values()]


@pytest.fixture
def outputs() -> Outputs:
    return Outputs()


def test_a_notebook_has_one_output_a_cell_and_a_line_a_map(outputs: Outputs, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(Notebook(outputs.publish, lambda: outputs.cell), monkeypatch)
    load, clean = FakeMap(100, "load"), FakeMap(200, "<clean>")
    bench.board.add(load)  # type: ignore[arg-type]
    bench.board.add(clean)  # type: ignore[arg-type]
    load.go(40)
    bench.look(0.6)
    (text,) = outputs.text
    assert [line.split()[0] for line in text.split("\n")] == ["load", "<clean>"]
    (shown,) = outputs.shown.values()
    assert "<td" in shown["text/html"]
    assert "&lt;clean&gt;" in shown["text/html"]
    load.go(50)
    load.go(10, FAILED)
    bench.look()
    (text,) = outputs.text
    assert text.split("\n")[0].startswith("load: 100 items in 0.70 s")
    assert text.split("\n")[0].endswith("10 failed")
    clean.go(200)
    bench.look()
    (shown,) = outputs.shown.values()
    assert "<progress" not in shown["text/html"], "bars of maps that have ended collapse"
    outputs.cell = "two"
    last = FakeMap(10, "last")
    bench.board.add(last)  # type: ignore[arg-type]
    bench.look(0.6)
    assert sorted(outputs.where.values()) == ["one", "two"]


def test_a_notebook_gets_few_messages_however_many_maps(outputs: Outputs, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(Notebook(outputs.publish, lambda: outputs.cell), monkeypatch)
    maps = [FakeMap(1000, f"map{n}") for n in range(9)]
    for map in maps:
        bench.board.add(map)  # type: ignore[arg-type]
    for _ in range(100):  # ten seconds
        for map in maps:
            map.go(5)
        bench.look()
    assert outputs.messages <= 25
    (text,) = outputs.text
    assert text.split("\n")[-1] == "... and 4 more maps"
    before = outputs.messages
    for map in maps:
        map.go(500)
        bench.look()
    assert outputs.messages - before <= 20
    (shown,) = outputs.shown.values()
    assert shown["text/plain"].split("\n")[0] == "6 maps ended before"
    assert shown["text/html"].startswith("<details><summary>6 maps ended before</summary>map0: 1,000 items")


def test_a_notebook_keeps_no_context_of_a_cell_whose_maps_have_ended(
    outputs: Outputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Value:
        pass

    there: ContextVar[Value] = ContextVar("there")
    bench = Bench(Notebook(outputs.publish, lambda: outputs.cell), monkeypatch)
    map = FakeMap(10)

    def add() -> weakref.ref[Value]:
        value = Value()
        there.set(value)
        bench.board.add(map)  # type: ignore[arg-type]
        return weakref.ref(value)

    held = copy_context().run(add)
    bench.look(0.6)
    assert held() is not None
    map.go(10)
    bench.look()
    gc.collect()
    assert held() is None
