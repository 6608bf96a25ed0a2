"""Sizes of values: known types are asked, foreign ones are not believed, and none can fail a run."""

from __future__ import annotations

import array
from typing import Any

import numpy as np
import pytest

from anabranch.core import sizes
from anabranch.core.sizes import UNKNOWN, sizeof


@pytest.mark.parametrize(
    ("value", "least"),
    [
        (np.zeros(1000), 8000),
        (np.zeros(1000)[::2], 4000),
        (memoryview(bytes(5000)), 5000),
        (array.array("d", bytes(8000)), 8000),
        (bytes(700), 700),
        ([b"x" * 500] * 10, 5000),
        ({n: n for n in range(100)}, 2000),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, int) else str(value),
)
def test_what_holds_bytes_counts_them(value: Any, least: int) -> None:
    assert least <= sizeof(value) <= 3 * least


class Says:
    def __init__(self, answer: Any) -> None:
        self.answer = answer

    @property
    def nbytes(self) -> Any:
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


@pytest.mark.parametrize(
    "answer",
    [-1, -(10**12), float("nan"), "12", None, True, 1 << 70, [], KeyError("x"), NotImplementedError(), RecursionError(),
     SystemExit(3), GeneratorExit()],
    ids=repr,
)  # fmt: skip
def test_an_answer_that_cannot_be_is_no_size(answer: Any) -> None:
    assert 0 < sizeof(Says(answer)) < 1000


def test_an_answer_that_can_be_is_one() -> None:
    assert sizeof(Says(10_000)) == 128 + 10_000


@pytest.mark.parametrize("answer", [-5, "x", 1 << 70, ValueError("no")], ids=repr)
def test_a_size_of_its_own_that_cannot_be_is_none(answer: Any) -> None:
    class Sized:
        def __sizeof__(self) -> Any:
            if isinstance(answer, BaseException):
                raise answer
            return answer

    assert sizeof(Sized()) in (UNKNOWN, sizes.MOST)


def test_what_is_made_up_by_the_instance_is_not_asked() -> None:
    class Made:
        def __getattr__(self, name: str) -> Any:
            raise AssertionError(f"asked for {name}")

    assert sizeof(Made()) > 0


def test_a_type_that_is_slow_to_say_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    class Slow:
        @property
        def nbytes(self) -> int:
            asked.append(self)
            return 500

    monkeypatch.setattr(sizes, "SLOW_SECONDS", -1.0)
    assert [sizeof(Slow()), sizeof(Slow())] == [628, 628]
    assert len(asked) == 1
