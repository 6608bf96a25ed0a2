"""The modules that a task's code comes from: found in what objects are, not in what they make up."""

from __future__ import annotations

import functools
import sys
from typing import TYPE_CHECKING, Any
from unittest.mock import MagicMock

import pytest

from anabranch import task
from anabranch.core.user_code import local_modules

if TYPE_CHECKING:
    import types
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[types.ModuleType]:
    """A module of the user's own."""
    (tmp_path / "mine.py").write_text(
        "def helper(x=None):\n    return x\n\nclass Kind:\n    def method(self):\n        return 1\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    import mine  # type: ignore[import-not-found]

    yield mine
    del sys.modules["mine"]


def found(work: Any) -> set[str]:
    """Names of the modules besides this one."""
    return set(local_modules(work)) - {__name__}


class Endless:
    """Each of its attributes is another object with the same ones."""

    def __getattr__(self, name: str) -> Any:
        return Endless()


class Properties:
    @property
    def func(self) -> Any:
        return Properties()

    @property
    def __wrapped__(self) -> Any:
        raise KeyError("no")


@pytest.mark.parametrize("make", [Endless, Properties, MagicMock], ids=lambda kind: kind.__name__)
def test_objects_that_go_on_for_ever_are_left(make: Callable[[], Any]) -> None:
    thing = make()

    def work() -> Any:
        return thing

    work.__module__ = "__main__"
    assert found(task(work)) == set()


@pytest.mark.parametrize(
    "wrap",
    [
        lambda m: m.helper,
        lambda m: functools.partial(m.helper, 1),
        lambda m: functools.partial(functools.partial(m.helper, 1)),
        lambda m: functools.wraps(m.helper)(lambda *a: m),
        lambda m: functools.lru_cache(m.helper),
        lambda m: m.Kind().method,
        lambda m: m.Kind(),
        lambda m: m.Kind,
        lambda m: m,
    ],
    ids=["function", "partial", "twice", "wraps", "lru_cache", "method", "instance", "class", "module"],
)
def test_a_module_is_found_through_what_wraps_it(mine: types.ModuleType, wrap: Callable[[Any], Any]) -> None:
    thing = wrap(mine)

    def work() -> Any:
        return thing

    work.__module__ = "__main__"
    assert found(task(work)) == {"mine"}


def test_a_hook_is_code_of_the_task_too(mine: types.ModuleType) -> None:
    assert found(task(lambda: 1, on_failure=[mine.helper])) == {"mine"}  # type: ignore[call-overload]
