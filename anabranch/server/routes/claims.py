"""`claims`: an agent takes orders, and waits for them without a thread or a connection to the database."""

from __future__ import annotations

from fastapi import Request
from fastapi.concurrency import run_in_threadpool

from anabranch.core.access import AGENT, OPERATOR, Access
from anabranch.core.orders import Claim
from anabranch.records.service.requests import AskClaims
from anabranch.server import own_pool
from anabranch.server.declared import Routes
from anabranch.server.run_keys import with_keys
from anabranch.server.world import AccessHere, World, WorldHere

ROUTES = Routes("claims")
LONGEST = 30.0  # seconds that one request waits


@ROUTES.add("POST", "", OPERATOR, AGENT, audited=False)
async def claim(body: AskClaims, request: Request, world: WorldHere, access: AccessHere) -> list[Claim]:
    """Claim up to `places` orders for an agent; waits up to `wait` seconds, 30 at most, for one."""
    clock = world.clock
    until = clock.monotonic() + min(body.wait, LONGEST)
    while True:
        faces = world.waiting.faces
        found = await run_in_threadpool(_claimed, body, world, access)
        left = until - clock.monotonic()
        if found or left <= 0 or world.waiting.closed:
            return found
        await world.waiting.for_news(world.pool_of(body.agent), faces, left)
        if await request.is_disconnected():
            return []


def _claimed(body: AskClaims, world: World, access: Access) -> list[Claim]:
    own_pool.speaks(body.agent, access, world.service)
    return with_keys(world.service.claims.claim(body.agent, body.places), world.keys, access)
