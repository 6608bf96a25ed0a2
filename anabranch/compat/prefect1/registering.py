"""`flow.register`: a graph as a deployment. Its file is read again where it runs; nothing of it is pickled."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anabranch.core.errors import DeploymentError
from anabranch.documents.parameters import plain
from anabranch.serving import flow_deployments
from anabranch.serving.deployment import Deployment

if TYPE_CHECKING:
    from anabranch.compat.prefect1.flows import Flow
    from anabranch.compat.prefect1.nodes import Parameter


def register(
    flow: Flow, project_name: str | None = None, build: bool = True, labels: Any = None,
    set_schedule_active: bool = True, version_group_id: str | None = None, no_url: bool = False,
    idempotency_key: str | None = None, **_: Any,
) -> str:  # fmt: skip
    """Register a flow, see `Flow.register`."""
    place = _place(flow)
    config = flow.run_config
    given = {*(labels or ()), *getattr(config, "labels", ()), *getattr(flow.storage, "labels", ())}
    made = Deployment(
        project_name or "default",
        flow_name=flow.anabranch_flow().name,
        parameter_schema=_schema(flow.parameters()),
        schedules=None if flow.schedule is None else [flow.schedule],
        labels=sorted(given),
        job_variables={} if config is None else config.job(),
        written_for="prefect",
        **place,
    )
    if build and hasattr(flow.storage, "sent"):
        flow.storage.sent()
    return flow_deployments.registered(
        made, project_name, active=set_schedule_active, idempotency_key=idempotency_key, quiet=no_url
    )


def _place(flow: Flow) -> dict[str, Any]:
    """Return entrypoint, path and storage: those of the flow's storage, or the file that it was made in."""
    module, variable = _variable(flow)
    if flow.storage is not None and hasattr(flow.storage, "place"):
        found: dict[str, Any] = flow.storage.place(variable)
        if found.get("entrypoint"):
            return found
    file = getattr(module, "__file__", None)
    if file is None:
        raise DeploymentError(
            f"flow {flow.name!r} is no variable of a file that another program can read: write it to a file, or give "
            "it storage=Local(path='flow.py', stored_as_script=True)"
        )
    path = Path(file).resolve()
    return {"entrypoint": f"{path.name}:{variable}", "path": str(path.parent)}


def _variable(flow: Flow) -> tuple[Any, str]:
    """Return the module in which a variable is this flow, and the variable's name; "" where there is none."""
    modules = [sys.modules["__main__"], *list(sys.modules.values())]
    for module in modules:
        for name, value in list(getattr(module, "__dict__", {}).items()):
            if value is flow:
                return module, name
    return None, ""


def _schema(parameters: set[Parameter]) -> dict[str, Any]:
    known = sorted(parameters, key=lambda one: str(one.name))
    properties = {one.name: {} if one.required else {"default": _default(one.default)} for one in known}
    required = [one.name for one in known if one.required]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _default(value: Any) -> Any:
    try:
        return plain(value)
    except DeploymentError:
        return None
