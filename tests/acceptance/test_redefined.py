"""Classes that a cell defines again, and modules that are reloaded: tasks run with what is there now."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.kernels import Kernel
from tests.acceptance.sessions import over

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Jupyter's own deprecations are not ours.
pytestmark = [pytest.mark.timeout(300), pytest.mark.filterwarnings("default")]

CLASSES = """
import enum

class Point:
    def __init__(self, x):
        self.x = x
    def told(self):
        return NUMBER, self.x

class Color(enum.Enum):
    RED = NUMBER
"""
TASKS = """
from anabranch import task

@task
def point(x):
    return Point(x)

@task
def is_point(one):
    return isinstance(one, Point), one.told()

@task
def red(x):
    return Color.RED

@task
def is_red(one):
    return one is Color.RED, one.value
"""
MODULE = """
class Q:
    def told(self):
        return NUMBER

def told():
    return NUMBER, other()

def other():
    return NUMBER
"""


@pytest.fixture(scope="module", params=over("thread", "process", "dask"))
def kernel(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    with Kernel(tmp_path_factory.mktemp("kernel")) as kernel:
        chosen = {"ANABRANCH_RUNNER": request.param, "ANABRANCH_PROGRESS": "0"}
        kernel.run(f"import os, sys, importlib; os.environ.update({chosen}); from anabranch import task")
        yield kernel


def printed(kernel: Kernel, code: str) -> str:
    cell = kernel.run(code)
    assert cell.error == "", cell.trace
    return cell.stdout.strip()


def test_classes_of_a_cell_that_runs_again(kernel: Kernel) -> None:
    kernel.run(CLASSES.replace("NUMBER", "1"))
    kernel.run(TASKS)
    here = """
points = point.map([5])
(p,) = points.result()
print(isinstance(p, Point), p.told(), is_point.map([p]).result())
"""
    there = """
reds = red.map([0])
print(is_point.map(points).result(), is_red.map(reds).result(), reds.result()[0] is Color.RED)
"""
    assert printed(kernel, here) == "True (1, 5) [(True, (1, 5))]"
    assert printed(kernel, there) == "[(True, (1, 5))] [(True, 1)] True"
    kernel.run(CLASSES.replace("NUMBER", "2"))  # the tasks are those of before
    assert printed(kernel, here) == "True (2, 5) [(True, (2, 5))]"
    assert printed(kernel, there) == "[(True, (2, 5))] [(True, 2)] True"


def test_an_instance_of_a_class_that_was_replaced_is_none_of_the_new_one(kernel: Kernel) -> None:
    kernel.run(CLASSES.replace("NUMBER", "1"))
    kernel.run(TASKS)
    kernel.run("old, old_red = Point(7), Color.RED")
    kernel.run(CLASSES.replace("NUMBER", "2"))
    code = "print(isinstance(old, Point), is_point.map([old]).result(), is_red.map([old_red]).result())"
    assert printed(kernel, code) == "False [(False, (1, 7))] [(False, 1)]"  # as in the cell itself


def written(file: Path, number: int) -> None:
    file.write_text(MODULE.replace("NUMBER", str(number)))
    os.utime(file, (1_700_000_000 + number, 1_700_000_000 + number))  # another time than before, however quick


USES = """
import {name}
from {name} import Q, told

@task
def by_module(x):
    return {name}.told(), {name}.Q().told(), isinstance(x, {name}.Q)

@task
def by_name(x):
    return told(), Q().told(), isinstance(x, Q)

@task
def by_name_alone(x):
    return told()

found = lambda: [t.map([Q()]).result()[0] for t in (by_module, by_name, by_name_alone)]
"""


def expected(number: int) -> str:
    both = ((number, number), number, True)
    return str([both, both, (number, number)])


@pytest.mark.parametrize("seen_before", [True, False])
def test_a_module_that_is_reloaded(kernel: Kernel, tmp_path: Path, seen_before: bool) -> None:
    name = f"reloaded_{seen_before}".lower()
    kernel.run(f"sys.path.insert(0, {str(tmp_path)!r}); sys.dont_write_bytecode = True")
    written(tmp_path / f"{name}.py", 1)
    kernel.run(USES.format(name=name))
    if seen_before:
        assert printed(kernel, "print(found())") == expected(1)
    else:  # a worker imports the module, for one task of it alone
        assert printed(kernel, "print(by_module.map([1]).result())") == "[((1, 1), 1, False)]"
    for number in 2, 3:
        written(tmp_path / f"{name}.py", number)
        kernel.run(f"importlib.reload({name}); from {name} import Q, told")
        assert printed(kernel, "print(found())") == expected(number)


def test_a_module_under_autoreload(kernel: Kernel, tmp_path: Path) -> None:
    kernel.run(f"sys.path.insert(0, {str(tmp_path)!r}); sys.dont_write_bytecode = True")
    kernel.run("%load_ext autoreload\n%autoreload 2")
    try:
        written(tmp_path / "under_auto.py", 1)
        kernel.run(USES.format(name="under_auto"))
        assert printed(kernel, "print(found())") == expected(1)
        for number in 2, 3:
            written(tmp_path / "under_auto.py", number)
            assert printed(kernel, "print(found())") == expected(number)
    finally:
        kernel.run("%autoreload 0")
