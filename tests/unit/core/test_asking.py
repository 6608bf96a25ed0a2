"""Asking objects of other people: an answer of the right kind, always."""

from __future__ import annotations

import threading
from typing import Any
from unittest.mock import MagicMock, Mock

import pytest

from anabranch.core import asking


def raising(error: BaseException) -> Any:
    class Raising:
        def _raise(self, *args: Any) -> Any:
            raise error

        __str__ = __repr__ = __getattr__ = _raise
        prop = property(_raise)

    return Raising()


ERRORS = [ValueError("x"), RecursionError(), MemoryError(), SystemExit(1), GeneratorExit()]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_whatever_an_object_raises_there_is_an_answer(error: BaseException) -> None:
    thing = raising(error)
    assert type(error).__name__ in asking.text(thing)
    assert asking.shown(thing) == "<Raising>"
    assert asking.shown([thing])
    assert asking.attribute(thing, "prop", 7) == 7
    assert asking.attribute(thing, "missing", 7) == 7


def test_ctrl_c_is_meant_for_the_program() -> None:
    with pytest.raises(KeyboardInterrupt):
        asking.text(raising(KeyboardInterrupt()))


def test_in_other_threads_an_interrupt_is_the_objects_own() -> None:
    found: list[str] = []
    thread = threading.Thread(target=lambda: found.append(asking.text(raising(KeyboardInterrupt()))))
    thread.start()
    thread.join()
    assert found == ["<str() of it raised KeyboardInterrupt>"]


def test_a_text_is_a_plain_string() -> None:
    class Text(str):
        pass

    class Says:
        def __str__(self) -> str:
            return Text("said")

    assert type(asking.text(Says())) is str


def test_what_an_object_would_make_up_it_does_not_have() -> None:
    mock = MagicMock()
    mock.real = 5
    assert asking.attribute(mock, "real") == 5
    assert asking.attribute(mock, "nbytes", "none") == "none"


def test_a_value_is_of_its_type_and_not_of_what_it_says() -> None:
    assert isinstance(Mock(spec=list), list)
    assert not asking.is_a(Mock(spec=list), list)
    assert asking.is_a(True, int)


def test_a_metaclass_is_not_asked() -> None:
    class Meta(type):
        def __getattr__(cls, name: str) -> Any:
            return 1

    class Of(metaclass=Meta):
        there = 2

    assert Of.nbytes == 1
    assert asking.of_class(Of, "nbytes") is None
    assert asking.of_class(Of, "there") == 2


VALUES = [list(range(10**6)), "x" * 10**6, dict.fromkeys(range(1000), "y" * 100)]


@pytest.mark.parametrize("value", VALUES, ids=["list", "str", "dict"])
def test_what_is_shown_is_short(value: Any) -> None:
    assert len(asking.shown(value, 60)) <= 60
