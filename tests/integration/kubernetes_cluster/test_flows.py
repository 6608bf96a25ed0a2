"""Flows on clusters of pods: all results, workers that come and go, pods and nodes that die."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import DaskRunner, flow
from anabranch.clusters.kubernetes.cluster import KubernetesCluster
from anabranch.kubernetes.resources import NETWORK_POLICIES, PODS
from tests.beds import BEDS
from tests.integration.clusters.conftest import until
from tests.integration.clusters.counted import begun, gated, large, length
from tests.integration.kubernetes_cluster.conftest import nothing_left, workers
from tests.integration.kubernetes_cluster.sums import total

if TYPE_CHECKING:
    from anabranch.kubernetes.api import KubernetesApi

pytestmark = [
    pytest.mark.dask,
    pytest.mark.kubernetes,
    pytest.mark.timeout(300),
    pytest.mark.sampled(3, "the Dask operator makes and takes away a cluster"),
]

NIGHT = pytest.mark.nightly("one of several ways in which workers come and go")


@flow
def all_gated(n: int, folder: str) -> list[int]:
    return gated.with_options(chunk=1).map(range(n), folder).result()


def test_ten_thousand_items_and_a_pod_that_is_deleted_on_a_cluster_that_leaves_nothing(
    api: KubernetesApi, size: dict[str, Any], tmp_path: Path
) -> None:
    """Its policy, which goes with it, chooses both kinds of pods. Of the deleted pod only what it had runs again."""
    with KubernetesCluster("shut", workers=2, network_policy=True, **size) as cluster:
        assert total.with_options(runner=DaskRunner(cluster))(10_000) == 50_005_000
        assert cluster.status()["namespace"] == api.namespace
        (policy,) = api.objects(NETWORK_POLICIES)
        assert policy["spec"]["podSelector"] == {"matchLabels": {"dask.org/cluster-name": "shut"}}
        chosen = api.objects(PODS, labels="dask.org/cluster-name=shut")
        assert {pod["metadata"]["labels"]["dask.org/component"] for pod in chosen} == {"scheduler", "worker"}
        until(lambda: cluster.status()["workers"] == 2, "two workers")
        done = all_gated.with_options(runner=DaskRunner(cluster)).submit(8, str(tmp_path))
        until(lambda: {0, 1} <= begun(tmp_path).keys(), "both are in an item")
        before = set(begun(tmp_path))
        api.delete(PODS, workers(api)[0]["metadata"]["name"], grace=0)
        (tmp_path / "gate").touch()
        assert done.result() == list(range(8))
        assert {item for item, times in begun(tmp_path).items() if times > 1} <= before
    nothing_left(api)
    until(lambda: not api.objects(NETWORK_POLICIES), "the policy has gone")


@NIGHT
def test_it_grows_with_the_work_and_shrinks_when_there_is_none(
    api: KubernetesApi, size: dict[str, Any], tmp_path: Path
) -> None:
    """Down to nothing and up again: no item runs twice."""
    with KubernetesCluster(maximum=3, idle=3.0, **size) as cluster:
        assert cluster.status()["workers"] == 0
        done = all_gated.with_options(runner=DaskRunner(cluster)).submit(300, str(tmp_path))
        until(lambda: cluster.status()["workers"] == 3, "as many workers as it may have")
        (tmp_path / "gate").touch()
        assert done.result() == list(range(300))
        until(lambda: not workers(api) and cluster.status()["workers"] == 0, "no pod without work")
        again = tmp_path / "again"
        again.mkdir()
        (again / "gate").touch()
        assert all_gated.with_options(runner=DaskRunner(cluster))(5, str(again)) == list(range(5))
    assert set(begun(tmp_path).values()) == {1}


@pytest.mark.nightly("a minute; by day its steps, with an API that fails, in unit tests of `leaving` and of the door")
def test_workers_that_are_let_go_finish_what_they_run_and_hand_their_values_on(
    api: KubernetesApi, size: dict[str, Any], tmp_path: Path
) -> None:
    """Down, up and down under load: each item and each value is made once."""

    @flow
    def kept(cluster: Any) -> list[int]:
        blocks = large.map(range(40), str(tmp_path))
        blocks.wait()
        items = tmp_path / "items"
        items.mkdir()
        held = gated.with_options(chunk=1, crash_retries=0).map(range(40), str(items))
        until(lambda: {"0", "1"} <= {file.name for file in items.iterdir()}, "two workers are in an item")
        cluster.scale(1)
        until(lambda: "leaving" in [job["state"] for job in cluster.status()["jobs"]], "workers are to go")
        (items / "gate").touch()
        assert held.result() == list(range(40))
        until(lambda: cluster.status()["workers"] == 1, "one is left")
        cluster.scale(3)
        until(lambda: cluster.status()["workers"] == 3, "others have come")
        cluster.scale(1)
        until(lambda: cluster.status()["workers"] == 1, "they have gone")
        return length.map(blocks).result()

    with KubernetesCluster(workers=3, **size) as cluster:
        until(lambda: cluster.status()["workers"] == 3, "three workers")
        runner = DaskRunner(cluster)
        assert kept.with_options(runner=runner, validate_parameters=False)(cluster) == [200_000] * 40
        until(lambda: len(workers(api)) == 1, "the pods of the others have ended")
    assert set(begun(tmp_path).values()) == {1}, "no value was made again"
    assert set(begun(tmp_path / "items").values()) == {1}, "no item ran again"


@pytest.mark.nightly("that its Deployment replaces it; the rest is part of a test of the day")
def test_a_pod_that_is_deleted_costs_only_what_it_had(api: KubernetesApi, size: dict[str, Any], tmp_path: Path) -> None:
    with KubernetesCluster(workers=2, **size) as cluster:
        until(lambda: cluster.status()["workers"] == 2, "two workers")
        done = all_gated.with_options(runner=DaskRunner(cluster)).submit(40, str(tmp_path))
        until(lambda: {0, 1} <= begun(tmp_path).keys(), "both are in an item")
        before = dict(begun(tmp_path))
        api.delete(PODS, workers(api)[0]["metadata"]["name"], grace=0)
        (tmp_path / "gate").touch()
        assert done.result() == list(range(40))
        again = {item for item, times in begun(tmp_path).items() if times > 1}
        assert again <= set(before), "only items that had begun, and were not reported"
        until(lambda: cluster.status()["workers"] == 2, "its Deployment has replaced it")
    nothing_left(api)


@pytest.mark.nightly("a node takes a quarter of a minute to be missed; by day a Dask worker without a pod is killed")
def test_a_node_that_dies_costs_only_what_it_had(
    api: KubernetesApi, dask_operator_bed: str, size: dict[str, Any], tmp_path: Path
) -> None:
    def node(verb: str, name: str) -> None:
        subprocess.run([BEDS / "kubernetes" / "node", Path(dask_operator_bed).parent, verb, name], check=True)

    def on(name: str) -> list[dict[str, Any]]:
        return [pod for pod in workers(api) if pod["spec"].get("nodeName") == name]

    # The scheduler keeps to one node, workers are spread over both.
    spread = {"topologyKey": "kubernetes.io/hostname", "maxSkew": 1, "whenUnsatisfiable": "ScheduleAnyway",
              "labelSelector": {"matchLabels": {"dask.org/component": "worker"}}}  # fmt: skip
    at_home = {"spec": {"nodeSelector": {"kubernetes.io/hostname": "node-1"}}}
    with KubernetesCluster(
        workers=4, worker_template={"spec": {"topologySpreadConstraints": [spread]}}, scheduler_template=at_home, **size
    ) as cluster:
        until(lambda: cluster.status()["workers"] == 4, "four workers")
        assert on("node-2")
        done = all_gated.with_options(runner=DaskRunner(cluster)).submit(80, str(tmp_path))
        until(lambda: {0, 1} <= begun(tmp_path).keys(), "two items are held")
        before = dict(begun(tmp_path))
        try:
            node("kill", "node-2")
            (tmp_path / "gate").touch()
            assert done.result() == list(range(80))
            twice = {item for item, times in begun(tmp_path).items() if times > 1}
            assert twice <= set(before)
            until(lambda: cluster.status()["workers"] == 4, "they are replaced on the other node")
        finally:
            node("start", "node-2")
    nothing_left(api, 90.0)
