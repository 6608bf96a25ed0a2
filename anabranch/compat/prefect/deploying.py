"""`Flow.deploy`, `to_deployment`, `serve` and `from_source` with the arguments, checks and messages of Prefect 3."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from anabranch import flows as ours
from anabranch import serving
from anabranch.compat.prefect.flow_arguments import check_name

_SCHEDULES = ("interval", "cron", "rrule", "schedule", "schedules")


def checked(name: Any, given: dict[str, Any]) -> Any:
    """Return a deployment's name: of a file, as `__file__`, its stem.

    Raises as Prefect does for a name with a letter that is banned, and for more than one schedule.
    """
    if isinstance(name, str):
        name = Path(name).stem if Path(name).is_file() else name
        check_name(name)
    if sum(given.get(word) is not None for word in _SCHEDULES) > 1:
        raise ValueError("Only one of interval, cron, rrule, schedule, or schedules can be provided.")
    return name


def to_deployment(self: Any, name: str, **given: Any) -> Any:
    """Return a deployment of the flow: its arguments are those of Prefect's `Flow.to_deployment`."""
    name = checked(name, given)
    return ours.Flow.to_deployment(self, name, **given)


def serve(self: Any, name: str | None = None, **given: Any) -> None:
    """Serve a deployment of the flow until Ctrl-C."""
    name = checked(name, given)
    ours.Flow.serve(self, name, **given)


def deploy(
    self: Any, name: str, work_pool_name: str | None = None, image: Any = None, build: bool = True, push: bool = True,
    **given: Any,
) -> str:  # fmt: skip
    """Deploy the flow; returns the deployment's id.

    Raises DeploymentError where an image is to be built: give `build=False`, and one that has the code.
    """
    name = checked(name, given)
    building = image is not None and build
    pushing = image is not None and push and build
    found: str = serving.deploy(
        self, name, work_pool_name=work_pool_name, image=image, build=building, push=pushing, **given
    )
    return found


def from_source(source: Any, entrypoint: str) -> Any:
    """Return a flow from elsewhere: of an address, of Prefect's storage, or of an object that pulls the code itself.

    Raises TypeError for any other source.
    """
    if isinstance(source, (str, Path, dict)) or hasattr(source, "reference"):
        return ours.Flow.from_source(source, entrypoint)
    if not (hasattr(source, "set_base_path") and hasattr(source, "pull_code")):
        raise TypeError(
            f"Unsupported source type {type(source).__name__!r}. Please provide a URL to remote storage or a storage"
            " object."
        )
    return importlib.import_module("anabranch.compat.prefect.pulled_code").flow_of(source, entrypoint)
