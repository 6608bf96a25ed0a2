"""NumPy arrays, pandas frames and Arrow tables as arguments, constants and results on Ray."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import flow, task, unmapped

if TYPE_CHECKING:
    from collections.abc import Callable

np = pytest.importorskip("numpy")
pd = pytest.importorskip("pandas")
pa = pytest.importorskip("pyarrow")

pytestmark = [
    pytest.mark.ray,
    pytest.mark.timeout(180),
    pytest.mark.usefixtures("on_ray"),
    pytest.mark.sampled(5, "a Ray of the file's own", whole=True),
]

WAIT = 60.0
SMALL, LARGE = 10, 1 << 18  # rows: a few bytes, and 2 MiB a column


def array(rows: int, n: int) -> Any:
    return np.arange(rows, dtype=np.int64) + n


def frame(rows: int, n: int) -> Any:
    words = pd.Series([f"w{i % 7}" for i in range(rows)], dtype="category")
    return pd.DataFrame({"x": array(rows, n), "half": array(rows, n) / 2, "word": words})


def table(rows: int, n: int) -> Any:
    return pa.table({"x": array(rows, n), "odd": [None if i % 3 else i for i in range(rows)]})


MAKERS = [pytest.param(make, id=make.__name__) for make in (array, frame, table)]


def equal(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray):
        return type(other) is type(one) and one.dtype == other.dtype and bool(np.array_equal(one, other))
    return type(other) is type(one) and bool(one.equals(other))


@pytest.mark.parametrize("rows", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("make", MAKERS)
def test_tables_go_and_come_as_they_were(make: Callable[[int, int], Any], rows: int) -> None:
    @task
    def made(n: int) -> Any:
        return make(rows, n)

    @task
    def same(value: Any) -> Any:
        return value

    @task
    def fits(n: int, value: Any, constant: Any) -> bool:
        return equal(value, make(rows, n)) and equal(constant, make(rows, 100))

    @flow
    def main() -> Any:
        results = made.map(range(3))
        mapped_on = fits.map(range(3), results, constant=unmapped(make(rows, 100)))
        arguments = same.map([make(rows, n) for n in range(3)])
        single = same.submit(made.submit(7))
        return results.result(WAIT), mapped_on.result(WAIT), arguments.result(WAIT), single.result(WAIT)

    results, mapped_on, arguments, single = main()
    assert [equal(value, make(rows, n)) for n, value in enumerate(results)] == [True] * 3
    assert mapped_on == [True] * 3
    assert [equal(value, make(rows, n)) for n, value in enumerate(arguments)] == [True] * 3
    assert equal(single, make(rows, 7))


def mapping(address: int) -> str:
    """The file that this address of this process is a part of."""
    with open("/proc/self/maps", encoding="utf-8") as lines:
        for line in lines:
            span, *_, name = line.split(maxsplit=5) if len(line.split()) > 5 else [*line.split(), ""]
            first, last = (int(end, 16) for end in span.split("-"))
            if first <= address < last:
                return name.strip()
    return ""


@pytest.mark.parametrize("make", MAKERS)
def test_a_large_constant_is_read_where_it_lies_in_rays_store(make: Callable[[int, int], Any]) -> None:
    """By all workers of a node: none has a copy, and none can change what the others read."""

    @task
    def looked_at(n: int, constant: Any) -> tuple[str, bool]:
        column = constant if isinstance(constant, np.ndarray) else constant["x"]
        seen = column.chunk(0).to_numpy() if isinstance(constant, pa.Table) else np.asarray(column)
        return mapping(seen.__array_interface__["data"][0]), bool(seen.flags.writeable)

    @flow
    def main() -> Any:
        return looked_at.map(range(8), constant=unmapped(make(LARGE, 0)), chunk=1).result(WAIT)

    for where, writable in main():
        assert "plasma" in where
        assert not writable


def test_a_large_result_belongs_to_each_task_that_reads_it() -> None:
    """It stays with Ray, whoever reads it; a reader may change what it got, and nobody else sees that."""

    @task
    def made(n: int) -> Any:
        return array(LARGE, n)

    @task
    def changed(value: Any, step: int) -> tuple[int, int]:
        first = int(value[0])
        value += step
        return first, int(value[0])

    @flow
    def main() -> Any:
        value = made.submit(5)
        return [changed.submit(value, step).result(WAIT) for step in (10, 20, 30)], value.result(WAIT)

    found, value = main()
    assert found == [(5, 15), (5, 25), (5, 35)]
    assert equal(value, array(LARGE, 5))


def test_a_large_result_that_a_task_reads_does_not_pass_through_the_driver(on_ray: Any) -> None:
    @task
    def made(n: int) -> Any:
        return array(LARGE, n)

    @task
    def total(value: Any) -> tuple[int, int]:
        return os.getpid(), int(value.sum())

    fetched: list[Any] = []
    runner = on_ray.settings.runner
    fetch = runner.fetch
    runner.fetch = lambda handle, slots: fetched.append(handle) or fetch(handle, slots)
    try:

        @flow
        def main() -> Any:
            return total.map(made.map(range(6))).result(WAIT)

        found = main()
    finally:
        del runner.fetch
    assert [value for _, value in found] == [int(array(LARGE, n).sum()) for n in range(6)]
    assert os.getpid() not in {pid for pid, _ in found}
    assert fetched == []
