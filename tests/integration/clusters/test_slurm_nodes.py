"""A SlurmCluster whose jobs lie on several nodes of a real Slurm, of which one fails."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import DaskRunner, SlurmCluster
from tests.integration.clusters.conftest import in_queue, until
from tests.integration.clusters.test_slurm_cluster import all_gated

if TYPE_CHECKING:
    from tests.slurm_nodes import SlurmNodes

pytestmark = [pytest.mark.dask, pytest.mark.slurm, pytest.mark.timeout(600)]


def node_of(job: str) -> str:
    done = subprocess.run(["squeue", "-h", "-j", job, "-o", "%N"], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.nightly("Slurm takes its time to miss a node")
def test_a_node_that_fails_takes_its_job_along_and_another_comes(
    slurm_nodes: SlurmNodes, size: dict[str, Any], tmp_path: Path
) -> None:
    """Slurm may queue the lost job again, on a node that is left; else the cluster asks for another."""
    gate = str(tmp_path / "gate")
    with SlurmCluster(minimum=2, maximum=2, **size, directives=["--exclusive"]) as cluster:
        cluster.start()
        until(lambda: cluster.status()["workers"] == 2, "two workers")
        nodes = {node_of(job) for job in in_queue(size["name"])}
        assert len(nodes) == 2
        done = all_gated.with_options(runner=DaskRunner(cluster)).submit(200, gate)
        until(lambda: os.path.exists(f"{gate}0") and os.path.exists(f"{gate}1"), "items run")
        lost = sorted(nodes)[0]
        slurm_nodes.kill_node(lost)
        try:
            until(lambda: cluster.status()["workers"] == 1, "a worker is missed")
            until(lambda: cluster.status()["workers"] == 2, "another worker")
            assert lost not in {node_of(job) for job in in_queue(size["name"])}
            Path(gate).touch()
            assert done.result() == list(range(200))
        finally:
            slurm_nodes.start_node(lost)
            slurm_nodes.wait_for(lost, "idle")
