"""An agent of kind "slurm": the runs of a pool become jobs of real Slurm."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from anabranch.core.orders import Pool
from anabranch.serving.agent import Wanted, agent_of
from tests.faults import hurried
from tests.faults.ordering import SOON, Orders
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.usefixtures("slurm"),
    pytest.mark.timeout(240),
    pytest.mark.sampled(2, "agents whose runs are jobs"),
]


@pytest.fixture
def orders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Orders]:
    hurried.hurry(SOON, monkeypatch.setattr)
    one = Orders(tmp_path, pools=[Pool("cluster", "slurm")], work_pool_name="cluster", job_variables={"walltime": "5m"})
    yield one
    one.close()


def test_runs_of_a_pool_become_jobs_of_slurm(orders: Orders) -> None:
    runs = [orders.order(), orders.order()]
    agent_of(orders.service, orders.settings, Wanted(pool="cluster", once=True)).run()
    for run in runs:
        assert orders.done(run).state_name == "Completed"
        assert orders.found(run).kind == "slurm"
    assert orders.effects().count("effect 0") == 2
    assert orders.service.claims.agents() == []


def test_a_job_that_slurm_loses_is_known_and_its_run_goes_on(orders: Orders) -> None:
    """The driver is killed under its job; the job's end is the evidence."""
    orders.gate.touch()
    run = orders.order()
    loop = agent_of(orders.service, orders.settings, Wanted(pool="cluster"))
    with orders.running(loop):
        orders.at_gate()
        orders.kill_driver(run)
        until(lambda: orders.found(run).recoveries == 1)
        orders.at_gate(2)
        orders.gate.unlink()
        assert orders.done(run).state_name == "Completed"
