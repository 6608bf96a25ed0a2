"""The life of a process that holds a cluster: it says that it is up, or why not, and hears that it is to end.

    driver --stdin--> its end, or SIGTERM, SIGINT: the cluster is ended, then this process
           <--pipe--- {"addresses": [...], "tls": {...}} or {"error": "..."}
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
from typing import TYPE_CHECKING, Any, Protocol

from anabranch.core.errors import AnabranchError

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger("anabranch.clusters")


class Holding(Protocol):
    """What holds one cluster."""

    async def run(self) -> None:
        """Hold it until it is to end; raises AnabranchError where it cannot be held."""
        ...


def hold(options: dict[str, Any], make: Callable[[dict[str, Any]], Holding]) -> None:
    """Hold a cluster until its driver or its user ends it, and end this process."""
    level = logging.INFO if options.get("detached") else logging.WARNING
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(message)s")
    try:
        holder = make(options)
    except AnabranchError as error:
        tell(options["out"], {"error": str(error)})
        sys.exit(1)
    code = 0
    try:
        asyncio.run(holder.run())
    except AnabranchError as error:
        code = 1
        log.error("the cluster has ended: %s", error)
        tell(options["out"], {"error": str(error)})
    except Exception as error:
        code = 1
        log.exception("the cluster has ended")
        tell(options["out"], {"error": f"the cluster cannot be held here: {error}"})
    sys.stdout.flush()
    os._exit(code)  # what still listens keeps nothing waiting


def tell(out: int, words: dict[str, Any]) -> None:
    """Tell the driver, once."""
    with contextlib.suppress(OSError):  # the driver has died, or has been told
        os.write(out, json.dumps(words).encode() + b"\n")
        os.close(out)


def listen_for_the_end(ending: asyncio.Event, *, detached: bool) -> None:
    """Set the event when the driver has gone, or a signal asks for the end.

    Args:
        detached: there is no driver.
    """
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ending.set)
    if not detached:

        def read() -> None:
            if not os.read(0, 4096):
                loop.remove_reader(0)
                ending.set()

        loop.add_reader(0, read)
