"""What is made of the words in which Ray says that it has ended workers for their memory."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from anabranch.runners.ray.news import _how

pytestmark = pytest.mark.ray

TOLD = """2 worker(s) were killed due to the node running low on memory. Memory on the node (IP: 10.0.0.2, ID: 18b2) \
was 23.10GB used / 23.54GB limit (0.981309)
Ray killed 2 worker(s) based on the killing policy
Considered workers: [
Selected to kill: (Actor(f201): job ID=01000000, lease ID=0044, task name=RayWorker.__init__, \
required resources={CPU: 1}, pid=8721, actual memory used=1.25GB, worker ID=c61e)
Selected to kill: (Actor(f202): job ID=01000000, lease ID=0045, task name=RayWorker.__init__, \
required resources={CPU: 1}, pid=8722, actual memory used=17.06GB, worker ID=c61f)
]"""


def place(name: str, actor: str) -> Any:
    return SimpleNamespace(name=name, actor=SimpleNamespace(_actor_id=bytes.fromhex(actor)))


@pytest.mark.parametrize(("name", "actor", "used"), [("ray-1", "f201", "1.25"), ("ray-2", "f202", "17.06")])
def test_each_worker_is_told_apart_with_what_it_used(name: str, actor: str, used: str) -> None:
    assert _how(place(name, actor), RuntimeError(TOLD), True) == (
        f"Ray ended its worker {name} at {used} GB because the node was running low on memory "
        "(23.10GB used / 23.54GB limit)"
    )


def test_a_worker_that_ray_does_not_speak_of_has_no_number() -> None:
    told = _how(place("ray-3", "f203"), RuntimeError(TOLD), True)
    assert told.startswith("Ray ended its worker ray-3 because the node was running low on memory")
