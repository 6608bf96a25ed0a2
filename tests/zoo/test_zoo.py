"""Awkward objects in every position on every runner: a value is what it was, or is refused by name and harms nobody."""

from __future__ import annotations

import pickle
from typing import Any

import cloudpickle
import pytest

from anabranch import flow, task
from anabranch.core.own_code import pickler
from tests.zoo.animals import ZOO
from tests.zoo.positions import HERE, PACKED, POSITIONS

IN_PROCESS = ("inline", "thread")
BLAMED = ("poison", "worker died", "unprintable")  # what an object's manners must never lead to


@task
def plain(x: int) -> int:
    return x + 1


def looked_at(name: str, position: str) -> str:
    """What is seen of the object in this position, or how it was refused; a plain run beside it goes as ever."""
    seen: list[str] = []

    @flow
    def around() -> int:
        beside = plain.submit(1)
        try:
            seen.append(POSITIONS[position](name))
        except Exception as error:
            seen.append(f"refused: {type(error).__name__}: {_text(error)}")
        assert beside.result() == 2
        assert plain.submit(2).result() == 3
        return 0

    around()
    return seen[0]


def _text(error: Exception) -> str:
    try:
        return str(error)[:300]
    except Exception:
        return "(no words)"


def check(name: str, position: str, runner: str) -> None:
    keeper = ZOO[name]
    seen = looked_at(name, position)
    if seen == keeper.tell(keeper.make()):
        return
    leaves = position in PACKED or (runner not in IN_PROCESS and position not in HERE)
    assert leaves, f"it does not leave the process: {seen}"
    assert not keeper.travels, f"it can be copied: {seen}"
    if position == "raised" and not seen.startswith("refused: "):
        assert seen == "Lost", seen  # the error arrives, and something stands in the place of what it carried
        return
    assert seen.startswith("refused: "), seen
    assert not any(word in seen for word in BLAMED), f"the run is blamed, or its worker: {seen}"


@pytest.mark.sampled(7, "2,800 pairs on each of three runners: each of them once a week")
@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("name", ZOO)
def test_everywhere(near: str, name: str, position: str) -> None:
    check(name, position, near)


def pairs() -> list[Any]:
    """Each object in two positions, each position with many objects; the same ones every time."""
    positions = list(POSITIONS)
    return sorted({(name, positions[(n + 1) * step % len(positions)]) for n, name in enumerate(ZOO) for step in (1, 7)})


@pytest.mark.sampled(7, "their pairs cost most: each of them once a week")
@pytest.mark.parametrize(("name", "position"), pairs())
def test_far_away(far: str, name: str, position: str) -> None:
    check(name, position, far)


@pytest.mark.parametrize("name", ZOO)
def test_the_table_is_true(name: str) -> None:
    """What is said to travel is what the pickler of the runners can copy."""
    keeper = ZOO[name]
    if keeper.travels:
        copy = pickle.loads(pickler(cloudpickle.Pickler).dumps(keeper.make()))
        assert keeper.tell(copy) == keeper.tell(keeper.make())
