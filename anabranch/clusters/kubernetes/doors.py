"""The holder's end of the doors in the scheduler's pod; see `door.py`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from anabranch.clusters.kubernetes.door import HOLDER_DOOR, RETIRE_DOOR

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ANSWER_SECONDS = 10.0
MOVE_SECONDS = 120.0  # for values to be moved


class Doors:
    """Questions to one scheduler; each raises OSError where there is no answer."""

    def __init__(self, address: str) -> None:
        self._address = address

    async def tell(self, status: Mapping[str, Any]) -> dict[str, Any]:
        """Tell programs what there is; returns demands, wishes and workers."""
        return dict(await self._ask(ANSWER_SECONDS, HOLDER_DOOR, status=dict(status)))

    async def retire(self, name: str) -> tuple[str, bool, bool]:
        """Keep new work from a worker.

        Returns:
            What became of its values, whether it still runs an item, and whether it has any to run.
        """
        what, runs, busy = (await self._ask(MOVE_SECONDS, RETIRE_DOOR, names=[name]))[name]
        return str(what), bool(runs), bool(busy)

    async def stay(self, name: str) -> None:
        """Take back that a worker goes: it gets work again."""
        await self._ask(ANSWER_SECONDS, RETIRE_DOOR, names=[name], stay=True)

    async def leave(self, names: Sequence[str]) -> None:
        """Let go of workers; their pods are being deleted."""
        await self._ask(ANSWER_SECONDS, RETIRE_DOOR, names=list(names), leave=True)

    async def _ask(self, seconds: float, door: str, **fields: Any) -> Any:
        from distributed.core import rpc

        try:
            async with asyncio.timeout(seconds), rpc(self._address) as there:  # type: ignore[no-untyped-call]
                return await getattr(there, door)(**fields)
        except OSError:  # a time-out is one
            raise
        except Exception as error:  # the scheduler's own errors come as they are
            raise OSError(f"{type(error).__name__}: {error}") from error
