"""Resources in our words and in Ray's."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from anabranch.runners.ray_nodes import Nodes, kind_of, options_of

HEAD = {"NodeID": "a", "Alive": True, "Resources": {"CPU": 2.0, "memory": 100.0, "node:10.0.0.1": 1.0}}
GPUS = {"NodeID": "b", "Alive": True, "Resources": {"CPU": 4.0, "GPU": 2.0, "licence": 1.0, "object_store_memory": 9.0}}


def nodes(*listed: dict[str, Any]) -> Nodes:
    here = SimpleNamespace(get_node_id=lambda: "a")
    return Nodes(SimpleNamespace(nodes=lambda: list(listed), get_runtime_context=lambda: here))


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
    listed = [HEAD, GPUS]
    found = nodes(*listed)
    found._ray.nodes = lambda: [HEAD, {**GPUS, "Alive": False}]
    assert found.look() == {"b"}
    assert found.look() == set()
    assert "b" not in found
