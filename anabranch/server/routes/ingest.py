"""`ingest`: rows of drivers elsewhere, in frames (`records/frames.py`)."""

from __future__ import annotations

import contextlib

from fastapi import Request, Response
from fastapi.concurrency import run_in_threadpool

from anabranch.core.access import ENDED, OPERATOR, RUN
from anabranch.records.http import MSGPACK
from anabranch.records.sending import SENT
from anabranch.server.declared import Routes
from anabranch.server.routes.records import served

ROUTES = Routes("ingest")


@ROUTES.add("POST", "", OPERATOR, RUN, ENDED, audited=False, response_class=Response)
async def frame(request: Request) -> Response:
    """Write a frame of rows into the record, once: one that comes again is answered and not written again."""
    record, body, access = served(request), await request.body(), request.state.access
    sent = None
    with contextlib.suppress(ValueError):
        sent = float(request.headers.get(SENT, ""))
    status, found = await run_in_threadpool(record.frame, body, sent, access.run, access.token)
    return Response(found, status, media_type=MSGPACK)
