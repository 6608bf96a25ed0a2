"""However many clusters and commands of a user wait on one host, Slurm is asked twice a minute for all of them.

Each call of `squeue` leaves the time at which it was decided, which all programs share in one file: a busy machine may
start two programs closer to each other than that, but nobody decides to ask before half a minute is over.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from anabranch import SlurmCluster
from tests.integration.clusters.conftest import in_queue, until

pytestmark = [pytest.mark.dask, pytest.mark.slurm, pytest.mark.timeout(400)]
ROOT = Path(__file__).resolve().parents[3]
FLOWS = "from anabranch import flow\n\n@flow(runner='thread')\ndef nothing():\n    pass\n"
EVERY = 30.0  # seconds
LOOKS = 4
PATIENCE = 300.0


@pytest.mark.nightly("it waits for four looks, two minutes; by day on a virtual clock")
def test_two_clusters_and_two_commands_that_wait_ask_twice_a_minute(
    slurm: str, size: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = shims(tmp_path, monkeypatch)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.chdir(tmp_path)
    Path("flows.py").write_text(FLOWS)
    name = size.pop("name")
    with ExitStack() as stack:
        clusters = [
            stack.enter_context(
                SlurmCluster(minimum=1, maximum=1, directives=["--hold"], name=f"{name}{n}", patience=None, **size)
            )
            for n in range(2)
        ]
        for n in range(2):
            words = ["submit", "slurm", "flows.py", "--option=--hold", "--name", f"waits-{n}", "--wait"]
            command = [sys.executable, "-P", "-m", "anabranch", *words]
            waiting = stack.enter_context(subprocess.Popen(command, stdout=subprocess.DEVNULL))
            stack.callback(waiting.kill)
        until(lambda: all(in_queue(f"{name}{n}") for n in range(2)), "each cluster has a job")
        until(lambda: all(any((tmp_path / "home" / "jobs").glob(f"waits-{n}-*/reference")) for n in range(2)), "jobs")
        until(lambda: all("held" in cluster.why() for cluster in clusters), "the queue's reason", 70.0)
        before = len(asked())
        until(lambda: len(asked()) >= before + LOOKS, "looks, while nobody does anything but wait", PATIENCE)
        requests = asked()[before:]
    assert {name for name, _ in requests} == {"squeue"}
    times = [float(decided) for _, decided in requests]
    assert [later - earlier for earlier, later in pairwise(times) if later - earlier < EVERY] == []


def shims(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Put programs before Slurm's that write down each call, and when it was decided; returns what reads that."""
    place, log = folder / "shims", folder / "asked"
    place.mkdir()
    log.touch()
    for name in ("sbatch", "squeue", "scontrol", "scancel", "sinfo"):
        (place / name).write_text(
            f"#!/bin/sh\ndecided=$(cd {folder}/home/jobs 2>/dev/null && "
            "sed -E 's/.*\"asked\": ([0-9.]+).*/\\1/' .queue-slurm-* 2>/dev/null)\n"
            f'echo {name} "${{decided:-0}}" >>{log}\nexec {shutil.which(name)} "$@"\n'
        )
        (place / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{place}{os.pathsep}{os.environ['PATH']}")
    return lambda: [line.split() for line in log.read_text().splitlines()]
