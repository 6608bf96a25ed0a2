"""What an order keeps is JSON."""

from __future__ import annotations

import pytest

from anabranch.core.deployments import DeploymentRow
from anabranch.core.errors import ServiceError
from anabranch.core.orders import NewOrder
from anabranch.records.service.memory import memory_service


def test_values_that_are_no_json_are_named() -> None:
    service = memory_service()
    row = service.deployments.apply(DeploymentRow("", "f", "daily"))
    with pytest.raises(ServiceError, match="parameters of a run of f/daily must be JSON, and these are not: bad"):
        service.orders.add([NewOrder(row.id, parameters={"good": 1, "bad": object()})])
    with pytest.raises(ServiceError, match="job variables of a run of f/daily must be JSON, and these are not: bad"):
        service.orders.add([NewOrder(row.id, job={"bad": object()})])
    assert service.orders.all() == []
    service.close()
