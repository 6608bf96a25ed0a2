"""How long an order waits: from `run_deployment` in one program to the first act of the driver that another starts."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.rows import Bar, Figures, Row

if TYPE_CHECKING:
    from anabranch.core.service import Service

SCRIPT = """
from anabranch import flow

@flow
def nothing():
    pass

if __name__ == "__main__":
    nothing.serve("d")
"""
WAIT = 60.0  # seconds


def ordered(quick: bool) -> Figures:
    from anabranch import serving
    from anabranch.settings import Settings

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "script.py").write_text(SCRIPT)
        home = Path(folder) / "home"
        environment = {**os.environ, "ANABRANCH_HOME": str(home), "ANABRANCH_LOG_LEVEL": "ERROR"}
        served = subprocess.Popen(
            [sys.executable, "script.py"], cwd=folder, env=environment, stdout=subprocess.PIPE, text=True
        )
        assert served.stdout is not None
        served.stdout.readline()
        service = serving.opened(Settings(home=home))
        try:
            return _measured(service, 3 if quick else 20)
        finally:
            service.close()
            served.terminate()
            served.wait(WAIT)


def _measured(service: Service, times: int) -> Figures:
    from anabranch.core.orders import NewOrder, OrderState

    claims, begins = [], []
    for _ in range(times):
        run = service.orders.add([NewOrder("nothing/d")])[0].run
        until = time.monotonic() + WAIT
        while (order := service.orders.find(run)) is None or order.state is not OrderState.DONE:
            if time.monotonic() > until:
                raise AssertionError(f"it does not end: {order}")
            time.sleep(0.05)
        claims.append(order.claimed - order.created)
        begins.append(order.begun - order.created)
    return {
        "claim_p50_ms": 1000 * statistics.median(claims),
        "begun_p50_s": statistics.median(begins),
        "begun_most_s": max(begins),
    }


ROWS = (
    Row(
        "ordered",
        "a run that is ordered begins in a driver of its own",
        ordered,
        (
            Bar("begun_p50_s", "s", at_most=1.2),
            Bar("begun_most_s", "s", at_most=2.5),
            Bar("claim_p50_ms", "ms", at_most=100.0),
        ),
        most=3,
        unfair="its agent waits for it, in another process on the same machine; a file is the record",
    ),
)
