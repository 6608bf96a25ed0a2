"""Fault 8: a connection swallows all for a while. Who waits asks again, and each run is made once."""

from __future__ import annotations

import threading
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.faults import hurried
from tests.faults.ordering import SOON, Orders
from tests.faults.serving import Server
from tests.faults.swallowing import Proxy
from tests.waiting import WAIT, until

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.timeout(400), pytest.mark.sampled(3, "a server, and drivers, under connections that are cut")]
QUICK = {**SOON, "answer": 2.0}
WAYS = ("/ingest ", "/agents/beat ", "/runs ")


@pytest.mark.parametrize(
    ("seconds", "limits"),
    [(4.0, QUICK), pytest.param(20.0, SOON, marks=pytest.mark.nightly("half a minute of the real time-outs"))],
)
def test_a_connection_that_swallows_all_for_a_while_8(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, limits: dict[str, object]
) -> None:
    """It does so while a driver ends its flow, an agent beats and asks, and an order is made."""
    hurried.hurry(limits, monkeypatch.setattr)
    server = Server(tmp_path / "server")
    server.start()
    proxy = Proxy(server.port)
    try:
        given = Orders(tmp_path, where=proxy.address, hurried=limits, job_variables=hurried.job(limits))
        with closing(given) as orders:
            orders.gate.touch()
            run = orders.order()
            orders.agent()
            orders.at_gate()
            proxy.swallow()
            orders.gate.unlink()
            ordered: list[str] = []
            waiting = threading.Thread(target=lambda: ordered.append(orders.order(key="meanwhile")))
            waiting.start()
            # Asked by the driver, by the agent, and by this program.
            until(lambda: all(any(way in line for line in proxy.asked) for way in WAYS), lambda: proxy.asked)
            threading.Event().wait(seconds)
            assert not ordered
            proxy.pass_on()
            waiting.join(WAIT)
            for one in (run, *ordered):
                assert orders.done(one, seconds=100).state_name == "Completed"
            assert len(ordered) == 1
            assert orders.effects() == ["effect 0", "at the gate 0"] * 2
            assert orders.found(run).recoveries == 0
    finally:
        proxy.close()
        server.home.end()
