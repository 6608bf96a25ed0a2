"""The application: every route of `routes/`, each with a role, behind one doorway."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI

from anabranch.core.clock import SYSTEM
from anabranch.server import guard, problems
from anabranch.server.doorway import Doorway
from anabranch.server.routes import NOUNS
from anabranch.server.waiting import Waiting
from anabranch.server.world import World

if TYPE_CHECKING:
    from starlette.routing import BaseRoute

    from anabranch.core.access import Keys
    from anabranch.core.contracts import Clock
    from anabranch.records.service.direct import DirectService

PREFIX = "/api/v1"


def make_app(
    service: DirectService, *, keys: Keys | None = None, records: Any = None, version: str = "0", base_path: str = "",
    here_only: bool = True, hosts: frozenset[str] = frozenset(), clock: Clock = SYSTEM,
) -> FastAPI:  # fmt: skip
    """Return the application of a server.

    Args:
        service: what its routes ask; in a database, since a server is the one that looks.
        keys: None: no key is ever asked for. With `here_only`, none is before there is one.
        records: for the routes of the record; None: they are not served.
        version: of this anabranch.
        base_path: under which a proxy has put the server, such as "/anabranch".
        here_only: whether requests must name this machine as their host; for a server without keys.
        hosts: further names of it.

    Raises:
        ConfigurationError: a route has no role.
    """
    place = f"{base_path.rstrip('/')}{PREFIX}"
    app = FastAPI(
        title="anabranch", version=version, openapi_url=None, docs_url=None, redoc_url=None,
        redirect_slashes=False, separate_input_output_schemas=False,
    )  # fmt: skip
    app.router.route_class = guard.Guarded
    app.router.routes.extend(_routes(place))
    app.state.world = World(service, keys, Waiting(service.faces), service.pool_of, records, clock)
    app.state.gate = guard.Gate(keys, always=not here_only)
    problems.install(app)
    app.add_middleware(Doorway, version=version, here_only=here_only, hosts=hosts, place=place)
    return app


@cache
def _routes(place: str) -> tuple[BaseRoute, ...]:
    """The routes under a path, made once: they know no application, and their schemas take a fifth of a second."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, separate_input_output_schemas=False)
    app.router.route_class = guard.Guarded
    for routes in (noun.ROUTES for noun in NOUNS):
        for one in routes.declared:
            path = f"{place}{one.path}"
            app.add_api_route(
                path, one.handler, methods=[one.method], operation_id=f"{routes.noun}_{one.handler.__name__}",
                tags=[routes.noun], **one.options,
            )  # fmt: skip
    guard.check(app.routes)
    return tuple(app.routes)
