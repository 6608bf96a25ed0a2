"""The ways to run a task on one argument, for tests of what must be the same in all of them."""

from __future__ import annotations

from typing import Any

WAYS = ("call", "submit", "map")


def result_of(way: str, work: Any, argument: Any) -> Any:
    """What the task makes of the argument when it is called, submitted or mapped."""
    if way == "call":
        return work(argument)
    if way == "submit":
        return work.submit(argument).result()
    return work.map([argument]).result()[0]
