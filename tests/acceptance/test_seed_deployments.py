"""The snippets on deployments of seeds 001, 002 and 004, with only their import line changed.

As they are written they are in `prefect_programs/seed_004_deployment.py` and `prefect_programs/prefect1_register.py`.
"""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from anabranch import flow, serving
from anabranch import session as sessions
from anabranch.core.deployments import ProjectRow
from anabranch.core.errors import ServiceError
from anabranch.core.orders import Pool
from anabranch.deployments import Deployment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anabranch.core.service import Service


@pytest.fixture(autouse=True)
def service(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Service]:
    """A service of its own, and a working folder that is empty."""
    monkeypatch.setenv("ANABRANCH_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("ANABRANCH_RECORDS", raising=False)
    monkeypatch.chdir(tmp_path)
    outer, session_before = serving.use(None), sessions.use(None)
    yield serving.current()
    made = serving.use(outer)
    if made is not None:
        made.close()
    session = sessions.use(session_before)
    if session is not None:
        session.close()


# -- seed 004: exporting a deployment configuration ----------------------------------------------


@flow
def my_workflow(param1: str, param2: int = 10):
    # Your workflow code
    pass


def exported() -> None:
    # Create a deployment
    deployment = Deployment.build_from_flow(
        flow=my_workflow,
        name="my-deployment",
        description="A sample deployment for data processing workflow",
        tags=["production", "data-pipeline"],
        parameters={"param1": "value1", "param2": 20},
        work_pool_name="my-work-pool",
    )

    # Export to YAML
    deployment.to_yaml("deployment.yaml")


THE_SEEDS_FILE = """
name: my-deployment
description: A sample deployment for data processing workflow
version: null
tags:
  - production
  - data-pipeline
parameters:
  param1: value1
  param2: 20
work_pool:
  name: my-work-pool
  job_variables: {}
flow_name: my_workflow
"""


def test_the_exported_file_contains_what_the_seed_shows() -> None:
    """The flow's name is that of Prefect, with dashes or without: here with underscores, as the function's."""
    exported()
    found = yaml.safe_load(Path("deployment.yaml").read_text())
    shown = yaml.safe_load(THE_SEEDS_FILE)
    assert {name: found[name] for name in shown} == {**shown, "flow_name": my_workflow.name}
    assert list(found)[: len(shown)] == list(shown)  # in the seed's order, in front


def test_rebuilding_from_exported_configuration(service: Service) -> None:
    exported()
    # Load deployment from YAML
    deployment = Deployment.load_from_yaml("deployment.yaml")
    with pytest.raises(ServiceError, match="no pool 'my-work-pool'"):
        deployment.apply()

    service.pools.put(Pool("my-work-pool"))
    # Apply the deployment
    deployment.apply()

    row = service.deployments.find(f"{my_workflow.name}/my-deployment")
    assert row is not None
    assert (row.revision, row.pool, row.tags) == (1, "my-work-pool", ("production", "data-pipeline"))
    deployment.apply()
    assert service.deployments.find(row.id) == row


def test_the_seeds_own_file_loads() -> None:
    """It says no entrypoint: it can be read, and applied once it says where the flow is."""
    Path("deployment.yaml").write_text(THE_SEEDS_FILE)
    deployment = Deployment.load_from_yaml("deployment.yaml")
    assert (deployment.flow_name, deployment.work_pool_name) == ("my_workflow", "my-work-pool")
    assert (deployment.parameters, deployment.version) == ({"param1": "value1", "param2": 20}, None)


def test_exporting_flow_definitions() -> None:
    # Get flow definition as dictionary
    flow_spec = my_workflow.model_dump()

    # Export to JSON for human-readable format
    with open("flow_definition.json", "w") as f:
        json.dump(flow_spec, f, indent=2)

    found = json.loads(Path("flow_definition.json").read_text())
    assert found["name"] == my_workflow.name
    assert found["parameters"]["properties"]["param2"] == {"default": 10, "type": "integer"}
    assert found["entrypoint"].endswith("test_seed_deployments:my_workflow")


# -- seed 002: flow versions and projects --------------------------------------------------------


def test_each_call_of_register_bumps_the_version(service: Service) -> None:
    service.deployments.put_project(ProjectRow("Hello, World!"))

    def version(**given: Any) -> int:
        row = service.deployments.find(my_workflow.register("Hello, World!", **given))
        assert row is not None
        return row.revision

    assert [version(), version()] == [1, 2]
    assert [version(idempotency_key="abc"), version(idempotency_key="abc"), version(idempotency_key="def")] == [3, 3, 4]


# -- seed 001: attributes of a deployment --------------------------------------------------------


def test_a_deployment_says_where_how_and_when(service: Service) -> None:
    """Flow entrypoint, work pool, schedule, tags: the four that the seed names."""
    service.pools.put(Pool("process-pool"))
    id = my_workflow.deploy(
        "nightly", work_pool_name="process-pool", cron="0 2 * * *", tags=["prod"], parameters={"param1": "x"}
    )
    row = service.deployments.find(id)
    assert row is not None
    assert row.document["entrypoint"].endswith("test_seed_deployments:my_workflow")
    assert (row.pool, row.tags) == ("process-pool", ("prod",))
    (schedule,) = service.schedules.all(id)
    assert schedule.next_tick is not None
    assert 0 < schedule.next_tick - service.upkeep.now() <= timedelta(days=1).total_seconds()
