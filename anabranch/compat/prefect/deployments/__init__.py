"""Prefect's `prefect.deployments`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from anabranch.compat.prefect.deployments.flow_runs import arun_deployment, run_deployment
from anabranch.compat.prefect.served import deploy
from anabranch.compat.prefect.utilities.asyncutils import either
from anabranch.serving import deployment as ours
from anabranch.serving.deployment import Deployment as RunnerDeployment
from anabranch.serving.serve import serve

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Deployment", "RunnerDeployment", "arun_deployment", "deploy", "run_deployment", "serve"]
_GIVEN = "_block_document_id", "is_schedule_active", "manifest_path", "timestamp", "triggers", "infrastructure"


class Deployment(ours.Deployment):
    """Prefect 2's Deployment; what its methods do is awaited by code that awaits.

    `is_schedule_active=False` pauses the schedules. An `infrastructure` gives its `env` alone: runs start where the
    agents of their pool start them.
    """

    def __init__(self, name: str, **fields: Any) -> None:
        super().__init__(name, **_ours(fields))

    @classmethod
    def read(cls, given: Mapping[str, Any], place: str = "") -> Self:
        return super().read(_ours(dict(given)), place)

    def update(self, ignore_none: bool = False, **fields: Any) -> None:
        super().update(ignore_none, **_ours(fields))


def _ours(fields: dict[str, Any]) -> dict[str, Any]:
    found = {name: value for name, value in fields.items() if name not in _GIVEN}
    env = getattr(fields.get("infrastructure"), "env", None)
    if env:
        found["job_variables"] = {"env": dict(env), **(found.get("job_variables") or found.pop("infra_overrides", {}))}
    if fields.get("is_schedule_active") is False and found.get("schedule") is not None:
        found["schedules"] = [{"schedule": found.pop("schedule"), "active": False}]
    return found


def _awaitable(name: str) -> Any:
    method: Callable[..., Any] = getattr(ours.Deployment, name)
    bound = hasattr(method, "__self__")
    wrapped = either(method.__func__ if bound else method)  # type: ignore[attr-defined]
    return classmethod(wrapped) if bound else wrapped


for _name in ("apply", "build_from_flow", "load", "load_from_yaml", "to_yaml", "upload_to_storage"):
    setattr(Deployment, _name, _awaitable(_name))
