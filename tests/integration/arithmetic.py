"""The small tasks that the tests of bad input and bad values give good and bad arguments."""

from __future__ import annotations

from typing import Any

from anabranch import task


@task
def double(x: Any) -> Any:
    return 2 * x


@task
def add(x: Any, y: Any = 0) -> Any:
    return x + y


@task
def same(x: Any) -> Any:
    return x
