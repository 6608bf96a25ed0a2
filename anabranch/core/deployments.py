"""Deployments and their schedules, as the record keeps them.

A deployment says how a flow is run by others than its author: where its code is, with which parameters,
when, and where. All of it is one document (`documents.document`); the parts that the service decides by are columns.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Collision = Literal["enqueue", "cancel_new", "cancel_running"]
Recover = Literal["resume", "restart", "no"]
SERVED = "served"  # the pool of deployments that programs serve with `serve`: each claims its own alone
DEFAULT = "default"  # the pool and the queue of a deployment that names none
AGENT = "anabranch-agent"  # what keeps an agent running, where it is installed


@dataclass(slots=True)
class DeploymentRow:
    """A deployment at its newest revision.

    Attributes:
        flow: the flow's name; `flow` and `name` together are unique.
        revision: one higher with each change of the document.
        content_hash: of the document; the same document makes no new revision.
        idempotency_key: with one, the revision goes up when the key changes, and by nothing else.
        pool: where its runs wait for an agent.
        queue: of the pool.
        labels: an agent must have all of them.
        slots: runs of it that may run at once; None: any number.
        collision: what becomes of a run that is ordered while all slots are taken.
        recover: what becomes of a run when the infrastructure has ended its driver.
        expire_after: seconds after its time for which a run may wait; None: for ever.
        paused: runs are ordered and wait.
        document: all of the above, and the rest.
    """

    id: str
    flow: str
    name: str
    revision: int = 0
    content_hash: str = ""
    idempotency_key: str = ""
    project: str = ""
    pool: str = DEFAULT
    queue: str = DEFAULT
    labels: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    slots: int | None = None
    collision: Collision = "enqueue"
    recover: Recover = "resume"
    expire_after: float | None = None
    paused: bool = False
    document: dict[str, Any] = field(default_factory=dict)
    created: float = 0.0
    updated: float = 0.0

    @property
    def full_name(self) -> str:
        """The name that people type: "flow/deployment"."""
        return f"{self.flow}/{self.name}"


@dataclass(slots=True)
class RevisionRow:
    """A document that a deployment has had."""

    deployment: str
    revision: int
    document: dict[str, Any]
    by: str
    at: float


@dataclass(slots=True)
class ScheduleRow:
    """When runs of a deployment are ordered.

    Attributes:
        slug: unique in its deployment.
        spec: as `scheduling.parse` reads it.
        declared_active: as the deployment's author has it.
        user_active: as a person has set it since; None: not set. It outlives the next deployment.
        cursor: Unix seconds; all ticks up to there are decided.
        next_tick: Unix seconds; None: there is none any more.
        parameters: over those of the deployment.
    """

    id: str
    deployment: str
    slug: str
    spec: dict[str, Any]
    declared_active: bool = True
    user_active: bool | None = None
    cursor: float = 0.0
    next_tick: float | None = None
    parameters: dict[str, Any] = field(default_factory=dict)

    @property
    def active(self) -> bool:
        return self.declared_active if self.user_active is None else self.user_active


@dataclass(slots=True)
class ProjectRow:
    """A name under which deployments stand together."""

    name: str
    description: str = ""
    created: float = 0.0
