"""`records`: the record for programs elsewhere, a route a call, with msgpack as of `records/calls.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import Request, Response
from fastapi.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from anabranch.core.access import AGENT, ENDED, OPERATOR, RUN, VIEWER
from anabranch.core.errors import AccessError
from anabranch.records.calls import METHODS
from anabranch.records.http import MSGPACK
from anabranch.server.declared import Routes
from anabranch.server.refusals import Forbidden, NotFound

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from anabranch.records.served import ServedRecord

ROUTES = Routes("records")


def served(request: Request) -> ServedRecord:
    """Return the record that the application serves, to a program that sends msgpack, as no page of a browser can."""
    if request.headers.get("content-type", "") != MSGPACK:
        raise HTTPException(415, f"the body must be of Content-Type {MSGPACK}")
    found: ServedRecord | None = request.app.state.world.records
    if found is None:
        raise NotFound("this server serves no record")
    return found


def _route(name: str) -> Callable[[Request], Coroutine[Any, Any, Response]]:
    async def call(request: Request) -> Response:
        record, body = served(request), await request.body()
        try:
            found = await run_in_threadpool(record.call, name, body, request.state.access.run)
        except AccessError as error:  # a good key that is not for this
            raise Forbidden(str(error)) from None
        return Response(found, media_type=MSGPACK)

    call.__name__ = name.replace(".", "_")
    call.__doc__ = f"Call `{name}` of the record."
    return call


for _name, _method in METHODS.items():
    _people = (OPERATOR,) if _method.writes else (VIEWER, AGENT)
    _roles = (*_people, *((RUN,) if _method.driver else ()), *((ENDED,) if _method.after else ()))
    ROUTES.add("POST", f"/{_name}", *_roles, audited=False, response_class=Response)(_route(_name))
