"""How long an order waits: from `run_deployment` in one program to the first act of the driver that another starts."""

from __future__ import annotations

import functools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.prefect_server import prefect_server
from benchmarks.rows import Bar, Figures, Row
from benchmarks.service import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from anabranch.core.service import Service

FLOW = """
import time
from {package} import flow

@flow
def nothing(told: str):
    with open(told, "a") as file:
        file.write(f"{{time.time()}}\\n")
"""
SERVED = """
if __name__ == "__main__":
    nothing.serve("d")
"""
WAIT = 60.0  # seconds
NAME, SCRIPT = "nothing/d", "script.py"


def ordered(quick: bool) -> Figures:
    from anabranch import serving
    from anabranch.settings import Settings

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / SCRIPT).write_text(FLOW.format(package="anabranch") + SERVED)
        home = Path(folder) / "home"
        environment = {**os.environ, "ANABRANCH_HOME": str(home), "ANABRANCH_LOG_LEVEL": "ERROR"}
        served = subprocess.Popen(
            [sys.executable, SCRIPT], cwd=folder, env=environment, stdout=subprocess.PIPE, text=True
        )
        assert served.stdout is not None
        served.stdout.readline()
        service = serving.opened(Settings(home=home))
        try:
            return _measured(service, Path(folder) / "told", 3 if quick else 20)
        finally:
            service.close()
            served.terminate()
            served.wait(WAIT)


def _measured(service: Service, told: Path, times: int) -> Figures:
    from anabranch.core.orders import OrderState
    from anabranch.serving.deploying import run_deployment

    claims, begins = [], []

    def order() -> None:
        run = run_deployment(NAME, {"told": str(told)}, timeout=0, service=service)
        until(lambda: (found := service.orders.find(run.id)) is not None and found.state is OrderState.DONE)
        found = service.orders.find(run.id)
        assert found is not None
        claims.append(found.claimed - found.created)
        begins.append(found.begun - found.created)

    first_lines = _first_lines(order, told, times)
    return {
        "claim_p50_ms": 1000 * statistics.median(claims),
        "begun_p50_s": statistics.median(begins),
        "begun_most_s": max(begins),
        **first_lines,
    }


def _first_lines(order: Callable[[], object], told: Path, times: int) -> Figures:
    """From the call that orders a run to the first line of its flow, one run after another."""
    waits = []
    for number in range(times):
        called = time.time()
        order()
        until(lambda number=number: told.exists() and len(told.read_text().splitlines()) > number)  # type: ignore[misc]
        waits.append(float(told.read_text().splitlines()[number]) - called)
    return {"line_p50_s": statistics.median(waits), "line_most_s": max(waits)}


def ordered_peer(looks: str, quick: bool) -> Figures:
    """Prefect's server and a process worker that looks for work so often (seconds; "": as it comes)."""
    with prefect_server() as place:
        place.server()
        place.up()
        place.enter()
        place.run("work-pool", "create", "pool", "--type", "process")
        (place.folder / SCRIPT).write_text(FLOW.format(package="prefect"))
        from prefect import flow
        from prefect.deployments import run_deployment

        source = flow.from_source(source=str(place.folder), entrypoint=f"{SCRIPT}:nothing")
        source.deploy("d", work_pool_name="pool", print_next_steps=False, ignore_warnings=True)
        place.worker("pool", **({"PREFECT_WORKER_QUERY_SECONDS": looks} if looks else {}))
        told = place.folder / "told"
        given = {"told": str(told)}
        _first_lines(lambda: run_deployment(NAME, parameters=given, timeout=0), told, 1)  # the worker is up
        told.unlink()
        return _first_lines(lambda: run_deployment(NAME, parameters=given, timeout=0), told, 2 if quick else 10)


AS_IT_COMES = "Prefect 3, process worker as it comes (looks every 10 s)"
ROWS = (
    Row(
        "ordered",
        "a run that is ordered begins in a driver of its own",
        ordered,
        (
            Bar("begun_p50_s", "s", at_most=1.2),
            Bar("begun_most_s", "s", at_most=2.5),
            Bar("claim_p50_ms", "ms", at_most=100.0),
            Bar("line_p50_s", "s from the call to the flow's first line"),
            Bar("line_most_s", "s from the call to the flow's first line"),
        ),
        peer=functools.partial(ordered_peer, "1"),
        peer_name="Prefect 3, process worker that looks each second (PREFECT_WORKER_QUERY_SECONDS=1)",
        others={AS_IT_COMES: functools.partial(ordered_peer, "")},
        apart={"peer": "prefect", AS_IT_COMES: "prefect"},
        most=3,
        seconds=900.0,
        unfair="its agent waits for it, in another process on the same machine; a file is the record",
    ),
)
