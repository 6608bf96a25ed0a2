"""Marks round what is mapped: `quote`, `allow_failure` and `unmapped` are taken off, what is quoted stays as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from anabranch import allow_failure, flow, quote, task, unmapped

if TYPE_CHECKING:
    from collections.abc import Callable

WAIT = 60.0


@task
def same(x: Any) -> Any:
    return x


@task
def pair(x: Any, y: Any) -> tuple[Any, Any]:
    return x, y


@task
def type_of(x: Any) -> str:
    return type(x).__name__


@pytest.mark.parametrize("way", ["list", "iterator"])
def test_marks_are_taken_off_what_is_mapped(runner: str, way: str) -> None:
    def given(*values: Any) -> Any:
        return list(values) if way == "list" else iter(values)

    @flow
    def main() -> Any:
        return [
            same.map(quote(given(1, [2]))).result(WAIT),
            same.map(allow_failure(given(1, [2]))).result(WAIT),
            same.map(given(quote(1), quote([2]), allow_failure(3), [quote(4)])).result(WAIT),
            pair.map(quote(1), given(2, 3)).result(WAIT),
            pair.map(given(2, quote(3)), unmapped(quote([1]))).result(WAIT),
            pair.map(quote(given(5, 6)), [quote(7), 8]).result(WAIT),
            pair.map(quote([5, 6]), [same.submit(7), 8]).result(WAIT),
        ]

    assert main() == [
        [1, [2]],
        [1, [2]],
        [1, [2], 3, [4]],
        [(1, 2), (1, 3)],
        [(2, [1]), (3, [1])],
        [(5, 7), (6, 8)],
        [(5, 7), (6, 8)],
    ]


@pytest.mark.parametrize("way", [list, iter])
def test_what_is_quoted_is_handed_over_as_it_is(threads: str, way: Callable[[Any], Any]) -> None:
    future = same.submit(5)
    assert type_of.map(quote(way([future, 1]))).result(WAIT) == ["Future", "int"]
    assert type_of.map(way([quote(future), future])).result(WAIT) == ["Future", "int"]
    assert type_of.submit(quote(future)).result(WAIT) == "Future"
