"""What is handed to the Dask operator, and what is refused before."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from anabranch.clusters.kubernetes import manifests, pod_spec
from anabranch.clusters.kubernetes.cluster import KubernetesCluster
from anabranch.clusters.kubernetes.left_behind import is_left, myself
from anabranch.clusters.kubernetes.owning import own_namespace, own_pod, owner_of, owners

if TYPE_CHECKING:
    from pathlib import Path


def cluster(**more: Any) -> dict[str, Any]:
    templates = {name: more.pop(name, None) for name in ("worker_template", "scheduler_template")}
    given = {"image": "team/flows:3", "cpus": 2, "memory": "4 GiB", "gpus": 0, "env": None, "secrets": ()}
    where = {"node_selector": None, "tolerations": (), "spot": False}
    spec = pod_spec.checked(**{**given, **where, **more}, templates=templates)
    return manifests.dask_cluster(
        "fit", "team", spec, replicas=2, idle_timeout=300, holder="{}", start="ab12", owners=[]
    )


def worker(made: dict[str, Any]) -> dict[str, Any]:
    [container] = made["spec"]["worker"]["spec"]["containers"]
    return dict(container)


def environment(container: dict[str, Any]) -> dict[str, str]:
    return {one["name"]: one["value"] for one in container["env"]}


def test_the_resource_is_ours_and_ends_when_it_is_left() -> None:
    made = cluster()
    assert made["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "anabranch"
    assert made["spec"]["idleTimeout"] == 300
    assert made["spec"]["worker"]["replicas"] == 2
    assert made["spec"]["scheduler"]["service"]["type"] == "ClusterIP"


def test_a_policy_lets_only_its_own_pods_flows_and_the_operator_reach_a_cluster() -> None:
    made = manifests.network_policy("fit", "team", "uid-7", "ab12")
    (owner,) = made["metadata"]["ownerReferences"]
    assert owner == {"apiVersion": "kubernetes.dask.org/v1", "kind": "DaskCluster", "name": "fit", "uid": "uid-7"}
    assert (made["metadata"]["name"], made["metadata"]["namespace"]) == ("fit-ab12", "team")
    assert made["metadata"]["labels"] == cluster()["metadata"]["labels"]
    own = {"matchLabels": {"dask.org/cluster-name": "fit"}}
    assert made["spec"]["podSelector"] == own
    assert made["spec"]["policyTypes"] == ["Ingress"]
    assert made["spec"]["ingress"] == [{"from": [
        {"podSelector": own},
        {"podSelector": {"matchLabels": {"app.kubernetes.io/managed-by": "anabranch"}}},
        {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "dask-operator"}}},
    ]}]  # fmt: skip


def test_a_worker_has_its_share_and_the_name_that_the_operator_gives() -> None:
    one = worker(cluster(gpus=1))
    assert one["resources"] == {
        "requests": {"cpu": "2", "memory": "4096Mi", "nvidia.com/gpu": "1"},
        "limits": {"memory": "4096Mi", "nvidia.com/gpu": "1"},
    }
    words = " ".join(one["args"])
    assert "--name $(DASK_WORKER_NAME) --nthreads 2 --nworkers 1" in words
    assert "--resources gpus=1" in words
    assert f"--memory-limit {int(0.9 * (4 << 30))}" in words
    assert environment(one)["DASK_SCHEDULER_ADDRESS"] == "tcp://fit-scheduler.team.svc:8786", "any domain"


@pytest.mark.parametrize("part", ["scheduler", "worker"])
def test_pods_have_no_rights_are_not_evicted_and_leave_a_lost_node_soon(part: str) -> None:
    made = cluster()["spec"][part]
    assert made["metadata"]["annotations"] == {
        "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
        "karpenter.sh/do-not-disrupt": "true",
    }
    assert made["spec"]["automountServiceAccountToken"] is False
    assert {one["tolerationSeconds"] for one in made["spec"]["tolerations"]} == {30}
    [container] = made["spec"]["containers"]
    assert container["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


@pytest.mark.parametrize("part", ["scheduler", "worker"])
def test_pods_are_admitted_where_root_is_not_and_a_template_admits_root(part: str) -> None:
    context = cluster()["spec"][part]["spec"]["securityContext"]
    assert context == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    template = {"spec": {"securityContext": {"runAsNonRoot": None}}}
    root = cluster(worker_template=template, scheduler_template=template)["spec"][part]["spec"]
    assert root["securityContext"] == {"seccompProfile": {"type": "RuntimeDefault"}}


def test_own_tolerations_of_lost_nodes_stand_before_ours() -> None:
    own = {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "tolerationSeconds": 2}
    keys = [one["key"] for one in cluster(tolerations=[own])["spec"]["worker"]["spec"]["tolerations"]]
    assert sorted(keys) == ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"]


def test_on_spot_are_workers_alone() -> None:
    made = cluster(spot=True)["spec"]

    def terms(part: str) -> list[dict[str, Any]]:
        affinity = made[part]["spec"]["affinity"]["nodeAffinity"]
        found = affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
        return [one for term in found for one in term["matchExpressions"]]

    assert {one["operator"] for one in terms("worker")} == {"In"}
    assert {one["operator"] for one in terms("scheduler")} == {"NotIn"}
    assert len(terms("worker")) == len(terms("scheduler")) == len(pod_spec.SPOT)
    assert "affinity" not in cluster()["spec"]["worker"]["spec"]


def test_variables_and_secrets_reach_both_kinds_of_pods() -> None:
    made = cluster(env={"MODE": "fast", "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "True"}, secrets=["keys"])
    for part in ("scheduler", "worker"):
        [container] = made["spec"][part]["spec"]["containers"]
        assert environment(container)["MODE"] == "fast"
        assert environment(container)["DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED"] == "True", "the user's word"
        assert container["envFrom"] == [{"secretRef": {"name": "keys"}}]


def test_a_template_is_laid_over_the_pod() -> None:
    template = {
        "metadata": {"labels": {"team": "blue"}, "annotations": {"karpenter.sh/do-not-disrupt": None}},
        "spec": {
            "serviceAccountName": "reader",
            "volumes": [{"name": "data", "emptyDir": {}}],
            "containers": [
                {"volumeMounts": [{"name": "data", "mountPath": "/data"}], "args": ["run-worker"],
                 "resources": {"limits": {"cpu": "3"}}},
                {"name": "beside", "image": "logs"},
            ],
        },
    }  # fmt: skip
    made = cluster(worker_template=template)["spec"]["worker"]
    assert made["metadata"]["labels"] == {"team": "blue"}
    assert list(made["metadata"]["annotations"]) == ["cluster-autoscaler.kubernetes.io/safe-to-evict"]
    assert made["spec"]["serviceAccountName"] == "reader"
    ours, beside = made["spec"]["containers"]
    assert (ours["name"], ours["image"], ours["args"]) == ("worker", "team/flows:3", ["run-worker"])
    assert ours["resources"]["limits"] == {"memory": "4096Mi", "cpu": "3"}
    assert beside == {"name": "beside", "image": "logs"}
    assert len(cluster()["spec"]["worker"]["spec"]["containers"]) == 1, "ours is as it was"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"image": ""}, "image names a container image"),
        ({"cpus": 0}, "cpus must be greater than 0"),
        ({"memory": "much"}, "must be a size"),
        ({"memory": 0}, "memory must be the bytes"),
        ({"gpus": -1}, "gpus 0 or more"),
        ({"env": {"A-B": "x"}}, "env must have names of variables"),
        ({"env": {"A": 1}}, "env must have names of variables and texts"),
        ({"secrets": "keys"}, r"\['keys'\]"),
        ({"worker_template": {"containers": []}}, "worker_template has a pod's metadata and spec, and no containers"),
        ({"name": "Jane.Doe"}, "'jane-doe-[0-9a-f]{8}' would do"),
        ({"name": "9lives"}, "a letter first"),
        ({"name": "x" * 54}, "at most 53"),
        ({"idle_timeout": 0}, "idle_timeout is 30 s at least"),
        ({"minimum": 5, "maximum": 2}, "minimum must be"),
        ({"workers": 0}, "minimum must be"),
    ],
)
def test_what_cannot_be_is_refused_at_once(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        KubernetesCluster(**{"image": "team/flows:3", **options})


def test_a_cluster_belongs_to_the_job_of_its_driver() -> None:
    job = {"apiVersion": "batch/v1", "kind": "Job", "name": "run-7", "uid": "u-1"}
    owned = {"metadata": {"name": "run-7-x", "uid": "u-2", "ownerReferences": [{**job, "controller": True}]}}
    assert owner_of(owned) == job
    replaced = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "hub-1", "uid": "u-3", "controller": True}
    alone = {"metadata": {"name": "hub-1-x", "uid": "u-4", "ownerReferences": [replaced]}}
    assert owner_of(alone) == {"apiVersion": "v1", "kind": "Pod", "name": "hub-1-x", "uid": "u-4"}


def test_a_driver_knows_its_pod_by_its_host_name_inside_of_kubernetes_alone() -> None:
    assert own_pod({"HOSTNAME": "laptop"}) == ""
    assert own_pod({"HOSTNAME": "run-7-x", "KUBERNETES_SERVICE_HOST": "10.0.0.1"}) == "run-7-x"
    assert own_pod({"HOSTNAME": "laptop", "ANABRANCH_POD_NAME": "run-7-x"}) == "run-7-x"


def test_a_pod_of_another_namespace_owns_no_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another pod may have its name there, and what refers to an owner elsewhere is deleted at once."""
    pod = {"metadata": {"name": "run-7-x", "uid": "u-4"}}
    api: Any = SimpleNamespace(objects=lambda *_, **__: [pod])
    monkeypatch.setenv("ANABRANCH_POD_NAME", "run-7-x")
    monkeypatch.setenv("ANABRANCH_POD_NAMESPACE", "flows")
    assert owners(api, "team") == []
    assert [one["uid"] for one in owners(api, "flows")] == ["u-4"]
    (tmp_path / "namespace").write_text("drivers\n")
    assert own_namespace({}, str(tmp_path)) == "drivers"
    assert own_namespace({}, str(tmp_path / "none")) == ""


def test_amounts_are_written_as_kubernetes_reads_them() -> None:
    assert [pod_spec.cpu_text(one) for one in (1.0, 0.5, 2.25)] == ["1", "500m", "2250m"]
    assert [pod_spec.memory_text(one) for one in (1 << 30, 1_000_000_000)] == ["1024Mi", "1000000000"]


def test_a_cluster_is_left_behind_where_its_holder_of_this_machine_is_gone() -> None:
    import json

    me = myself()

    def left(**changed: Any) -> bool:
        return is_left({"annotations": {manifests.HOLDER: json.dumps({**me, **changed})}})

    assert not left(), "this very process"
    assert left(started=me["started"] - 1000.0), "another process has the number"
    assert not left(host="elsewhere", started=0.0)
    assert not left(user="another", started=0.0)
    assert not left(space="another container", started=0.0), "one host name, and pids of its own"
    before = {name: value for name, value in me.items() if name != "space"}
    assert not is_left({"annotations": {manifests.HOLDER: json.dumps({**before, "started": 0.5})}}), "of an older one"
    assert not is_left({})
