"""How a connection to a Dask scheduler ends, with a client that only writes down what it is asked."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from anabranch.runners.dask.link import STARVED, Link


class Client:
    """One that is connected, and may run functions on its scheduler."""

    status = "running"

    def __init__(self, lets: bool) -> None:
        self.lets = lets
        self.asked: list[tuple[str, str]] = []

    def run_on_scheduler(self, fn: Any, *, topic: str) -> None:
        if not self.lets:
            raise ValueError("this scheduler runs nothing for its clients")
        self.asked.append(("forget", topic))

    def unsubscribe_topic(self, topic: str) -> None:
        self.asked.append(("unsubscribe", topic))

    def close(self, timeout: float) -> None:
        self.asked.append(("close", ""))


def closed(client: Client, own: Any = None) -> list[tuple[str, str]]:
    link = object.__new__(Link)
    link.client, link.own, link._topic = client, own, "ours"
    link.close()
    return client.asked


@pytest.mark.parametrize(("lets", "left"), [(True, "forget"), (False, "unsubscribe")])
def test_a_borrowed_scheduler_forgets_our_topic_and_is_told_nothing_that_makes_it_anew(lets: bool, left: str) -> None:
    assert closed(Client(lets)) == [("unsubscribe", STARVED), (left, "ours"), ("close", "")]


def test_a_cluster_of_our_own_is_closed() -> None:
    ended: list[bool] = []
    own = SimpleNamespace(alive=True, close=lambda: ended.append(True))
    assert ("unsubscribe", "ours") in closed(Client(True), own)
    assert ended == [True]
