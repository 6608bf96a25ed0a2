"""Orders at a server whose answers are lost."""

from __future__ import annotations

import json
from typing import Any

from anabranch.core.errors import UnreachableError
from anabranch.core.orders import NewOrder, Ordered
from anabranch.records.http import Answer
from anabranch.records.service import requests, wire
from anabranch.records.service.remote import Door, RemoteOrders


class Server:
    """Orders runs as the service does: an id or a key once; the first answer is lost."""

    name = "http://server.test"

    def __init__(self) -> None:
        self.runs: list[str] = []
        self.keys: dict[str, str] = {}
        self.asked = 0

    def ask(self, method: str, path: str, body: bytes = b"", **given: Any) -> Answer:
        self.asked += 1
        found = [self._ordered(one) for one in wire.load(requests.OrderRuns, json.loads(body)).orders]
        if self.asked == 1:
            raise UnreachableError("the answer was lost")
        return Answer(200, json.dumps(wire.dump(found)).encode(), {})

    def _ordered(self, one: NewOrder) -> Ordered:
        run = one.run or f"made-{len(self.runs)}"
        earlier = self.keys.get(one.key, "") or (run if run in self.runs else "")
        if earlier:
            return Ordered(earlier, False)
        self.runs.append(run)
        self.keys |= {one.key: run} if one.key else {}
        return Ordered(run, True)


def test_an_order_whose_answer_was_lost_makes_one_run_which_is_new() -> None:
    server = Server()
    orders = RemoteOrders(Door(server, sleep=lambda seconds: None))  # type: ignore[arg-type]
    wanted = [NewOrder("f/d"), NewOrder("f/d"), NewOrder("f/d", key="k"), NewOrder("f/d", key="k")]
    made = orders.add(wanted)
    assert (server.asked, len(server.runs)) == (2, 3)
    assert [one.run for one in made] == [*server.runs, server.runs[-1]]
    assert [one.new for one in made] == [True, True, True, False]
