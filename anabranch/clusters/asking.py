"""Words to the holder of a cluster, through its scheduler's door: a client that may connect may scale it."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

from anabranch.core.clusters import STATUS_DOOR
from anabranch.core.errors import RunnerError

if TYPE_CHECKING:
    from collections.abc import Mapping

ANSWER_SECONDS = 30.0


def security_of(tls: Mapping[str, str]) -> Any:
    """Return a `distributed.Security` for both sides, from the paths "ca", "cert" and "key"; None without them."""
    if not tls:
        return None
    from distributed import Security

    pairs = {f"tls_{who}_{what}": tls[what] for who in ("client", "worker", "scheduler") for what in ("cert", "key")}
    return Security(require_encryption=True, tls_ca_file=tls["ca"], **pairs)  # type: ignore[no-untyped-call]


def ask(address: str, tls: Mapping[str, str], say: str, **fields: Any) -> dict[str, Any]:
    """Return the holder's answer; raises RunnerError when there is none, or it refuses."""
    box: list[Any] = []

    def main() -> None:
        try:
            box.append(asyncio.run(asyncio.wait_for(_ask(address, tls, say, fields), ANSWER_SECONDS)))
        except Exception as error:
            box.append(error)

    asking = threading.Thread(target=main, name="anabranch-ask")  # a notebook's thread has a loop already
    asking.start()
    asking.join()
    [found] = box
    if isinstance(found, Exception):
        raise RunnerError(f"the cluster at {address} does not answer: {type(found).__name__}: {found}") from found
    if "error" in found:
        raise RunnerError(str(found["error"]))
    return dict(found)


async def _ask(address: str, tls: Mapping[str, str], say: str, fields: Mapping[str, Any]) -> Any:
    from distributed.core import rpc

    security = security_of(tls)
    options = {"connection_args": security.get_connection_args("client")} if security is not None else {}
    async with rpc(address, **options) as there:  # type: ignore[no-untyped-call]
        return await getattr(there, STATUS_DOOR)(say=say, **fields)
