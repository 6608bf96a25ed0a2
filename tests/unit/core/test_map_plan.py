from __future__ import annotations

import io
import itertools
import tempfile
import tracemalloc
from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np
import pydantic
import pytest

from anabranch.core.annotations import allow_failure, quote, unmapped
from anabranch.core.columns import Source
from anabranch.core.errors import MapError, ParameterBindError
from anabranch.core.map_plan import Constant, LateMapped, Mapped, MapPlan, plan_map
from anabranch.core.params import Binder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Fut:
    pass


def drained(found: Source, step: int) -> Iterator[Any]:
    while True:
        yield from found.take(step)


class FutList:
    def __init__(self, items: list[Any], total: int | None) -> None:
        self.items = items
        self.progress = (0, total)

    def __len__(self) -> int:
        if self.progress[1] is None:
            raise AssertionError("this would wait")
        return len(self.items)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.items)


def f(x: Any, y: Any = 0, *rest: Any, **more: Any) -> None: ...


def plan(*args: Any, fn: Callable[..., Any] = f, **kwargs: Any) -> MapPlan:
    return plan_map(
        Binder(fn),
        args,
        kwargs,
        is_future_list=lambda v: isinstance(v, FutList),
        is_future=lambda v: isinstance(v, (Fut, FutList)),
    )


def source(*args: Any, **kwargs: Any) -> Source:
    return Source(plan(*args, **kwargs))


# -- classes of arguments --------------------------------------------------------------------------


def test_iterables_and_constants() -> None:
    found = plan([1, 2], 5, unmapped([7]), k=(3, 4), c="text")
    assert found.args == (Mapped((1, 2)), Constant(5), Constant([7]))
    assert found.kwargs == {"k": Mapped((3, 4)), "c": Constant("text")}
    assert found.length == 2
    assert [key for key, _ in found.mapped] == [0, "k"]
    assert not found.late


def test_defaults_are_never_mapped() -> None:
    def with_default(x: Any, y: Any = (1, 2, 3)) -> None: ...

    assert plan([1, 2], fn=with_default).args == (Mapped((1, 2)),)


def test_a_dict_maps_over_its_keys() -> None:
    assert source({"a": 1, "b": 2}).take(5) == ["a", "b"]


def test_sets_views_and_queues() -> None:
    assert source({1}).take(5) == [1]
    assert source({"a": 1}.items()).take(5) == [("a", 1)]
    assert source(deque([1, 2])).slice(0, 2) == (1, 2)


def test_not_mapped() -> None:
    class Model(pydantic.BaseModel):
        a: int = 1

    with tempfile.TemporaryFile("w+") as file, tempfile.NamedTemporaryFile() as wrapped:
        values = ["text", b"bytes", bytearray(b"b"), io.StringIO("a\nb"), file, wrapped, Model(), np.array(3), 5, None]
        for value in values:
            found = plan([1], value)
            assert found.args[1] == Constant(value)


@pytest.mark.parametrize("value", ["abc", 5, None, unmapped([1, 2]), allow_failure("abc")])
def test_nothing_to_map(value: Any) -> None:
    with pytest.raises(MapError, match=r"f\.map has nothing to map over: x is an? \w+.*f\.submit"):
        plan(value)


def test_nothing_given() -> None:
    with pytest.raises(MapError, match="no arguments"):
        plan(fn=lambda x=1: x)
    with pytest.raises(ParameterBindError, match="missing 'x'"):
        plan()


def test_bad_arguments_come_first() -> None:
    with pytest.raises(ParameterBindError):
        plan([1], fn=lambda: None)


def test_futures() -> None:
    one, many = Fut(), FutList([1, 2], 2)
    assert plan(one).args == (LateMapped(one),)
    assert plan(one).late
    assert plan(one, [1, 2]).length is None
    assert plan(many).args == (Mapped(many, None, True),)
    assert plan(many).length == 2
    assert plan(allow_failure(many)).args == (Mapped(many, "allow_failure", True),)
    late = plan(allow_failure(one)).args[0]
    assert isinstance(late, LateMapped)
    assert isinstance(late.with_value([1]), allow_failure)
    assert isinstance(plan(quote(one), [1]).args[0], Constant)
    assert plan([one, one]).args == (Mapped((one, one)),)


def test_future_list_of_unknown_length_is_not_waited_for() -> None:
    assert plan(FutList([], None)).length is None
    with pytest.raises(MapError, match="x has 2, y has 3"):
        plan(FutList([], 2), [1, 2, 3])


def test_without_future_lists() -> None:
    many = FutList(["f", "g"], 2)
    found = plan(many, [1, 2], [3, 4], k=[5, 6])
    left = found.without_future_lists()
    assert left.length == 2
    assert Source(left).slice(0, 2) == [(1, 3, 5), (2, 4, 6)]
    mixed = plan(many, iter([1]), [3, 4]).without_future_lists()
    taken = Source(mixed)
    assert taken.take(5) == [(1, 3)]
    with pytest.raises(MapError, match=r"y ended after 1, but rest\[0\] went on"):
        taken.take(5)


def test_annotated_iterables_wrap_each_element() -> None:
    for mark in (allow_failure, quote):
        found = source(mark([1, 2]))
        assert [type(v) for v in found.slice(0, 2)] == [mark, mark]
        assert [v.value for v in found.take(9)] == [1, 2]
        assert found.at(1).value == 2
        assert [v.value for v in source(mark(iter([1, 2]))).take(9)] == [1, 2]
    assert plan(allow_failure(quote([1]))).args == (Mapped((1,), "quote"),)


def test_unmapped_in_any_place() -> None:
    value = plan([1], allow_failure(unmapped([2]))).args[1]
    assert isinstance(value, Constant)
    assert isinstance(value.value, allow_failure)
    assert value.value.value == [2]
    assert plan([1], unmapped(unmapped([2]))).args[1] == Constant([2])


def test_variadics_one_by_one() -> None:
    found = plan([1, 2], [3, 4], [5, 6], 7, a=[8, 9])
    assert Source(found).slice(0, 2) == [(1, 3, 5, 8), (2, 4, 6, 9)]
    with pytest.raises(MapError, match=r"x has 1, rest\[0\] has 2, a has 3"):
        plan([1], 0, [1, 2], a=[1, 2, 3])


def test_lengths_count_what_iteration_gives() -> None:
    class Frame:
        """Like a DataFrame: len() counts rows, iteration gives columns."""

        def __len__(self) -> int:
            return 100

        def __iter__(self) -> Iterator[str]:
            return iter(["a", "b"])

    assert plan(Frame(), [1, 2]).length == 2


# -- sources ---------------------------------------------------------------------------------------


def test_empty_is_fine() -> None:
    assert plan([]).length == 0
    assert source([]).exhausted
    assert source([]).take(3) == []
    assert list(source([]).slice(0, 0)) == []
    empty = source(iter([]))
    assert empty.take(3) == []
    assert empty.exhausted


def test_list_is_a_snapshot() -> None:
    given = [1, 2, 3]
    found = source(given)
    given.clear()
    assert found.random_access
    assert found.length == 3
    assert list(found.slice(0, 3)) == [1, 2, 3]


def test_a_million_take_no_memory() -> None:
    tracemalloc.start()
    try:
        found = source(range(1_000_000))
        assert found.at(999_999) == 999_999
        assert found.slice(10, 20) == range(10, 20)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def test_numpy_arrays() -> None:
    found = source(np.arange(5), np.eye(5))
    assert found.random_access
    assert found.length == 5
    x, row = found.at(2)
    assert (x, row.tolist()) == (2, [0, 0, 1, 0, 0])
    assert isinstance(source(np.arange(5)).slice(1, 3), list)
    assert source(np.arange(5)).take(9) == [0, 1, 2, 3, 4]


def test_random_access_keeps_its_bounds() -> None:
    with pytest.raises(IndexError, match="x has 3 elements, no element 3"):
        source([1, 2, 3]).at(3)
    with pytest.raises(IndexError):
        source(range(3)).at(-1)
    with pytest.raises(MapError, match="in turn"):
        source(iter([1])).at(0)


def test_take_of_counted() -> None:
    found = source(range(5), [1, 2, 3, 4, 5])
    assert found.take(3) == [(0, 1), (1, 2), (2, 3)]
    assert not found.exhausted
    assert found.take(3) == [(3, 4), (4, 5)]
    assert found.exhausted
    assert found.take(3) == []


def test_streams_are_pulled_no_further_than_asked() -> None:
    pulled: list[int] = []

    def stream() -> Iterator[int]:
        for n in itertools.count():
            pulled.append(n)
            yield n

    found = source(stream())
    assert not found.random_access
    assert found.length is None
    assert plan(stream()).length is None
    assert pulled == []
    assert found.take(3) == [0, 1, 2]
    assert pulled == [0, 1, 2]
    found.close()
    assert found.exhausted
    assert found.take(3) == []


def test_unsized_iterable_that_is_no_iterator() -> None:
    class Endless:
        def __iter__(self) -> Iterator[int]:
            return itertools.count()

    assert source(Endless()).take(2) == [0, 1]


def failing() -> Iterator[int]:
    yield from range(5000)
    raise ZeroDivisionError("at 5000")


def test_a_raising_iterator_keeps_what_came_before() -> None:
    found = source(failing())
    items: list[int] = []
    with pytest.raises(ZeroDivisionError, match="at 5000"):
        items.extend(drained(found, 777))
    assert items == list(range(5000))
    assert found.exhausted
    assert found.take(1) == []


def test_a_raising_iterator_beside_a_good_one() -> None:
    found = source(failing(), itertools.count())
    assert len(found.take(6000)) == 5000
    with pytest.raises(ZeroDivisionError):
        found.take(1)


def test_error_at_the_first_element() -> None:
    def at_once() -> Iterator[int]:
        raise OSError("no")
        yield 1

    with pytest.raises(OSError, match="no"):
        source(at_once()).take(5)


def test_streams_of_unequal_length() -> None:
    found = source(iter([1, 2, 3]), iter([1, 2]))
    assert found.take(10) == [(1, 1), (2, 2)]
    assert not found.exhausted
    with pytest.raises(MapError, match="y ended after 2, but x went on"):
        found.take(10)


def test_counted_beside_a_stream() -> None:
    good = source([1, 2, 3], iter("abc"))
    assert good.take(2) == [(1, "a"), (2, "b")]
    assert good.take(2) == [(3, "c")]
    assert good.exhausted or good.take(2) == []
    for n in (1, 3, 4, 100):
        long = source([1, 2, 3], itertools.count())
        items: list[Any] = []
        with pytest.raises(MapError, match="x ended after 3, but y went on"):
            items.extend(drained(long, n))
        assert items == [(1, 0), (2, 1), (3, 2)]
    short = source([1, 2, 3], iter([9]))
    assert short.take(9) == [(1, 9)]
    with pytest.raises(MapError, match="y ended after 1, but x went on"):
        short.take(9)


def test_future_list_in_a_source_is_listed() -> None:
    assert source(FutList(["f", "g"], 2)).take(3) == ["f", "g"]
