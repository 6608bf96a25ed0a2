"""What any service does with the subflows of a driver that has died."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from anabranch.core.runs import FlowRunRow
from anabranch.core.states import COMPLETED, RUNNING
from tests.contract.ordering import begun, hold, order, row_of, states
from tests.contract.services import Place, place, service

if TYPE_CHECKING:
    from anabranch.core.service import Service

__all__ = ["place", "service"]


@pytest.mark.parametrize("recover", ["no", "resume"])
def test_subflows_that_a_dead_driver_had_under_way_end_with_it(service: Service, place: Place, recover: str) -> None:
    """What it has called is over, down to the last; what it has ordered goes on elsewhere, what had ended stays so."""
    claim = begun(service, place, recover=recover)
    run = claim.order.run
    [child] = order(service, "f/daily", parent_run=run)
    now = place.clock.time()
    rows = [FlowRunRow(id, "g", id, RUNNING, "Running", created=now, parent_run=around, attempt=1)
            for id, around in (("called", run), ("inner", "called"), ("other", ""), ("of-child", child))]  # fmt: skip
    rows.append(FlowRunRow("good", "g", "good", COMPLETED, "Completed", created=now, ended=now, parent_run=run))
    place.records.append([*rows])
    assert place.records.flush(30)
    service.claims.beat("one", [hold(claim, "ended", code=-9)])
    found = {id: row_of(place, id) for id in ("called", "inner", "other", "of-child", "good", child)}
    told = {id: row.state_name for id, row in found.items()}
    assert told == {
        "called": "Crashed", "inner": "Crashed", "other": "Running", "of-child": "Running", "good": "Completed",
        child: "Scheduled",
    }  # fmt: skip
    assert found["inner"].ended == place.clock.time()
    assert states(place, "inner") == ["Crashed"]
