"""What the launcher asks of a cluster for a large parcel, and for a job once more: its order, and what may fail."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from anabranch.core import pod_job
from anabranch.core.errors import KubernetesError, LaunchError
from anabranch.core.launching import Job
from anabranch.launch import kubernetes, script
from anabranch.launch.kubernetes import KubernetesLauncher

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anabranch.core.launching import Reference

    Object = dict[str, Any]

LARGE = "p" * 250_000


class Cluster:
    """Has objects by kind and name; what is asked of it, in order; and refusals by verb and kind."""

    context, server, namespace, version = "east", "https://east", "lab", (1, 30)

    def __init__(self) -> None:
        self.there: dict[tuple[str, str], Object] = {}
        self.asked: list[str] = []
        self.refused: dict[str, KubernetesError] = {}

    def _asks(self, verb: str, resource: Any, name: str) -> None:
        self.asked.append(f"{verb} {resource.plural} {name}")
        if (error := self.refused.get(f"{verb} {resource.plural}")) is not None:
            raise error

    def create(self, resource: Any, body: Object, namespace: str) -> Object:
        name = body["metadata"]["name"]
        self._asks("create", resource, name)
        uid = f"uid-{len(self.asked)}"
        made = {**body, "metadata": {**body["metadata"], "uid": uid}}
        return self.there.setdefault((resource.plural, name), made)

    def get(self, resource: Any, name: str, namespace: str) -> Object:
        self._asks("get", resource, name)
        if (resource.plural, name) not in self.there:
            raise KubernetesError("there is none", code=404)
        return self.there[resource.plural, name]

    def delete(self, resource: Any, name: str, namespace: str, *, uid: str) -> None:
        self._asks("delete", resource, name)
        assert self.there.pop((resource.plural, name))["metadata"]["uid"] == uid

    def close(self) -> None:
        pass


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    made = Cluster()
    monkeypatch.setattr(kubernetes, "KubernetesApi", lambda context: made)
    return made


@pytest.fixture
def launcher(cluster: Cluster) -> Iterator[KubernetesLauncher]:
    made = KubernetesLauncher()
    yield made
    made.close()


def job(folder: Path, parcel: str = "p") -> Job:
    environment = {pod_job.VARIABLE: parcel}
    return Job("survey-1", ("x",), folder / "survey-1", Path(), environment, options=("image=team:1",))


def names(cluster: Cluster) -> set[tuple[str, str]]:
    return set(cluster.there)


def test_a_large_parcel_belongs_to_the_job_that_waits_for_it(
    launcher: KubernetesLauncher, cluster: Cluster, tmp_path: Path
) -> None:
    reference = launcher.start(job(tmp_path, LARGE))
    assert cluster.asked == ["create jobs survey-1", "create configmaps survey-1"]
    beside = cluster.there["configmaps", "survey-1"]
    assert beside["metadata"]["ownerReferences"][0]["uid"] == reference.id.rpartition("/")[2]
    assert "".join(beside["data"].values()) == LARGE
    assert "kind: ConfigMap" in launcher.render(job(tmp_path, LARGE))


def test_where_the_parcel_is_refused_no_job_waits_for_it_for_ever(
    launcher: KubernetesLauncher, cluster: Cluster, tmp_path: Path
) -> None:
    cluster.refused["create configmaps"] = KubernetesError("ada may not create configmaps in namespace lab", code=403)
    with pytest.raises(LaunchError, match="may not create configmaps"):
        launcher.start(job(tmp_path, LARGE))
    assert names(cluster) == set()
    assert script.started(tmp_path / "survey-1") is None


@pytest.fixture
def started(launcher: KubernetesLauncher, cluster: Cluster, tmp_path: Path) -> Reference:
    found = launcher.start(job(tmp_path, LARGE))
    cluster.asked.clear()
    return found


def test_the_next_job_is_there_before_the_one_that_was_taken_away_goes(
    launcher: KubernetesLauncher, cluster: Cluster, started: Reference
) -> None:
    again = launcher.start_again(started, "kubernetes:a.0")
    assert cluster.asked == [
        "get jobs survey-1", "create jobs survey-1-uid-1", "create configmaps survey-1-uid-1", "delete jobs survey-1",
    ]  # fmt: skip
    assert again is not None
    assert again == script.started(Path(started.folder))
    made = cluster.there["jobs", "survey-1-uid-1"]
    [flow] = made["spec"]["template"]["spec"]["containers"]
    assert {"name": pod_job.AFTER, "value": "kubernetes:a.0"} in flow["env"]
    third = launcher.start_again(again, "kubernetes:b.0")
    assert third is not None
    assert not third.id.startswith("lab/survey-1-uid-1/")


@pytest.mark.parametrize("change", ["deleted", "another", "ends"])
def test_a_job_that_a_person_has_deleted_is_not_started_again(
    launcher: KubernetesLauncher, cluster: Cluster, started: Reference, change: str
) -> None:
    meta = cluster.there["jobs", "survey-1"]["metadata"]
    if change == "deleted":
        del cluster.there["jobs", "survey-1"]
    elif change == "another":
        meta["uid"] = "of-another"
    else:
        meta["deletionTimestamp"] = "2026-11-29T12:00:00Z"
    assert launcher.start_again(started, "") is None
    assert cluster.asked == ["get jobs survey-1"]
    assert script.started(Path(started.folder)) == started


@pytest.mark.parametrize("question", ["get jobs", "create jobs", "create configmaps"])
def test_a_cluster_that_does_not_answer_leaves_all_as_it_was(
    launcher: KubernetesLauncher, cluster: Cluster, started: Reference, question: str
) -> None:
    cluster.refused[question] = KubernetesError("the server is away", code=0)
    with pytest.raises(KubernetesError, match="is away"):
        launcher.start_again(started, "")
    assert names(cluster) == {("jobs", "survey-1"), ("configmaps", "survey-1")}
    assert script.started(Path(started.folder)) == started


def test_a_job_of_another_cluster_and_one_without_its_script_are_told(
    launcher: KubernetesLauncher, cluster: Cluster, started: Reference
) -> None:
    with pytest.raises(LaunchError, match="is one of the cluster at https://west"):
        launcher.start_again(started._replace(cluster="east https://west"), "")
    (Path(started.folder) / script.SCRIPT).unlink()
    with pytest.raises(LaunchError, match=r"is not started again: .*No such file"):
        launcher.start_again(started, "")
    assert json.loads((Path(started.folder) / script.REFERENCE).read_text())["id"] == started.id
