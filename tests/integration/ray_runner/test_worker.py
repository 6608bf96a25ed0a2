"""The actor's side alone, without a cluster: calls come in their order, what is told comes beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from anabranch.runners.ray.worker import RayWorker
from anabranch.runners.transport.payloads import dumps

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.ray


@pytest.fixture
def worker() -> Iterator[RayWorker]:
    made = RayWorker("ray-1", "anabranch.worker.run:run_chunk")
    yield made
    made._children.close()


def come(worker: RayWorker, number: int, shared: dict[int, Any]) -> None:
    """A call that was taken back arrives: its chunk is not looked at."""
    worker.run(number, 100 + number, None, shared, [], None, set(), True)  # type: ignore[arg-type]


def test_what_came_with_a_call_taken_back_is_there_for_those_behind_it(worker: RayWorker) -> None:
    worker.tell([("back", 1, 101)])
    come(worker, 1, {135: dumps("a function", {})})
    assert worker._port.shared(135) == "a function"


def test_what_was_dropped_while_its_call_was_on_its_way_does_not_come_back(worker: RayWorker) -> None:
    worker.tell([("back", 1, 101), ("drop", 135)])
    come(worker, 1, {135: dumps("a function", {}), 136: dumps("another", {})})
    assert worker._port.raw.keys() == {136}
