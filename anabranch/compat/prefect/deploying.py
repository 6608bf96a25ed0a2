"""`Flow.deploy`, `to_deployment` and `serve` with the arguments, checks and messages of Prefect 3."""

from __future__ import annotations

from typing import Any

from anabranch import flows as ours
from anabranch import serving
from anabranch.compat.prefect.flow_arguments import check_name

_SCHEDULES = ("interval", "cron", "rrule", "schedule", "schedules")


def checked(name: Any, given: dict[str, Any]) -> None:
    """Check a deployment's name and that one schedule at most is given; raises as Prefect does."""
    if isinstance(name, str):
        check_name(name)
    if sum(given.get(word) is not None for word in _SCHEDULES) > 1:
        raise ValueError("Only one of interval, cron, rrule, schedule, or schedules can be provided.")


def to_deployment(self: Any, name: str, **given: Any) -> Any:
    """Return a deployment of the flow: its arguments are those of Prefect's `Flow.to_deployment`."""
    checked(name, given)
    return ours.Flow.to_deployment(self, name, **given)


def serve(self: Any, name: str | None = None, **given: Any) -> None:
    """Serve a deployment of the flow until Ctrl-C."""
    checked(name, given)
    ours.Flow.serve(self, name, **given)


def deploy(
    self: Any, name: str, work_pool_name: str | None = None, image: Any = None, build: bool = True, push: bool = True,
    **given: Any,
) -> str:  # fmt: skip
    """Deploy the flow; returns the deployment's id.

    Raises DeploymentError where an image is to be built: give `build=False`, and one that has the code.
    """
    checked(name, given)
    building = image is not None and build
    pushing = image is not None and push and build
    found: str = serving.deploy(
        self, name, work_pool_name=work_pool_name, image=image, build=building, push=pushing, **given
    )
    return found
