"""Endless inputs, and what becomes of them when nobody reads on."""

from __future__ import annotations

import itertools
import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from anabranch import flow, task

if TYPE_CHECKING:
    from collections.abc import Iterator


@task
def double(x: int) -> int:
    return 2 * x


@pytest.fixture
def closed() -> threading.Event:
    return threading.Event()


@pytest.fixture
def endless(closed: threading.Event) -> Iterator[int]:
    def numbers() -> Iterator[int]:
        try:
            yield from itertools.count()
        finally:
            closed.set()

    return numbers()


@pytest.mark.usefixtures("threads")
def test_a_reader_that_leaves_closes_the_generator(endless: Iterator[int], closed: threading.Event) -> None:
    @flow
    def main() -> int:
        with closing(double.map(endless).results()) as values:
            return sum(itertools.islice(values, 1000))

    assert main() == 999_000
    assert closed.wait(20)


@pytest.mark.usefixtures("threads")
def test_a_flow_that_raises_ends_though_an_endless_map_is_open(
    endless: Iterator[int], closed: threading.Event
) -> None:
    @flow
    def main() -> None:
        doubled = double.map(endless)
        doubled[10].result()
        raise KeyError("the body")

    with pytest.raises(KeyError, match="the body"):
        main()
    assert closed.wait(20)


@pytest.mark.usefixtures("threads")
def test_a_cancelled_map_closes_its_generator(endless: Iterator[int], closed: threading.Event) -> None:
    @flow
    def main() -> None:
        doubled = double.map(endless)
        doubled[10].result()
        doubled.cancel()
        doubled.wait()

    main(return_state=True)  # how many ran before is a matter of speed
    assert closed.wait(20)


@pytest.mark.usefixtures("threads")
def test_a_generator_that_fails_as_it_is_closed_is_told_of(
    closed: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    def numbers() -> Iterator[int]:
        try:
            yield from itertools.count()
        finally:
            closed.set()
            raise OSError("the file was gone")

    @flow
    def main() -> None:
        doubled = double.map(numbers())
        doubled[10].result()
        doubled.cancel()
        doubled.wait()

    main(return_state=True)
    assert closed.wait(20)
    until = time.monotonic() + 20
    while "the file was gone" not in caplog.text and time.monotonic() < until:
        time.sleep(0.005)
    assert "the iterator of map 'double' failed as it was closed" in caplog.text
