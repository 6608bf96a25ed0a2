"""Large values that a task takes along: said once, with name, size and remedy, and sent once to each worker."""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import task
from anabranch.core.captured import large_in
from tests.acceptance.kernels import Kernel

if TYPE_CHECKING:
    from pathlib import Path

    from tests.acceptance.conftest import Marks

BYTES = 50_000_000


def told(caplog: Any) -> list[str]:
    return [text for text in caplog.messages if " along, about " in text]


def test_a_large_value_that_a_task_closes_over_is_told_once(apart: str, caplog: Any) -> None:
    table = bytes(BYTES)

    @task
    def closed_over(x: int) -> int:
        return len(table) + x

    for _ in range(2):
        assert closed_over.map([1, 2]).result() == [BYTES + 1, BYTES + 2]
    assert told(caplog) == [
        "task 'closed_over' takes 'table' of the function around it along, about 50 MB: it is sent to each worker "
        "once, and again when the task has changed. To spare that, load it inside the task"
    ]


def test_threads_take_nothing_along(threads: str, caplog: Any) -> None:
    table = bytes(BYTES)

    @task
    def closed_over(x: int) -> int:
        return len(table) + x

    assert closed_over.map([1]).result() == [BYTES + 1]
    assert told(caplog) == []


class Counted:
    """A value that says where it is made anew."""

    def __init__(self, marks: Marks) -> None:
        self.marks = marks

    def __reduce__(self) -> Any:
        self.marks.add(f"sent {os.getpid()}")
        return _come, (self.marks,)


def _come(marks: Marks) -> Counted:
    marks.add(f"come {os.getpid()}")
    return Counted(marks)


def test_it_is_sent_once_to_each_worker(processes: str, marks: Marks) -> None:
    table = Counted(marks)

    @task
    def holds(x: int) -> int:
        return x if table.marks else -1

    for _ in range(4):
        assert holds.map(range(100), chunk=1).result() == list(range(100))
    come = [line for line in marks.read() if line.startswith("come")]
    assert len(come) == len(set(come)) in (1, 2)


def test_what_is_large_is_found_wherever_a_function_holds_it() -> None:
    table, rows = bytes(100), {"a": bytes(60), "b": [bytes(30), bytes(30)]}

    def helper() -> int:
        return len(table)

    @task
    def of_helper(x: Any = bytes(70)) -> Any:
        return helper(), x

    def both() -> Any:
        return of_helper, rows

    found = {what for what, _ in large_in(functools.partial(both, bytes(90)), least=70 + 49)}
    assert found == {
        "'table' of the function around it", "'rows' of the function around it", "a default of a parameter",
        "an argument of the partial",
    }  # fmt: skip
    assert large_in(both, least=10_000) == []
    assert large_in(os.path.join) == []


@pytest.mark.filterwarnings("default")  # Jupyter's own deprecations are not ours
def test_a_global_of_a_notebook(tmp_path: Path) -> None:
    with Kernel(tmp_path) as kernel:
        kernel.run("import os; os.environ['ANABRANCH_RUNNER'] = 'process'\ntable = bytes(50_000_000)")
        code = "from anabranch import task\n@task\ndef looked_up(x):\n    return table[x]\n"
        first = kernel.run(f"{code}looked_up.map([1]).result()")
        again = kernel.run(f"{code}looked_up.map([1]).result()")
    assert first.error == again.error == ""
    assert "task 'looked_up' takes the global 'table' along, about 50 MB: " in first.stderr
    assert " along, about " not in again.stderr
