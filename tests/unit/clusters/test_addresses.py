"""Which address reaches the scheduler: the first may be dead."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from anabranch.clusters.addresses import connects, first_reached, in_order, own_addresses

if TYPE_CHECKING:
    from collections.abc import Iterator

import pytest


@pytest.fixture
def listener() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_fast_networks_come_first_and_those_inside_the_machine_not_at_all() -> None:
    found = [("lo", "127.0.0.1"), ("docker0", "172.17.0.1"), ("eth0", "10.0.0.5"), ("ib0", "10.1.0.5")]
    assert in_order(found) == ["10.1.0.5", "10.0.0.5"]
    assert in_order([("lo", "127.0.0.1")]) == ["127.0.0.1"]
    assert own_addresses()


def test_a_dead_first_address_does_not_keep_a_worker_away(listener: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        dead = closed.getsockname()[1]
    found = first_reached([f"tls://127.0.0.1:{dead}", f"tls://127.0.0.1:{listener}"], 0.0)
    assert found == (f"tls://127.0.0.1:{listener}", "127.0.0.1")


def test_addresses_are_tried_again_until_the_time_is_over() -> None:
    clock = [0.0]
    tried: list[str] = []

    def connect(address: str) -> str:
        tried.append(address)
        return "10.0.0.9" if len(tried) == 5 else ""

    def pause(seconds: float) -> None:
        clock[0] += seconds

    assert first_reached(["a", "b"], 60.0, connect, lambda: clock[0], pause) == ("a", "10.0.0.9")
    assert first_reached(["a", "b"], 60.0, lambda _: "", lambda: clock[0], pause) == ("", "")
    assert clock[0] == pytest.approx(62.0)


@pytest.mark.parametrize("address", ["", "tls://", "tls://nowhere", "tls://127.0.0.1:port"])
def test_what_is_no_address_is_not_reached(address: str) -> None:
    assert connects(address) == ""
