"""`deployments`: apply, list, pause, delete, with their revisions and projects."""

from __future__ import annotations

from anabranch.core.access import AGENT, EDITOR, OPERATOR, RUN, VIEWER
from anabranch.core.deployments import DeploymentRow, ProjectRow, RevisionRow
from anabranch.core.errors import ServiceError
from anabranch.records.service.requests import Apply, Pause
from anabranch.server.declared import Routes
from anabranch.server.pages import Limit
from anabranch.server.refusals import NotFound
from anabranch.server.world import AccessHere, ServiceHere

ROUTES = Routes("deployments")


@ROUTES.add("POST", "", EDITOR, wakes=True)
def apply(body: Apply, service: ServiceHere, access: AccessHere) -> DeploymentRow:
    """Make a deployment, or change the one of this flow and name."""
    by = access.name or body.by
    return service.deployments.apply(body.deployment, body.schedules, by=by, always=body.always, after=body.after)


@ROUTES.add("GET", "", VIEWER, AGENT)
def every(
    service: ServiceHere, flow: str = "", project: str = "", after: str = "", limit: Limit = 200
) -> list[DeploymentRow]:
    """List deployments by flow and name, from the one behind `after` ("flow/name") on."""
    return service.deployments.all(flow=flow, project=project, after=after, limit=limit)


@ROUTES.add("GET", "/one", VIEWER, AGENT, RUN)
def one(name: str, service: ServiceHere) -> DeploymentRow:
    """Return a deployment by id or "flow/name"."""
    try:
        return service.deployments.known(name)
    except ServiceError as error:  # it names the nearest
        raise NotFound(str(error)) from None


@ROUTES.add("DELETE", "/one", EDITOR)
def delete(name: str, service: ServiceHere) -> bool:
    """Delete a deployment and its schedules, and cancel its waiting orders."""
    return service.deployments.delete(name)


@ROUTES.add("PUT", "/one/paused", OPERATOR, wakes=True)
def pause(name: str, body: Pause, service: ServiceHere) -> bool:
    """Pause or resume a deployment."""
    return service.deployments.pause(name, body.paused)


@ROUTES.add("GET", "/one/revisions", VIEWER)
def revisions(name: str, service: ServiceHere) -> list[RevisionRow]:
    """List the documents that a deployment has had, newest first."""
    return service.deployments.revisions(name)


@ROUTES.add("PUT", "/projects", EDITOR)
def put_project(body: ProjectRow, service: ServiceHere) -> None:
    """Make or change a project."""
    service.deployments.put_project(body)


@ROUTES.add("GET", "/projects", VIEWER)
def projects(service: ServiceHere) -> list[ProjectRow]:
    """List projects."""
    return service.deployments.projects()


@ROUTES.add("DELETE", "/projects/one", EDITOR)
def delete_project(name: str, service: ServiceHere) -> bool:
    """Delete a project."""
    return service.deployments.delete_project(name)
