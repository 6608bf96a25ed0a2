"""Deployments of flows: in the service under the names that people type, with what they say of themselves."""

from __future__ import annotations

import importlib.util
import sys
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import anabranch
from anabranch import Flow, Secret, flow
from anabranch.compat.prefect import served
from anabranch.core.deployments import ProjectRow
from anabranch.core.errors import DeploymentError, FetchError, ParameterTypeError, ServiceError
from anabranch.core.orders import Pool
from anabranch.deploy import Deployment, apply
from anabranch.documents import yaml_file
from tests.integration.documents.repositories import Repository

if TYPE_CHECKING:
    from anabranch.core.service import Service

CODE = """
from datetime import date
from anabranch import flow

@flow(description="Loads.", version="3", tags=["own"])
def load(day: date, size: int = 1, key=None): ...
"""


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A flow in a file of its own, below the working folder."""
    file = tmp_path / "flows" / "loading.py"
    file.parent.mkdir()
    file.write_text(CODE)
    spec = importlib.util.spec_from_file_location("loading", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "loading", module)
    spec.loader.exec_module(module)
    return module.load


def test_a_flow_says_what_it_is(service: Service, load: Any, tmp_path: Path) -> None:
    id = load.deploy("daily", cron="0 9 * * *", parameters={"size": 2}, tags=["a"], concurrency_limit=3)
    row = service.deployments.find("load/daily")
    assert row is not None
    assert (row.id, row.revision, row.tags, row.slots) == (id, 1, ("a",), 3)
    assert row.document["entrypoint"] == "flows/loading.py:load"
    assert row.document["path"] == str(tmp_path)
    assert (row.document["description"], row.document["version"]) == ("Loads.", "3")
    assert row.document["parameter_schema"]["required"] == ["day"]
    (schedule,) = service.schedules.all("load/daily")
    assert schedule.spec == {"cron": "0 9 * * *"}
    assert schedule.next_tick is not None


def test_from_elsewhere_the_folder_is_that_of_the_file(service: Service, load: Any, tmp_path: Path,
                                                       monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    found = load.to_deployment("d")
    assert (found.entrypoint, found.path) == ("loading.py:load", str(tmp_path / "flows"))


@pytest.mark.parametrize(
    ("given", "specs"),
    [
        ({"interval": 60}, [{"interval": 60}]),
        ({"interval": timedelta(hours=1)}, [{"interval": 3600.0}]),
        ({"cron": ["0 9 * * *", "0 17 * * *"]}, [{"cron": "0 9 * * *"}, {"cron": "0 17 * * *"}]),
        ({"rrule": "FREQ=DAILY"}, [{"rrule": "FREQ=DAILY"}]),
        ({"schedule": {"cron": "@daily", "timezone": "Asia/Tokyo"}}, [{"cron": "@daily", "timezone": "Asia/Tokyo"}]),
        ({"schedules": [{"interval": 5, "slug": "s"}]}, [{"interval": 5, "slug": "s"}]),
        ({"schedules": []}, []),
        ({}, None),
    ],
)  # fmt: skip
def test_schedules_as_people_give_them(load: Any, given: dict[str, Any], specs: Any) -> None:
    assert load.to_deployment("d", **given).schedules == specs


def test_what_is_refused(service: Service, load: Any) -> None:
    refused: list[tuple[Any, type[Exception], str]] = [
        (lambda: load.deploy("d", cron="1 * * * *", interval=3), DeploymentError, "give one of interval, cron"),
        (lambda: load.deploy("d", cron="61 * * * *"), ServiceError, "the minute '61'"),
        (lambda: load.deploy("d", parameters={"sise": 1}), ParameterTypeError, "did you mean 'size'"),
        (lambda: load.deploy("d", parameters={"size": "many"}), ParameterTypeError, "\n  size: "),
        (lambda: load.deploy("d", schedule={"cron": "@daily", "parameters": {"size": "x"}}), ParameterTypeError,
         "a schedule of deployment 'load/d'"),
        (lambda: load.deploy("d", work_pool_name="defualt"), ServiceError, "did you mean 'default'"),
        (lambda: load.deploy("d", prameters={}), DeploymentError, "did you mean 'parameters'"),
        (lambda: load.deploy("d", image="i", build=True), DeploymentError, "builds and pushes no images"),
        (lambda: load.deploy("d", triggers=[1]), DeploymentError, "no automations"),
        (lambda: load.register("no project"), ServiceError, "no project 'no project'"),
        (lambda: apply(Deployment("d", flow_name="f")), DeploymentError, "has no entrypoint"),
        (lambda: Deployment("d", entrypoint="a.py:f").apply(), DeploymentError, "has no flow_name"),
    ]  # fmt: skip
    for do, kind, message in refused:
        with pytest.raises(kind) as error:
            do()
        assert message in str(error.value)
    assert service.deployments.all() == []


def test_a_flow_without_a_file() -> None:
    space: dict[str, Any] = {}
    exec("from anabranch import flow\n@flow\ndef made(): ...\n", space)
    with pytest.raises(DeploymentError, match="defined in no file"):
        space["made"].to_deployment("d")
    made = space["made"].to_deployment("d", entrypoint="file.py:made", path="/srv")
    assert (made.entrypoint, made.path) == ("file.py:made", "/srv")


def test_deployed_again(service: Service, load: Any) -> None:
    """The same document is the same revision; schedules stay unless they are said; a person's pause outlives both."""
    load.deploy("d", schedules=[{"cron": "@daily", "slug": "s"}])
    load.deploy("d", schedules=[{"cron": "@daily", "slug": "s"}])
    assert service.deployments.find("load/d").revision == 1  # type: ignore[union-attr]
    service.schedules.set_active("load/d", "s", False)
    load.deploy("d", tags=["new"])
    (schedule,) = service.schedules.all("load/d")
    assert not schedule.active
    load.deploy("d", schedules=[{"cron": "@hourly", "slug": "s"}])
    (schedule,) = service.schedules.all("load/d")
    assert (schedule.active, schedule.spec) == (False, {"cron": "@hourly"})
    load.deploy("d", schedules=[])
    assert service.schedules.all("load/d") == []


def test_registered_under_a_project(service: Service, load: Any) -> None:
    """Each call is a new revision, unless its key is that of the newest."""
    service.deployments.put_project(ProjectRow("Hello, World!"))

    def revision(**given: Any) -> int:
        load.register("Hello, World!", **given)
        row = service.deployments.find("load/Hello, World!")
        assert row is not None
        return row.revision

    assert [revision(), revision(), revision(idempotency_key="a"), revision(idempotency_key="a")] == [1, 2, 3, 3]
    assert revision(idempotency_key="b", labels=["gpu", "x86"]) == 4
    row = service.deployments.find("load/Hello, World!")
    assert row is not None
    assert (row.project, row.labels) == ("Hello, World!", ("gpu", "x86"))


# -- Prefect 2's methods -------------------------------------------------------------------------


def test_built_written_loaded_applied(service: Service, load: Any, tmp_path: Path) -> None:
    made = Deployment.build_from_flow(
        flow=load, name="d", output=tmp_path / "d.yaml", parameters={"day": date(2024, 1, 2), "key": Secret("KEY")},
        work_queue_name="q", infra_overrides={"env": {"A": "b"}},
    )  # fmt: skip
    assert made == Deployment.load_from_yaml(tmp_path / "d.yaml")
    id = Deployment.load_from_yaml(tmp_path / "d.yaml").apply(work_queue_concurrency=2)
    row = service.deployments.find(id)
    assert row is not None
    assert row.document["parameters"] == {"day": "2024-01-02", "key": {"$secret": "KEY"}}
    assert [(queue.name, queue.slots) for queue in service.pools.queues("default") if queue.name == "q"] == [("q", 2)]


def test_what_others_have_set_stays(service: Service, load: Any) -> None:
    Deployment.build_from_flow(load, "d", tags=["a"], description="mine", apply=True)
    again = Deployment.build_from_flow(load, "d", description="new")
    assert (again.tags, again.description) == (["a"], "new")
    fresh = Deployment.build_from_flow(load, "d", load_existing=False)
    assert fresh.tags == ["own"]
    empty = Deployment("d", flow_name="load")
    assert empty.load()
    assert (empty.entrypoint, empty.tags) == ("flows/loading.py:load", ["a"])
    assert not Deployment("none", flow_name="load").load()


def test_updated(load: Any) -> None:
    made = load.to_deployment("d", tags=["a"])
    made.update(tags=["b"], schedule={"cron": "@daily"}, slots=2)
    assert (made.tags, made.schedules, made.concurrency_limit) == (["b"], [{"cron": "@daily"}], 2)
    made.update(ignore_none=True, tags=None, version="9")
    assert (made.tags, made.version) == (["b"], "9")
    with pytest.raises(DeploymentError, match="did you mean 'tags'"):
        made.update(tag=["c"])


def test_one_of_several_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "prefect.yaml").write_text(
        "deployments:\n" + "".join(f"- {{name: {name}, flow_name: f, entrypoint: 'x.py:f'}}\n" for name in "ab")
    )
    assert Deployment.load_from_yaml(tmp_path / "prefect.yaml", "b").name == "b"
    with pytest.raises(DeploymentError, match="has the deployments a, b: give the name"):
        Deployment.load_from_yaml(tmp_path / "prefect.yaml")
    with pytest.raises(DeploymentError, match="has the deployments a, b"):
        Deployment.load_from_yaml(tmp_path / "prefect.yaml", "c")


def test_code_is_sent_to_storage(service: Service, load: Any, tmp_path: Path) -> None:
    (tmp_path / ".prefectignore").write_text("# not these\n*.log\ndata/\n")
    for name in ("a.log", "data/big", "flows/__pycache__/x.pyc", "kept"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text("")
    made = Deployment.build_from_flow(load, "d", storage=f"file://{tmp_path}-sent")
    sent = Path(f"{tmp_path}-sent")
    found = sorted(path.relative_to(sent).as_posix() for path in sent.rglob("*") if path.is_file())
    assert [name for name in found if not name.startswith("home/")] == [".prefectignore", "flows/loading.py", "kept"]
    assert (made.path, made.entrypoint) == (None, "flows/loading.py:load")


def test_public_names() -> None:
    assert anabranch.run_deployment.__name__ == "run_deployment"
    assert anabranch.deploy.Deployment is anabranch.deployments.Deployment is Deployment  # type: ignore[attr-defined]
    assert isinstance(flow(lambda: None).to_deployment, object)


def test_pools_are_named(service: Service, load: Any) -> None:
    service.pools.put(Pool("gpus", "kubernetes"))
    load.deploy("d", work_pool_name="gpus", job_variables={"memory": "4G"}, image="registry/flows:1")
    row = service.deployments.find("load/d")
    assert row is not None
    assert (row.pool, row.document["storage"]) == ("gpus", {"image": "registry/flows:1"})
    assert row.document["work_pool"]["job_variables"] == {"image": "registry/flows:1", "memory": "4G"}
    assert yaml_file.written(Deployment.of_row(row))


# -- code that is elsewhere ----------------------------------------------------------------------


def test_a_flow_from_a_repository(service: Service, tmp_path: Path) -> None:
    repository = Repository(tmp_path / "repository")
    repository.commit(**{"part__loading.py": CODE})
    found = Flow.from_source(repository.reference(), "part/loading.py:load")
    assert (found.name, found.options.version) == ("load", "3")
    found.deploy("d")
    row = service.deployments.find("load/d")
    assert row is not None
    assert row.document["storage"] == repository.reference()
    assert row.document["entrypoint"] == "part/loading.py:load"
    assert "path" not in row.document
    assert row.document["parameter_schema"]["required"] == ["day"]


def test_a_source_that_is_none() -> None:
    for source, message in [({"gti": "x"}, "did you mean 'git'"), (None, "takes a source")]:
        with pytest.raises(DeploymentError, match=message):
            Flow.from_source(source, "a.py:f")
    with pytest.raises(FetchError, match="helper program"):
        Flow.from_source({"git": "ext::sh"}, "a.py:f")
    with pytest.raises(FetchError, match="no folder"):
        Flow.from_source("/nowhere/at/all", "a.py:f")


def test_prefects_deploy_of_several(service: Service, load: Any) -> None:
    several = [load.to_deployment(name, job_variables={"memory": "1G"}) for name in ("a", "b")]
    ids = served.deploy(*several, work_pool_name="default", image="registry/flows:1", build=False)
    rows = [service.deployments.find(id) for id in ids]
    assert [row.full_name for row in rows if row] == ["load/a", "load/b"]
    assert all(row and row.document["storage"] == {"image": "registry/flows:1"} for row in rows)
    assert all(row and row.document["work_pool"]["job_variables"]["memory"] == "1G" for row in rows)
    with pytest.raises(DeploymentError, match="builds no images"):
        served.deploy(*several, work_pool_name="default", image="registry/flows:1")
