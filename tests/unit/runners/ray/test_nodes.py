"""Resources in our words and in Ray's."""

from __future__ import annotations

import threading
from queue import SimpleQueue
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from anabranch.runners.ray.nodes import RAYS_PATIENCE, Nodes, kind_of, options_of, patience

if TYPE_CHECKING:
    from collections.abc import Callable

WAIT = 30.0

HEAD = {"NodeID": "a", "Alive": True, "Resources": {"CPU": 2.0, "memory": 100.0, "node:10.0.0.1": 1.0}}
GPUS = {"NodeID": "b", "Alive": True, "Resources": {"CPU": 4.0, "GPU": 2.0, "licence": 1.0, "object_store_memory": 9.0}}


def nodes(*listed: dict[str, Any], put: Callable[[Any], None] = print) -> Nodes:
    here = SimpleNamespace(get_node_id=lambda: "a")
    ray = SimpleNamespace(
        nodes=lambda: list(listed), get_runtime_context=lambda: here, is_initialized=lambda: True
    )  # fmt: skip
    return Nodes(ray, put)


@pytest.mark.parametrize(
    ("needs", "kind", "options"),
    [
        ({"cpus": 4.0}, (), {"resources": {}}),
        ({"gpus": 0.5}, (("GPU", 0.5),), {"num_gpus": 0.5, "resources": {}}),
        ({"GPU": 1.5, "cpus": 1.0}, (("GPU", 2.0),), {"num_gpus": 2.0, "resources": {}}),
        ({"memory": 5.0, "x": 1.0}, (("memory", 5.0), ("x", 1.0)), {"memory": 5.0, "resources": {"x": 1.0}}),
        ({"gpus": 0.0}, (), {"resources": {}}),
    ],
)
def test_what_an_actor_reserves(needs: dict[str, float], kind: Any, options: dict[str, Any]) -> None:
    assert kind_of(needs) == kind
    assert options_of(kind) == options


def test_the_most_that_one_node_has_is_offered_in_both_languages() -> None:
    found = nodes(HEAD, GPUS)
    assert found.cpus == 6
    assert found.offers() == {"CPU": 4, "cpus": 4, "GPU": 2, "gpus": 2, "memory": 100, "licence": 1}


def test_room_is_counted_node_by_node() -> None:
    found = nodes(HEAD, GPUS)
    assert found.room(kind_of({"gpus": 0.5})) == 4
    assert found.room(kind_of({"gpus": 1, "licence": 1})) == 1
    assert found.room(kind_of({"memory": 30, "licence": 1})) == 0


def test_nodes_that_went_are_told_once() -> None:
    answers: SimpleQueue[Any] = SimpleQueue()
    found = nodes(HEAD, GPUS, put=answers.put)
    found._ray.nodes = lambda: [HEAD, {**GPUS, "Alive": False}]

    def look() -> set[str]:
        found.ask()
        kind, nodes = answers.get(timeout=WAIT)
        assert kind == "nodes"
        return found.take(nodes)

    assert look() == {"b"}
    assert look() == set()
    assert "b" not in found
    found.close()
    assert not found._thread.is_alive()


def test_a_head_that_does_not_answer_is_asked_once_and_its_silence_is_counted() -> None:
    answers: SimpleQueue[Any] = SimpleQueue()
    found = nodes(HEAD, put=answers.put)
    calls: list[int] = []
    gate = threading.Event()

    def hanging() -> list[dict[str, Any]]:
        calls.append(1)
        assert gate.wait(WAIT)
        return [HEAD]

    found._ray.nodes = hanging
    for n in range(1, 5):
        found.ask()
        assert found.silent == n
    gate.set()
    found.take(answers.get(timeout=WAIT)[1])
    assert (found.silent, len(calls)) == (0, 1)
    found.close()


def test_a_head_that_cannot_be_asked_counts_as_silent_and_keeps_its_nodes() -> None:
    answers: SimpleQueue[Any] = SimpleQueue()
    found = nodes(HEAD, put=answers.put)

    def broken() -> list[dict[str, Any]]:
        raise RuntimeError("no head")

    found._ray.nodes = broken
    for n in (1, 2):
        found.ask()
        assert found.take(answers.get(timeout=WAIT)[1]) == set()
        assert found.silent == n
    assert "a" in found
    found.close()


def test_patience_ends_before_ray_ends_the_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(RAYS_PATIENCE, raising=False)
    assert patience() == 45
    monkeypatch.setenv(RAYS_PATIENCE, "20")
    assert patience() == 15
