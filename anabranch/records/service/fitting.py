"""Whether parameters of orders fit, found before the transaction that locks pools: a check may take long."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from anabranch.core import parameter_schema
from anabranch.core.errors import ParametersRefused
from anabranch.records.service.lookups import deployments

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anabranch.core.deployments import DeploymentRow
    from anabranch.core.orders import NewOrder
    from anabranch.records.service.ledger import Ledger

_Checked = tuple[int, str, int]  # the parameters as an object, id and revision of the deployment that they are for
Faults = Mapping[_Checked, ParametersRefused | None]


def parameter_faults(ledger: Ledger, orders: Sequence[NewOrder]) -> Faults:
    """Check the parameters of orders against their deployments as they are now; holds while the orders are held."""
    checked = [one for one in orders if not one.schedule]
    if not checked:
        return {}
    with ledger.read() as db:
        known = deployments(ledger, db, {one.deployment for one in checked})
    rows = [(one, known[one.deployment]) for one in checked if one.deployment in known]
    return {_key(one, row): _fault(one, row) for one, row in rows}


def fault_of(order: NewOrder, row: DeploymentRow, faults: Faults) -> ParametersRefused | None:
    """Return the fault of an order's parameters; they are checked where this was not done for the same revision."""
    key = _key(order, row)
    return faults[key] if key in faults else _fault(order, row)


def _key(order: NewOrder, row: DeploymentRow) -> _Checked:
    return id(order.parameters), row.id, row.revision


def _fault(order: NewOrder, row: DeploymentRow) -> ParametersRefused | None:
    if order.schedule or not row.document.get("enforce_parameter_schema", True):
        return None
    parameters = {**(row.document.get("parameters") or {}), **order.parameters}
    try:
        parameter_schema.check(row.document.get("parameter_schema") or {}, parameters, f"deployment {row.full_name!r}")
    except ParametersRefused as error:
        return error
    return None
