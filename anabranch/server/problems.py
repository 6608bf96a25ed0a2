"""Errors as answers: problem JSON with a type, which the client makes an error of again."""

from __future__ import annotations

import logging
import traceback
from typing import TYPE_CHECKING, Any

from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from anabranch.core import secrets
from anabranch.core.errors import AccessError, ParametersRefused, RecordsError, RunTakenError, ServiceError
from anabranch.records.service.problems import (
    ACCESS,
    BUSY,
    MISSING,
    PARAMETERS,
    REQUEST,
    ROUTE,
    SERVER,
    SERVICE,
    STORE,
    TAKEN,
)
from anabranch.server.refusals import Busy, Forbidden, NotFound

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from fastapi import FastAPI, Request
    from starlette.responses import Response

_LOG = logging.getLogger(__name__)


def problem(status: int, kind: str, title: str, detail: str, **headers: str) -> JSONResponse:
    """Return an answer that says what went wrong, in one sentence."""
    body = {"type": kind, "title": title, "status": status, "detail": secrets.mask(detail)}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return JSONResponse(body, status, named, media_type="application/problem+json")


# The most special first.
_ANSWERS: list[tuple[type[Exception], int, str, str]] = [
    (Forbidden, 403, ACCESS, "This key may not do that"),
    (AccessError, 401, ACCESS, "A good key is needed"),
    (NotFound, 404, MISSING, "There is no such thing"),
    (Busy, 503, BUSY, "The server has too much to do"),
    (RunTakenError, 409, TAKEN, "Another driver has the run"),
    (ParametersRefused, 400, PARAMETERS, "The parameters do not fit"),
    (ServiceError, 400, SERVICE, "The service cannot do that"),
    (RecordsError, 503, STORE, "The record cannot be used"),
]


def answer(error: Exception) -> Response:
    """Return the answer for an error."""
    for kind, status, name, title in _ANSWERS:
        if isinstance(error, kind):
            headers = {401: {"WWW_Authenticate": "Bearer"}, 503: {"Retry_After": "1"}}.get(status, {})
            return problem(status, name, title, str(error), **headers)
    if isinstance(error, RequestValidationError):
        return problem(400, REQUEST, "The request does not fit", _told(error.errors()))
    if isinstance(error, HTTPException):
        if error.status_code in (404, 405):
            return problem(error.status_code, ROUTE, "There is no such route", error.detail)
        return problem(error.status_code, REQUEST, "The request does not fit", error.detail, **(error.headers or {}))
    _LOG.error("a request failed: %s", secrets.mask("".join(traceback.format_exception(error))))
    return problem(500, SERVER, "An error of the server", f"{type(error).__name__}; its log has the trace")


def _told(errors: Any) -> str:
    """Return in one line what is wrong with a request, by its fields."""
    return "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in errors[:5])


def install(app: FastAPI) -> None:
    """Have an application answer all errors so."""

    async def handle(request: Request, error: Exception) -> Response:
        return answer(error)

    handler: Callable[[Request, Exception], Awaitable[Response]] = handle
    for kind in (*(row[0] for row in _ANSWERS), RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(kind, handler)
