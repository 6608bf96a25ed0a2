"""Tasks, flows and their functions go through pickle and into other people's pools; what they are stays what it was."""

from __future__ import annotations

import concurrent.futures
import copy
import inspect
import multiprocessing
import pickle
from typing import Any

import cloudpickle
import pytest

from anabranch import flow, task
from tests.acceptance import pickled_tasks
from tests.acceptance.pickled_tasks import Job, bare, whole, work, wrapped

COPIES: dict[str, Any] = {
    "pickle": lambda value: pickle.loads(pickle.dumps(value)),
    "cloudpickle": lambda value: pickle.loads(cloudpickle.dumps(value)),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
}


@pytest.mark.parametrize("how", COPIES)
def test_a_task_a_flow_and_their_functions(how: str) -> None:
    again = COPIES[how]
    assert again(work).options.retries == 2
    assert again(work).fn(1) == again(work.fn)(1) == 2
    assert again(whole).options.retries == 3
    assert again(whole).fn(1) == again(whole.fn)(1) == 1
    assert again(Job.scale.fn)(None, 2) == again(Job.scale).fn(None, 2) == 4
    assert again(wrapped.fn) is bare


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_pools_take_a_tasks_function(method: str) -> None:
    with multiprocessing.get_context(method).Pool(1) as pool:
        assert pool.map_async(work.fn, [1, 2]).get(60) == [2, 3]


def test_a_thread_pool_takes_the_task() -> None:
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        assert list(pool.map(work, [1, 2])) == [2, 3]


def test_the_function_looks_as_it_did() -> None:
    assert (work.fn.__name__, work.fn.__module__, work.fn.__doc__) == ("work", pickled_tasks.__name__, "Adds one.")
    assert str(inspect.signature(work.fn)) == "(x: 'int') -> 'int'"
    assert inspect.getsource(work.fn).splitlines()[1] == "def work(x: int) -> int:"
    assert work.fn is work.fn


def test_where_the_name_is_not_the_tasks_the_function_is_itself() -> None:
    def inner() -> int:
        return 1

    assert task(inner).fn is inner
    assert flow(inner).fn is inner
    assert wrapped.fn is bare


@pytest.mark.parametrize("how", ["pickle", "cloudpickle"])
def test_what_the_task_is_does_not_depend_on_who_asked(how: str) -> None:
    """Caches know a function by its name too."""
    before = work.computation.identity()
    found = COPIES[how](work)
    assert found.computation.identity() == before == work.computation.identity()
    assert found.plain_fn.__qualname__ == work.plain_fn.__qualname__ == "work"
    assert work.with_options(retries=1).plain_fn is work.plain_fn


def test_another_function_in_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "fn", bare)
    assert work.fn is bare
