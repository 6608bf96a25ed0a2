"""The job of a claim: its name, its command, its variables."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import pytest

from anabranch.agents.job import FOLDERS, VARIABLES, Place, checked, job_of, time_to_begin, variables_of
from anabranch.core.deployments import DeploymentRow
from anabranch.core.errors import DeploymentError
from anabranch.core.ids import Ids
from anabranch.core.launching import Resources
from anabranch.core.orders import Claim, Order

PLACE = Place(Path("/home"), Path("/work"), {"ANABRANCH_HOME": "/home"})
RUN = Ids().new()


def claim(variables: dict[str, Any] | None = None, **given: Any) -> Claim:
    document = {"work_pool": {"job_variables": variables or {}}}
    order = Order(RUN, "d", token=3, job=given.pop("order", {}))
    return Claim(order, DeploymentRow("d", "flow", "d", document=document), "calm-owl", **given)


def test_a_job_drives_the_run_with_the_claims_token() -> None:
    job = job_of(claim(), "process", PLACE)
    assert job.name == f"{RUN}-3"
    assert job.command == (sys.executable, "-P", "-m", "anabranch", "drive", RUN, "--token", "3")
    assert job.folder == Path(f"/home/jobs/{RUN}-3")
    assert FOLDERS.fullmatch(job.folder.name)
    assert job.cwd == Path("/work")
    assert job.environment == {"ANABRANCH_HOME": "/home"}


def test_the_orders_variables_go_over_the_deployments_and_those_over_the_pools() -> None:
    given = claim(
        {"working_dir": "/deployment", "env": {"B": "deployment", "C": 3}},
        template={"working_dir": "/pool", "env": {"A": "pool", "B": "pool"}, "walltime": "2h"},
        order={"env": {"A": "order"}, "command": "conda run -n 'a b' python -m anabranch"},
    )
    job = job_of(given, "process", PLACE)
    assert job.cwd == Path("/deployment")
    assert job.environment == {"ANABRANCH_HOME": "/home", "A": "order", "B": "deployment", "C": "3"}
    assert job.walltime == 7200.0
    assert job.command[:5] == ("conda", "run", "-n", "a b", "python")


def test_a_runs_key_travels_in_the_environment() -> None:
    assert job_of(claim(key="secret"), "process", PLACE).environment["ANABRANCH_API_KEY"] == "secret"


def test_resources_and_options_of_other_kinds() -> None:
    asked = {"nodes": 2, "cpus": 8, "memory": "4GiB", "gpus": 1, "options": "--partition=short"}
    job = job_of(claim(asked), "slurm", PLACE)
    assert (job.resources, job.options) == (Resources(2, 8, 4 * 2**30, 1), ("--partition=short",))
    pod = job_of(claim({"image": "team:1", "options": ["label=a=b"]}), "kubernetes", PLACE)
    assert (pod.command[0], pod.options) == ("python", ("label=a=b", "image=team:1"))


@pytest.mark.parametrize(
    ("kind", "given", "message"),
    [
        ("process", {"working_dirr": "/"}, "a job of kind 'process' has no variable 'working_dirr'; did you mean"),
        ("process", {"image": "x"}, "'process' has no variable 'image'"),
        ("process", {"env": "A=1"}, "job variable 'env': must be names with values, got 'A=1'"),
        ("process", {"working_dir": 3}, "job variable 'working_dir': must be text, got 3"),
        ("slurm", {"nodes": "two"}, "job variable 'nodes': must be a number of 0 or more"),
        ("process", {"start_timeout": -1}, "job variable 'start_timeout': must be 0 or more seconds, got -1"),
        ("slurm", {"walltime": "soon"}, "job variable 'walltime': must be 90"),
    ],
)
def test_a_variable_that_cannot_be_is_refused(kind: str, given: dict[str, Any], message: str) -> None:
    with pytest.raises(DeploymentError, match=message):
        checked(kind, given)


@pytest.mark.parametrize(
    ("kind", "pool", "job", "seconds"),
    [
        ("process", {}, {}, 300.0),
        ("slurm", {}, {}, 900.0),
        ("slurm", {"start_timeout": "2h"}, {}, 7200.0),
        ("process", {"start_timeout": 60}, {"start_timeout": 0}, math.inf),
        ("process", {"start_timeout": -1}, {}, math.inf),  # such a job is not started
    ],
)
def test_the_time_of_a_driver_to_begin(kind: str, pool: dict[str, Any], job: dict[str, Any], seconds: float) -> None:
    assert time_to_begin(claim(template=pool, order=job), kind) == seconds


def test_a_variable_that_is_none_is_the_default() -> None:
    assert checked("process", {"working_dir": None}) == {}
    assert set(VARIABLES) == {"process", "slurm", "pbs", "kubernetes"}
    assert variables_of({"env": None}, {}) == {"env": None}
