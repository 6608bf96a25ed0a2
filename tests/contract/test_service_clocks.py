"""Programs of several hosts judge leases by the time of their one database, whatever their own clocks say."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from anabranch.core.clock import SystemClock
from anabranch.core.orders import LEASE, OrderState
from anabranch.records import open_service
from tests.contract.ordering import agent, deploy, order

if TYPE_CHECKING:
    from anabranch.core.service import Service

APART = LEASE + 5  # seconds


@pytest.mark.postgres
@pytest.mark.parametrize("apart", [APART, -APART])
def test_a_host_whose_clock_is_wrong_takes_no_claims_of_others(
    postgres_address: str, apart: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, elsewhere = open_service(postgres_address), open_service(postgres_address)
    try:
        deploy(here)
        [run] = order(here, "f/daily")
        agent(here)
        [claim] = here.claims.claim("one", 1)
        assert here.upkeep.lease("services", "here", LEASE)
        with monkeypatch.context() as host:
            host.setattr(SystemClock, "time", staticmethod(lambda: time.time() + apart))
            _judge(elsewhere, run)
            later = order(elsewhere, "f/daily")
        assert [one.order.run for one in here.claims.claim("one", 2)] == later, "due at once on both hosts"
        assert claim.order.lease_until == pytest.approx(here.upkeep.now() + LEASE, abs=LEASE / 2)
    finally:
        here.close()
        elsewhere.close()


def _judge(service: Service, run: str) -> None:
    """What a program of another host does while all is well."""
    assert service.upkeep.reap().returned == []
    found = service.orders.find(run)
    assert found is not None
    assert found.state is OrderState.CLAIMED
    assert not service.upkeep.lease("services", "elsewhere", LEASE)
    [one] = service.claims.agents()
    assert abs(service.upkeep.now() - one.seen) < LEASE / 2
