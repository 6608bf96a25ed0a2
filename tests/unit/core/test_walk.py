from __future__ import annotations

import copy
import pickle
from collections import OrderedDict, defaultdict, namedtuple
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from unittest.mock import MagicMock

import numpy as np
import pydantic
import pytest

from anabranch.core.annotations import allow_failure, quote, unmapped
from anabranch.core.errors import ParameterBindError
from anabranch.core.search import Hole
from anabranch.core.walk import fill, fill_call, lift, needs_walk


class Fut:
    """A stand-in; lists are asked about too, as future lists are sequences."""


def is_future(value: object) -> bool:
    return isinstance(value, Fut)


def put(value: Any, *values: Any) -> Any:
    """Lift and fill again: what the task will see."""
    lifted, found = lift(value, is_future)
    assert len(found) == len(values)
    return fill(pickle.loads(pickle.dumps(lifted)), values)


class Point(NamedTuple):
    x: Any
    y: Any


Old = namedtuple("Old", "a b")


@dataclass
class Plain:
    a: Any
    b: Any = 2
    total: Any = field(init=False, default=None)


@dataclass(frozen=True, slots=True)
class Frozen:
    a: Any
    later: Any = field(init=False)


@dataclass(frozen=True)
class Init:
    a: Any

    def __post_init__(self) -> None:
        if isinstance(self.a, Hole):
            raise AssertionError("built anew through __init__")


class Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(arbitrary_types_allowed=True, extra="allow", frozen=True)
    a: Any
    b: list[Any] = []
    _private: int = pydantic.PrivateAttr(default=7)


class Words(list[Any]):
    pass


class Pair(tuple[Any, ...]):
    pass


# -- leaves ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [1, "a", b"a", 1.5, True, None, 1j, range(3), int, lambda: 1])
def test_leaves_need_no_walk(value: Any) -> None:
    assert not needs_walk((value,), {})
    assert not needs_walk((), {"k": value})
    assert lift(value, is_future) == (value, [])
    assert fill(value, []) is value


@pytest.mark.parametrize("value", [[], (), {}, Fut(), quote(1), np.zeros(2), Plain(1)])
def test_the_rest_does(value: Any) -> None:
    assert needs_walk((1, value), {})
    assert needs_walk((1,), {"k": value})


@pytest.mark.parametrize(
    "value",
    [
        [1, [2, (3, {4: {5}})]], {"a": [1]}, (1, (2,)), {1, 2}, frozenset({1}), Point(1, [2]), Plain([1]), Frozen(1),
        Model(a=[1]), np.arange(4), np.array([object()]), MagicMock(), Plain, Model, object(), Words([1]), Hole,
    ],
)  # fmt: skip
def test_nothing_found_gives_the_same_object(value: Any) -> None:
    assert lift(value, is_future)[0] is value
    assert lift(value, is_future)[1] == []
    assert fill(value, []) is value


# -- containers ------------------------------------------------------------------------------------


def test_a_bare_future() -> None:
    f = Fut()
    assert lift(f, is_future) == (Hole(0), [(f, False)])


def test_builtin_containers() -> None:
    f, g = Fut(), Fut()
    assert put([1, f, (2, [g])], "F", "G") == [1, "F", (2, ["G"])]
    assert put({"k": f, "l": {"m": [g]}}, "F", "G") == {"k": "F", "l": {"m": ["G"]}}
    assert put({f: 1, ("t", g): 2}, "F", "G") == {"F": 1, ("t", "G"): 2}
    assert put({f}, "F") == {"F"}
    assert put(frozenset({f}), "F") == frozenset({"F"})


def test_order_is_that_of_reading() -> None:
    f, g, h = Fut(), Fut(), Fut()
    assert lift(((f, [g]), {"k": h}), is_future)[1] == [(f, False), (g, False), (h, False)]


def test_named_tuples_and_subclasses() -> None:
    point = put(Point([Fut()], 2), "F")
    assert point == Point(["F"], 2)
    assert type(point) is Point
    assert type(put(Old(Fut(), 1), "F")) is Old
    words = Words([Fut()])
    words.name = "n"  # type: ignore[attr-defined]
    found = put(words, "F")
    assert (type(found), found, found.name) == (Words, ["F"], "n")
    pair = Pair((Fut(), 1))
    pair.name = "n"  # type: ignore[attr-defined]
    kept = put(pair, "F")
    assert (type(kept), kept, kept.name) == (Pair, ("F", 1), "n")


def test_dict_subclasses() -> None:
    counted: defaultdict[str, Any] = defaultdict(list, k=Fut())
    found = put(counted, "F")
    assert found == {"k": "F"}
    assert found["new"] == []
    assert put(OrderedDict(b=Fut(), a=1), "F") == OrderedDict(b="F", a=1)
    assert isinstance(counted["k"], Fut)


def test_dataclasses() -> None:
    given = Plain(Fut())
    given.total = [Fut()]
    found = put(given, "F", "T")
    assert found == Plain("F") or (found.a, found.b, found.total) == ("F", 2, ["T"])
    assert isinstance(given.a, Fut)
    lifted, _ = lift(Frozen(Fut()), is_future)  # `later` was never set, so it cannot be pickled
    frozen = fill(lifted, ["F"])
    assert frozen.a == "F"
    assert not hasattr(frozen, "later")
    assert put(Init((Fut(),)), "F") == Init(("F",))


def test_pydantic_models() -> None:
    given = Model(a=Fut(), b=[1, Fut()], extra=Fut())
    lifted, found = lift(given, is_future)
    assert len(found) == 3
    assert lifted.a == Hole(0)
    filled = fill(lifted, ["A", "B", "E"])
    assert (filled.a, filled.b, filled.extra, filled._private) == ("A", [1, "B"], "E", 7)
    assert isinstance(given.a, Fut)


def test_what_was_not_concerned_is_shared() -> None:
    still = [1, [2]]
    given = [still, Fut()]
    assert lift(given, is_future)[0][0] is still
    assert isinstance(given[1], Fut)


def test_the_same_future_has_one_number() -> None:
    f = Fut()
    lifted, found = lift([f, [f], allow_failure(f)], is_future)
    assert lifted == [Hole(0), [Hole(0)], Hole(1, True)]
    assert found == [(f, False), (f, True)]


def test_the_same_list_stays_the_same_list() -> None:
    inner = [Fut()]
    lifted, found = lift([inner, inner], is_future)
    assert lifted[0] is lifted[1]
    assert len(found) == 1


# -- annotations -----------------------------------------------------------------------------------


def test_allow_failure_reaches_inside() -> None:
    f = Fut()
    assert lift(allow_failure({"k": [f]}), is_future) == ({"k": [Hole(0, True)]}, [(f, True)])
    inner = [f]
    both, found = lift([inner, allow_failure(inner)], is_future)
    assert both == [[Hole(0)], [Hole(1, True)]]
    assert found == [(f, False), (f, True)]


def test_quote_is_taken_off_and_not_searched() -> None:
    hidden = [Fut()]
    lifted, found = lift([quote(hidden), 1], is_future)
    assert lifted[0] is hidden
    assert found == []
    assert lift(quote(hidden), is_future)[0] is hidden
    f = Fut()
    lifted, found = lift([hidden, quote(hidden), f], is_future)
    assert lifted[1] is hidden
    assert len(found) == 2


def test_unmapped_is_taken_off() -> None:
    f = Fut()
    assert lift(unmapped(3), is_future) == (3, [])
    assert lift([unmapped(allow_failure(f))], is_future) == ([Hole(0, True)], [(f, True)])
    assert lift([allow_failure(unmapped(f))], is_future) == ([Hole(0, True)], [(f, True)])


def test_fill_leaves_annotations_and_values_alone() -> None:
    mark = quote(Hole(0))
    assert fill([mark, Hole(0)], ["v"])[0] is mark
    value = [Hole(5)]  # a value may be anything, also something of ours
    assert fill([Hole(0)], [value])[0] is value


def test_fill_call() -> None:
    assert fill_call((Hole(1), 2), {"k": [Hole(0)]}, ["a", "b"]) == (("b", 2), {"k": ["a"]})
    assert fill(Hole(0), ["a"]) == "a"


def test_flat_calls_are_as_the_others() -> None:
    f, g = Fut(), Fut()
    lifted, found = lift(((f, 1, g, f, "x"), {}), is_future)
    assert lifted == ((Hole(0), 1, Hole(1), Hole(0), "x"), {})
    assert found == [(f, False), (g, False)]
    assert fill(lifted, ["F", "G"]) == (("F", 1, "G", "F", "x"), {})
    assert fill((Hole(0), object, [Hole(1)]), ["F", "G"]) == ("F", object, ["G"])
    assert fill(((Hole(0), (1, Hole(1))), {"k": Hole(1)}), [1, 2]) == ((1, (1, 2)), {"k": 2})
    call = ((object(), 1), {})
    assert lift(call, is_future)[0] is call
    assert fill(call, []) is call
    assert lift(((f, quote(g)), {}), is_future) == (((Hole(0), g), {}), [(f, False)])


def test_future_that_is_a_sequence_too() -> None:
    class Many(list[Any]):
        pass

    many = Many([1])
    assert lift([many], lambda v: isinstance(v, Many)) == ([Hole(0)], [(many, False)])


# -- hostile ---------------------------------------------------------------------------------------


def nested(depth: int, core: Any) -> Any:
    for _ in range(depth):
        core = [core]
    return core


def test_deep_without_futures_is_fine() -> None:
    deep = nested(10_000, 1)
    assert lift(deep, is_future)[0] is deep
    assert fill(deep, []) is deep


def test_deep_above_a_future_is_refused_clearly() -> None:
    with pytest.raises(ParameterBindError, match="too deep"):
        lift(nested(10_000, Fut()), is_future)


def test_self_containing_list() -> None:
    ring: list[Any] = [1]
    ring.append(ring)
    assert lift(ring, is_future)[0] is ring
    ring.append(Fut())
    lifted, found = lift(ring, is_future)
    assert lifted[1] is lifted
    assert lifted[2] == Hole(0)
    assert len(found) == 1
    filled = fill(lifted, ["F"])
    assert filled[1] is filled
    assert filled[2] == "F"


def test_ring_through_dict_tuple_and_dataclass() -> None:
    table: dict[str, Any] = {}
    node = Plain((table,))
    table["node"] = node
    table["f"] = Fut()
    lifted, found = lift(table, is_future)
    assert lifted["node"].a[0] is lifted
    assert len(found) == 1


def test_unhashable_value_in_a_set_or_key() -> None:
    with pytest.raises(ParameterBindError, match="element of a set"):
        put({Fut()}, [1])
    with pytest.raises(ParameterBindError, match="element of a set"):
        put(frozenset({Fut()}), [1])
    with pytest.raises(ParameterBindError, match="key of a dict"):
        put({Fut(): 1}, [1])


def test_same_value_collapses_in_a_set() -> None:
    lifted, found = lift({Fut(), Fut()}, is_future)
    assert len(lifted) == len(found) == 2
    assert fill(lifted, ["v", "v"]) == {"v"}


def test_mocks_are_leaves() -> None:
    mock = MagicMock()
    lifted, _ = lift([mock, Fut()], is_future)
    assert lifted[0] is mock


def test_a_hundred_thousand_futures() -> None:
    futures = [Fut() for _ in range(100_000)]
    lifted, found = lift(futures, is_future)
    assert len(found) == 100_000
    assert lifted[-1] == Hole(99_999)


def test_hole_travels() -> None:
    for hole in (Hole(3), Hole(3, True)):
        assert pickle.loads(pickle.dumps(hole)) == hole
        assert copy.deepcopy(hole) == hole
    assert Hole(3) != Hole(3, True)
    assert repr(Hole(1)) == "Hole(1)"
