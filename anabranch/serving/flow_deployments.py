"""What a flow does about its deployments, under the names of Prefect 3 and Prefect 1."""

from __future__ import annotations

from typing import Any

from anabranch import logs
from anabranch.core.errors import DeploymentError
from anabranch.documents import schedules as schedules_module
from anabranch.serving import deploying
from anabranch.serving.deployment import Deployment
from anabranch.serving.sources import source_of


def to_deployment(
    flow: Any, name: str, *, interval: Any = None, cron: Any = None, rrule: Any = None, schedule: Any = None,
    schedules: Any = None, triggers: Any = None, **fields: Any,
) -> Deployment:  # fmt: skip
    """Return a deployment of a flow, see `Flow.to_deployment`."""
    if triggers:
        raise DeploymentError(f"deployment {name!r}: triggers: there are no automations yet; order it by a schedule")
    for unread in ("version_type", "entrypoint_type"):
        fields.pop(unread, None)
    try:
        fields["schedules"] = schedules_module.given(interval, cron, rrule, schedule, schedules)
    except ValueError as error:
        raise DeploymentError(f"deployment {name!r}: {error}") from None
    fields.update(_limit(fields.pop("concurrency_limit", None)))
    fields = {**source_of(flow), **fields}
    return Deployment.build_from_flow(flow, name, load_existing=False, skip_upload=True, **fields)


def deploy(
    flow: Any, name: str, *, image: Any = None, build: bool = False, push: bool = False,
    print_next_steps: bool = True, ignore_warnings: bool = False, **fields: Any,
) -> str:  # fmt: skip
    """Deploy a flow, see `Flow.deploy`."""
    if image is not None and (build or push or not isinstance(image, str)):
        raise DeploymentError(
            f"deployment {name!r}: anabranch builds and pushes no images: build it by `docker build` with the flow's "
            "code in it, and give its name as image='registry/name:tag'"
        )
    if image is not None:
        fields.setdefault("storage", {"image": image})
        fields["job_variables"] = {"image": image, **(fields.get("job_variables") or {})}
    made = to_deployment(flow, name, **fields)
    row = deploying.apply(made)
    if print_next_steps:
        logs.tell(f"deployment {row.full_name!r} is at revision {row.revision}; its runs wait in pool {row.pool!r}")
    return row.id


def register(
    flow: Any, project_name: str | None = None, build: bool = True, labels: Any = None,
    set_schedule_active: bool = True, version_group_id: str | None = None, no_url: bool = False,
    idempotency_key: str | None = None, **fields: Any,
) -> str:  # fmt: skip
    """Register a flow under a project, see `Flow.register`."""
    given = dict(fields)
    if labels:
        given["labels"] = sorted({*labels, *given.get("labels", ())})
    made = to_deployment(flow, project_name or "default", **given)
    return registered(made, project_name, active=set_schedule_active, idempotency_key=idempotency_key, quiet=no_url)


def registered(
    made: Deployment, project_name: str | None, *, active: bool, idempotency_key: str | None, quiet: bool
) -> str:
    """Deploy under a project; returns the deployment's id.

    Args:
        active: whether its schedules tick.
        quiet: whether no line is logged.
    """
    made.project, made.idempotency_key = project_name, idempotency_key
    if not active and made.schedules:
        made.schedules = [{**one, "active": False} for one in made.schedules]
    row = deploying.apply(made, always=not idempotency_key)
    if not quiet:
        logs.tell(f"flow {row.flow!r} is registered as {row.full_name!r}, revision {row.revision}")
    return row.id


def _limit(given: Any) -> dict[str, Any]:
    """Return the fields of a number, or of an object with limit and collision_strategy."""
    if hasattr(given, "limit"):
        given = {"limit": given.limit, "collision_strategy": getattr(given, "collision_strategy", None)}
    return {} if given is None else {"concurrency_limit": given}
