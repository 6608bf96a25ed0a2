"""What a job of an elastic cluster executes: it finds the scheduler, and becomes its workers.

    python -P -m anabranch.clusters.join tls://10.0.0.5:4711,tls://192.168.1.5:4711 [options of `dask worker`]

The first address that answers is taken, and the workers listen on this machine's address on the way to it. Without one
the job ends with a sentence. Values are spilled to a folder in the node's temporary one, which goes with the job.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import tempfile

from anabranch.clusters.addresses import first_reached

REACH_SECONDS = 60.0

# Of the workers; variables reach them through their nannies, whatever way these start them.
CONFIG = {
    "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False",
    "DASK_DISTRIBUTED__WORKER__DAEMON": "False",  # tasks may have child processes: pools, data loaders
    "DASK_DISTRIBUTED__ADMIN__LOW_LEVEL_LOG_LENGTH": "100",
}


def main(arguments: list[str]) -> None:
    """Connect, and run workers until their scheduler or their job ends."""
    addresses = arguments[0].split(",")
    address, ours = first_reached(addresses, REACH_SECONDS)
    if not address:
        sys.exit(
            f"no worker here: {socket.gethostname()} reaches none of the scheduler's addresses {', '.join(addresses)}; "
            f"it has ended, or a firewall is between them"
        )
    for name, value in CONFIG.items():
        os.environ.setdefault(name, value)
    # The end of a job is this signal; a program that is still importing would die of it without a word.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    options = arguments[1:]
    if "--interface" not in options:
        options += ["--host", ours, "--protocol", address.partition("://")[0]]
    with tempfile.TemporaryDirectory(prefix="ab-", ignore_cleanup_errors=True) as scratch:
        if "--local-directory" not in options:
            options += ["--local-directory", scratch]
        from distributed.cli.dask_worker import main as dask_worker

        dask_worker([address, *options], standalone_mode=False)


if __name__ == "__main__":
    main(sys.argv[1:])
