"""What agents that wait at a server look at: a pool has another face as soon as one of its slots is free."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from anabranch.core.states import COMPLETED, SUSPENDED
from tests.contract.ordering import begun, hold, write
from tests.contract.services import place, service

if TYPE_CHECKING:
    from anabranch.records.service.direct import DirectService
    from tests.contract.services import Place

__all__ = ["place", "service"]


@pytest.mark.parametrize("place", ["memory"], indirect=True)
def test_the_end_that_a_driver_writes_changes_the_face_of_its_pool(service: DirectService, place: Place) -> None:
    claim = begun(service, place)
    before = service.faces()
    write(place, claim.order.run, claim.order.token, COMPLETED)
    assert service.faces() != before


@pytest.mark.parametrize("place", ["memory"], indirect=True)
def test_an_end_that_a_beat_finds_changes_it_too(service: DirectService, place: Place) -> None:
    """A run that its deployment does not let go on is over with the job of the driver that suspended it."""
    claim = begun(service, place, recover="no")
    write(place, claim.order.run, claim.order.token, SUSPENDED)
    before = service.faces()
    service.claims.beat("one", [hold(claim, "ended")])
    assert service.faces() != before
