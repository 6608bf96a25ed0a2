from __future__ import annotations

import pickle

import pytest

from anabranch.core.annotations import Annotation, allow_failure, quote, unmapped, unwrap_all

MARKS = [unmapped, allow_failure, quote]


@pytest.mark.parametrize("mark", MARKS)
def test_holds_one_value(mark: type[Annotation]) -> None:
    value = [1]
    marked = mark(value)
    assert marked.value is value
    assert marked.unwrap() is value
    assert repr(marked) == f"{mark.__name__}([1])"
    assert pickle.loads(pickle.dumps(marked)).value == value


@pytest.mark.parametrize("mark", MARKS)
def test_equal_to_nothing_but_itself(mark: type[Annotation]) -> None:
    one, other = mark([1]), mark([1])
    assert one == one
    assert one != other
    assert len({one, other}) == 2


def test_slotted() -> None:
    with pytest.raises(AttributeError):
        quote(1).other = 2  # type: ignore[attr-defined]


def test_nested() -> None:
    marked = unmapped(allow_failure(quote(3)))
    assert unwrap_all(marked) == 3
    assert unwrap_all(3) == 3
    assert repr(marked) == "unmapped(allow_failure(quote(3)))"
