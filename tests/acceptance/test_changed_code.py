"""A run computes with what its function reads when it is submitted, also on workers that ran the function before."""

from __future__ import annotations

import importlib
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import ProcessRunner, flow, task
from anabranch import session as sessions

if TYPE_CHECKING:
    from pathlib import Path

FACTOR = 1
TABLE = {"factor": 1}


class Knobs:
    gain = 1

    def scaled(self, x: int) -> int:
        return x * self.gain


class Sharp(Knobs):
    pass


def helper(x: int) -> int:
    return x * FACTOR


@task
def by_global(x: int) -> int:
    return x * FACTOR


@task
def by_helper(x: int) -> int:
    return helper(x)


@task
def by_dict(x: int) -> int:
    return x * TABLE["factor"]


@task
def by_class(x: int) -> int:
    return x * Knobs.gain


@task
def by_base_class(x: int) -> int:
    return Sharp().scaled(x)


@task
def by_import(x: int) -> int:
    from tests.acceptance.test_changed_code import FACTOR

    return x * FACTOR


@task
async def by_coroutine(x: int) -> int:
    return helper(x)


@flow
def ask(work: Any, how: str) -> Any:
    if how == "map":
        return work.map([1, 2]).result()
    return [work.submit(x).result() for x in (1, 2)]


CHANGES: dict[str, Any] = {
    "global": (by_global, lambda patch: patch.setitem(globals(), "FACTOR", 10)),
    "helper": (by_helper, lambda patch: patch.setitem(globals(), "helper", lambda x: x * 10)),
    "helper's global": (by_helper, lambda patch: patch.setitem(globals(), "FACTOR", 10)),
    "coroutine's helper": (by_coroutine, lambda patch: patch.setitem(globals(), "FACTOR", 10)),
    "module imported as it runs": (by_import, lambda patch: patch.setitem(globals(), "FACTOR", 10)),
    "dict": (by_dict, lambda patch: patch.setitem(TABLE, "factor", 10)),
    "class": (by_class, lambda patch: patch.setattr(Knobs, "gain", 10)),
    "base class": (by_base_class, lambda patch: patch.setattr(Knobs, "gain", 10)),
    "base class's method": (by_base_class, lambda patch: patch.setattr(Knobs, "scaled", lambda self, x: x * 10)),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_change_between_two_flow_runs(runner: str, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    work, change = CHANGES[what]
    assert ask(work, "map") == ask(work, "submit") == [1, 2]
    change(monkeypatch)
    assert ask(work, "map") == ask(work, "submit") == [10, 20]
    monkeypatch.undo()
    assert ask(work, "map") == ask(work, "submit") == [1, 2]


def test_a_change_before_the_first_run(runner: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers that import the module find there what the driver has put into it."""
    monkeypatch.setattr(Knobs, "gain", 10)
    monkeypatch.setitem(globals(), "FACTOR", 10)
    for work in (by_class, by_global):
        assert ask(task(work.fn), "map") == [10, 20]


def test_a_change_within_a_flow_run(apart: str, monkeypatch: pytest.MonkeyPatch) -> None:
    @flow
    def main() -> Any:
        found = []
        for factor in (1, 10, 100):
            monkeypatch.setitem(globals(), "FACTOR", factor)
            found += [by_global.submit(1), by_helper.submit(1), *by_global.map([1, 1])]
        monkeypatch.setitem(globals(), "FACTOR", 1000)
        return found

    assert main() == [1] * 4 + [10] * 4 + [100] * 4


def test_what_was_submitted_keeps_what_it_had(processes: str, gates: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = gates("open")

    @task
    def waits(x: int) -> int:
        gate.wait()
        return x * FACTOR

    @flow
    def main() -> Any:
        before = waits.map(range(8), chunk=1)
        monkeypatch.setitem(globals(), "FACTOR", 10)
        after = waits.map(range(8), chunk=1)
        gate.open()
        return [*before, *after]

    assert main() == [*range(8), *range(0, 80, 10)]


def test_hooks_and_conditions_change_too(apart: str, marks: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def told(task: Any, run: Any, state: Any) -> None:
        marks.add(f"hook {FACTOR}")

    def again(task: Any, run: Any, state: Any) -> bool:
        return FACTOR > 1

    @task(retries=1, on_running=[told], retry_condition_fn=again)
    def fails(x: int) -> None:
        marks.add("ran")
        raise ValueError(x)

    @flow
    def main() -> None:
        fails.submit(1).wait()

    main(return_state=True)
    assert marks.read() == ["hook 1", "ran"]
    monkeypatch.setitem(globals(), "FACTOR", 10)
    main(return_state=True)
    assert sorted(marks.read()[2:]) == ["hook 10", "hook 10", "ran", "ran"]


def test_large_arrays_changed_in_place(apart: str) -> None:
    numpy = pytest.importorskip("numpy")
    array = numpy.zeros(200_000)

    @task
    def total(x: int) -> float:
        return float(array.sum()) * x

    for value in (1, 2):
        array[1000] = value
        assert ask(total, "map") == [value, 2 * value]


def test_modules_that_are_loaded_again(apart: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"reloaded_{apart}"
    source = "class Kind:\n def scaled(self, x): return x * {0}\ndef scale(x): return Kind().scaled(x) * {0}\n"
    (tmp_path / f"{name}.py").write_text(source.format(1))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    module = importlib.import_module(name)

    @task
    def work(x: int) -> int:
        return module.scale(x)  # type: ignore[no-any-return]

    try:
        assert ask(work, "map") == [1, 2]
        (tmp_path / f"{name}.py").write_text(source.format(10))
        importlib.reload(module)
        assert ask(work, "map") == [100, 200]
        monkeypatch.setattr(module, "scale", lambda x: -x)
        assert ask(work, "map") == [-1, -2]
    finally:
        sys.modules.pop(name)


SCRIPT = """
import sys
from anabranch import flow, task
N, box = 1, {"k": 1}
class Knobs:
    gain = 1
def helper(x): return x
@task
def work(x): return (x + N, helper(x), x * Knobs.gain, x * box["k"])
@task
def knob(x): return Knobs()
@flow(runner=sys.argv[1])
def ask(work): return work.map([10]).result()[0]
if __name__ == "__main__":
    print(ask(work))
    N, box["k"], Knobs.gain = 5, 4, 3
    def helper(x): return x + 100
    print(ask(work))
    print(type(ask(knob)) is Knobs)
"""


@pytest.mark.sampled(2, "a Python for each")
@pytest.mark.parametrize("kind", ["thread", "process"])
def test_a_script(kind: str, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    env = {"ANABRANCH_HOME": str(tmp_path / "home"), "PYTHONPATH": ":".join(sys.path), "ANABRANCH_LOG_LEVEL": "ERROR"}
    command = [sys.executable, str(tmp_path / "script.py"), kind]
    found = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    assert found.stdout.splitlines() == ["(11, 10, 10, 10)", "(15, 110, 30, 40)", "True"]


# -- what it costs ---------------------------------------------------------------------------------


def test_what_has_changed_is_forgotten_by_the_runner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh_session: sessions.Session
) -> None:
    """The function of then goes with the last map that may run it."""
    runner = ProcessRunner(max_workers=1)
    use = flow(runner=runner, name="use")(lambda: by_global.map([1]).result())
    for factor in range(10):
        monkeypatch.setitem(globals(), "FACTOR", factor)
        assert use() == [factor]
    dispatcher = fresh_session.pump.dispatcher
    specs = fresh_session.pump.inspect(lambda: (dict(dispatcher.specs.uses), set(dispatcher.specs.outdated)))
    assert len(specs[0]) == 1
    assert not specs[1]
