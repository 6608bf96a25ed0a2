"""What the handlers of routes ask, as parameters: the service, the record, the keys, and what the caller may do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Depends, Request

from anabranch.core.access import Access, Keys
from anabranch.core.clock import SYSTEM
from anabranch.core.service import Service

if TYPE_CHECKING:
    from collections.abc import Callable

    from anabranch.core.contracts import Clock
    from anabranch.server.waiting import Waiting


@dataclass(slots=True)
class World:
    """What an application serves.

    Attributes:
        keys: None: none are asked for.
        records: the record's own part, for its routes; None: they are not served.
        waiting: agents that wait for work.
        pool_of: returns the pool of an agent (id) that has asked before.
    """

    service: Service
    keys: Keys | None
    waiting: Waiting
    pool_of: Callable[[str], str]
    records: Any = None
    clock: Clock = SYSTEM


async def _world(request: Request) -> World:
    world: World = request.app.state.world
    return world


async def _service(request: Request) -> Service:
    service: Service = request.app.state.world.service
    return service


async def _access(request: Request) -> Access:
    access: Access = request.state.access
    return access


WorldHere = Annotated[World, Depends(_world)]
ServiceHere = Annotated[Service, Depends(_service)]
AccessHere = Annotated[Access, Depends(_access)]
