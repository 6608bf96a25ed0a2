"""Binding: a task in a class behaves as its plain function would there."""

from __future__ import annotations

import abc
import copy
import functools
import inspect
from typing import Any

import cloudpickle
import pytest

from anabranch import Flow, Task, task, tasks
from anabranch.core.errors import OptionError
from tests.acceptance.owners import Job


def test_bound_task_is_like_a_bound_method() -> None:
    job = Job(3)
    assert isinstance(job.scale, Task)
    assert isinstance(job.all_scaled, Flow)
    assert job.scale == job.scale
    assert hash(job.scale) == hash(job.scale)
    assert job.scale != Job(3).scale
    assert job.scale != job.wait
    assert job.scale.fn(2) == 6
    assert (job.scale.name, job.scale.__name__, job.scale.options.retries) == ("scale", "scale", 0)
    assert list(inspect.signature(job.scale).parameters) == ["x"]
    assert list(inspect.signature(Job.scale).parameters) == ["self", "x"]
    assert copy.copy(job.scale) == job.scale
    assert cloudpickle.loads(cloudpickle.dumps(job.scale)).fn(2) == 6
    assert repr(job.scale) == "<Task 'scale' of a Job>"
    assert repr(Job.label) == "<Task 'label' of class Job>"
    assert Job.__dict__["scale"] is Job.scale


def test_task_in_an_instances_own_dict_is_not_bound(threads: str) -> None:
    job: Any = Job(3)
    job.own = task(lambda x: x)
    assert job.own.submit(1).result() == 1


def test_task_given_to_a_class_later_is_its_method(threads: str) -> None:
    class Plain:
        k = 3

    Plain.later = task(lambda self, x: x * self.k)  # type: ignore[attr-defined]
    assert Plain().later.map([1, 2]).result() == [3, 6]  # type: ignore[attr-defined]


def test_what_python_does_not_bind_is_not_bound(threads: str) -> None:
    class Plain:
        size = task(len)
        make = task(complex)
        power = task(functools.partial(pow, 2))

    it = Plain()
    assert [it.size.submit([1]).result(), it.make.submit(1, 2).result()] == [1, 1 + 2j]
    if not hasattr(functools.partial, "__get__"):  # Python 3.14 binds them
        assert it.power.submit(3).result() == 8


@pytest.mark.parametrize("below", [True, False])
def test_abstract_stays_abstract(below: bool) -> None:
    def m(self: Any) -> None: ...

    made = task(abc.abstractmethod(m)) if below else abc.abstractmethod(task(m))
    kind = abc.ABC.__class__("Kind", (abc.ABC,), {"m": made})
    assert kind.__abstractmethods__ == {"m"}


def test_properties_over_tasks(threads: str) -> None:
    class Plain:
        @property
        @task
        def seven(self) -> int:
            return 7

        @functools.cached_property
        @task
        def eight(self) -> int:
            return 8

    assert (Plain().seven, Plain().eight) == (7, 8)
    with pytest.raises(OptionError, match="@property goes above @task"):
        task(property(lambda self: 1))  # type: ignore[call-overload]


def test_hidden_class_is_told(monkeypatch: pytest.MonkeyPatch, threads: str) -> None:
    """From Python 3.13 on a builtin classmethod shows the task's `submit`, which never hears of the class."""
    monkeypatch.setattr(tasks, "CHAINS", False)

    def label(cls: Any, x: int = 1) -> Any:
        return (cls, x)

    under, free = task(label), task(label)
    holder = classmethod(under)
    for use in (under.submit, under.map, under.with_options):
        with pytest.raises(OptionError, match="put @task above @classmethod"):
            use()
    assert holder.__func__ is under
    assert free.submit(int).result() == (int, 1)
