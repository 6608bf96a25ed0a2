"""The kinds of agents: the launcher of each, loaded when an agent of its kind starts."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, NamedTuple

from anabranch.agents.job import VARIABLES, checked, document_variables
from anabranch.agents.state import LOOK
from anabranch.core.errors import DeploymentError, ServiceError
from anabranch.core.nearest import hint, nearest
from anabranch.launch.process import here

if TYPE_CHECKING:
    from collections.abc import Callable

    from anabranch.core.deployments import DeploymentRow
    from anabranch.core.launching import Launcher, Reference
    from anabranch.core.service import Service

DEFAULT_KIND = "process"


def _anywhere(_: Reference) -> bool:
    return True


class Kind(NamedTuple):
    """One kind.

    Attributes:
        module: of its launcher, below `launch/`.
        look: seconds between two looks at jobs.
        reaches: whether an agent can look at a job that another one started.
        logs: whether what jobs write lies in their folders as it is written.
        waits_count: whether a job that waits for its infrastructure uses up the time that its driver has to begin; in a
            batch system's queue it does not.
    """

    module: str
    launcher: str
    look: float
    reaches: Callable[[Reference], bool] = _anywhere
    logs: bool = False
    waits_count: bool = False


KINDS = {
    "process": Kind("process", "ProcessLauncher", LOOK, here, logs=True, waits_count=True),
    "slurm": Kind("slurm", "SlurmLauncher", 10.0),
    "pbs": Kind("pbs", "PbsLauncher", 10.0),
    "kubernetes": Kind("kubernetes", "KubernetesLauncher", 5.0, waits_count=True),
}


def kind_of(name: str) -> Kind:
    """Return a kind. Raises ServiceError for one that there is not; names the nearest."""
    if name not in KINDS:
        raise ServiceError(f"there are no agents of kind {name!r}; {hint(name, KINDS)}")
    return KINDS[name]


def launcher_of(name: str) -> Launcher:
    """Return the launcher of a kind."""
    kind = kind_of(name)
    launcher: Launcher = getattr(importlib.import_module(f"anabranch.launch.{kind.module}"), kind.launcher)()
    return launcher


def check_variables(service: Service, deployment: DeploymentRow) -> None:
    """See whether the jobs of a deployment can have its variables, as the kind of its pool has them.

    One that is like none of this kind is let pass: it is another kind's, and refused by the agent that takes a run.

    Raises:
        DeploymentError: one is misspelt, the nearest is named; or its value is refused.
    """
    kind = next((pool.kind for pool in service.pools.all() if pool.name == deployment.pool), "")
    known = VARIABLES.get(kind, {})
    given = document_variables(deployment.document)
    judged = {name: value for name, value in given.items() if nearest(name, known)}
    try:
        checked(kind, judged)
    except DeploymentError as error:
        raise DeploymentError(f"deployment {deployment.full_name!r}: {error}") from None
