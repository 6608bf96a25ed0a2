"""What may change is a pickle from the moment it is handed over; what cannot is itself."""

from __future__ import annotations

import datetime
import pickle
import threading
from typing import TYPE_CHECKING, Any

import cloudpickle
import numpy as np
import pytest

from anabranch.core.frozen import LISTED_BYTES, Cells, Element, Filled, Frozen, Run, as_given, taken, taken_list
from anabranch.core.own_code import pickler
from anabranch.core.search import Hole

if TYPE_CHECKING:
    from collections.abc import Callable


class Box:
    def __init__(self, content: Any) -> None:
        self.content = content

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Box) and other.content == self.content

    __hash__ = None  # type: ignore[assignment]


def travelled(value: Any) -> Any:
    return pickle.loads(pickler(cloudpickle.Pickler).dumps(value))


@pytest.mark.parametrize(
    "value", [1, "text", None, (1, ("a", 2.0)), (("a", 1), {}), len.__class__, range(3), Hole(0), ((Hole(0), 1), {})]
)
def test_what_cannot_change_is_itself(value: Any) -> None:
    assert taken(value) is value


CHANGES: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "dict": (lambda: {"a": 1}, lambda value: value.update(a=2)),
    "list": (lambda: [1], lambda value: value.append(2)),
    "set": (lambda: {1}, lambda value: value.add(2)),
    "bytearray": (lambda: bytearray(b"ab"), lambda value: value.extend(b"c")),
    "nested": (lambda: ([{"a": [1]}],), lambda value: value[0][0]["a"].append(2)),
    "object": (lambda: Box([1]), lambda value: value.content.append(2)),
    "method": (lambda: [1].count, lambda value: value.__self__.append(1)),
    "call": (lambda: (([1], 2), {"k": {3}}), lambda value: value[0][0].append(2)),
    "with a lambda": (lambda: [lambda: 1, [2]], lambda value: value[1].append(3)),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_what_changes_afterwards_is_not_seen(kind: str) -> None:
    make, change = CHANGES[kind]
    value, before = make(), make()
    found = taken(value)
    change(value)
    arrived, here = travelled(found), as_given(found)
    if kind == "method":
        assert (arrived(1), here(1)) == (1, 1)
    elif kind == "with a lambda":
        assert (arrived[1], here[1]) == ([2], [2])
    else:
        assert (arrived, here) == (before, before)


@pytest.mark.parametrize("size", [10, 1_000_000])
def test_arrays_are_taken_and_may_be_written_to_where_they_arrive(size: int) -> None:
    array = np.zeros(size)
    found = taken(([array], {}))
    array[0] = 1
    (arrived,), _ = travelled(found)
    assert arrived[0] == 0
    arrived[0] = 2


def test_parts_that_are_shared_stay_shared() -> None:
    part = [1]
    (one, other), _ = travelled(taken(((part, {"k": part}), {})))
    assert other["k"] is one


def test_what_will_not_travel_is_left_to_who_sends_it() -> None:
    value = [threading.Lock()]
    assert taken(value) is value


def test_classes_of_the_user_go_beside_the_pickle() -> None:
    made = type("Made", (), {"__module__": "__main__"})
    globals_of_main = __import__("__main__").__dict__
    globals_of_main["Made"] = made
    try:
        found = taken(made())
    finally:
        del globals_of_main["Made"]
    assert type(found) is Frozen
    assert found.code == {("__main__", "Made"): made}
    assert type(as_given(found)) is made, "though nothing is found under its name any more"


def test_holes_of_what_was_taken_are_filled() -> None:
    value = ([Hole(0), 1], {})
    found = Filled(taken((value, {})), ["filled"])
    assert travelled(found) == ((["filled", 1], {}), {})


def test_a_list_is_taken_in_groups() -> None:
    items = [{"n": n} for n in range(1000)]
    cells = taken_list(tuple(items))
    assert type(cells) is Cells
    for item in items:
        item["n"] = -1
    wanted = [{"n": n} for n in range(1000)]
    assert len(cells) == 1000
    assert [as_given(cell) for cell in cells] == wanted
    for lo, hi in ((0, 1000), (0, 1), (63, 65), (64, 128), (999, 1000), (5, 5), (130, 700)):
        some = cells[lo:hi]
        assert len(some) == hi - lo
        assert list(travelled(some)) == wanted[lo:hi]
        assert [as_given(one) for one in some] == wanted[lo:hi]
    run = cells[10:500]
    assert type(run) is Run
    assert travelled([run[0], run[-1], *run[100:102]]) == [wanted[10], wanted[499], wanted[110], wanted[111]]
    assert type(cells[3]) is Element


def test_a_row_of_several_columns_is_read_by_its_parts() -> None:
    row = (taken([1]), 2, taken_list(([3], [4]))[1])
    assert as_given(row) == ([1], 2, [4])
    assert travelled(row) == ([1], 2, [4])


@pytest.mark.parametrize("cells", [(1, 2, 3), ((1, "a"), (2, "b")), range(5), (datetime.date,)])
def test_a_list_that_cannot_change_is_itself(cells: Any) -> None:
    assert taken_list(cells) is cells


def test_of_a_long_list_so_much_is_taken_at_once() -> None:
    """The rest is taken when it is pulled, as the elements of an iterator are."""
    large = [bytearray(LISTED_BYTES // 8) for _ in range(12)]
    cells = taken_list(tuple(large))
    kinds = [type(cell) for cell in cells]
    assert kinds[:8] == [Element] * 8
    assert kinds[-3:] == [bytearray] * 3


@pytest.mark.parametrize("writeable", [True, False])
def test_arrays_that_are_mapped_over(writeable: bool) -> None:
    array = np.arange(4)
    array.flags.writeable = writeable
    found = taken_list(array)
    assert (found is array) is not writeable
    assert found.tolist() == [0, 1, 2, 3]
