"""What the chart makes of its values, by real helm: valid for each server, closed where nobody asked for more."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import yaml

import anabranch
from tests.beds import BEDS
from tests.integration.helm.tools import CACHE, CHART, OPERATORS, ROOT, container, variables

if TYPE_CHECKING:
    from tests.integration.helm.tools import Objects, Tools

pytestmark = [pytest.mark.timeout(180), pytest.mark.sampled(3, "a chart is rendered and checked for each")]
SET = ("--set", "image.repository=registry.example.org/team/anabranch", "--set")
SERVERS = ("1.34", "1.35", "1.36", "1.37")  # the four newest minors
CASES = sorted(file.stem for file in (CHART / "ci").glob("*.yaml"))


def case(tools: Tools, name: str) -> Objects:
    values = yaml.safe_load((CHART / f"ci/{name}.yaml").read_text())
    return tools.rendered(values, *OPERATORS)


@pytest.mark.parametrize("name", ["shared", "everything"])
def test_each_object_is_valid_for_the_newest_servers(tools: Tools, name: str) -> None:
    words = [BEDS / "helm/check", CHART, "--values", CHART / f"ci/{name}.yaml", "--cache", CACHE]
    words += [word for server in SERVERS for word in ("--kubernetes", server)]
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, env=tools.variables)
    assert done.returncode == 0, done.stdout + done.stderr
    for server in SERVERS:
        assert f"ok   kubernetes-validate --strict -k {server}: " in done.stdout


def test_the_default_is_a_scheduler_two_workers_and_an_account(tools: Tools) -> None:
    found = case(tools, "shared")
    assert found.kinds() == ["Deployment", "Deployment", "Pod", "Service", "ServiceAccount"]
    assert found.one("Deployment", "-scheduler")["spec"]["replicas"] == 1
    assert found.one("Deployment", "-worker")["spec"]["replicas"] == 2
    assert found.one("Service", "-scheduler")["spec"]["type"] == "ClusterIP"


@pytest.mark.parametrize("name", CASES)
def test_no_pod_has_more_rights_than_it_needs(tools: Tools, name: str) -> None:
    """The Pod Security Standard `restricted`, and what comes on top: a root file system that nobody writes to."""
    pods = case(tools, name).pods()
    assert pods
    for path, pod in pods.items():
        outer, one = pod["spec"]["securityContext"], container(pod)
        inner = one["securityContext"]
        assert outer["runAsNonRoot"], path
        assert outer["seccompProfile"] == {"type": "RuntimeDefault"}, path
        assert inner["capabilities"] == {"drop": ["ALL"]}, path
        assert not inner["allowPrivilegeEscalation"], path
        assert inner["readOnlyRootFilesystem"], path
        assert {"/tmp", "/home/anabranch"} <= {mount["mountPath"] for mount in one["volumeMounts"]}, path
        assert one["resources"]["limits"]["memory"], path
        assert one["resources"]["requests"], path


@pytest.mark.parametrize("name", CASES)
def test_all_pods_run_one_image(tools: Tools, name: str) -> None:
    images = {container(pod)["image"] for pod in case(tools, name).pods().values()}
    assert len(images) == 1


@pytest.mark.parametrize("tag", ["20261130", "1", "1.10"])
def test_a_tag_of_digits_stays_what_it_is(tools: Tools, tag: str) -> None:
    """By a file as a number or a text; on the command line helm makes a number of it where it can."""
    told = [json.loads(tag), tag] if tag.isdigit() else [tag]
    for value in told:
        pod = tools.rendered({"image": {"tag": value}}).one("Deployment", "-scheduler")["spec"]["template"]
        assert container(pod)["image"].endswith(f":{tag}")
    assert f"anabranch:{tag}" in tools.said("helm", "template", str(CHART), *SET, f"image.tag={tag}")


@pytest.mark.parametrize("name", CASES)
def test_every_mount_has_its_volume(tools: Tools, name: str) -> None:
    for path, pod in case(tools, name).pods().items():
        there = {volume["name"] for volume in pod["spec"]["volumes"]}
        assert {mount["name"] for mount in container(pod)["volumeMounts"]} <= there, path


def test_only_who_asks_the_api_gets_a_token(tools: Tools) -> None:
    """The drivers here may submit; the head of the Ray has an autoscaler. Schedulers and workers run others' code."""
    found = {**case(tools, "everything").pods(), **case(tools, "ray").pods(), **case(tools, "shared").pods()}
    tokens = {path.partition("/")[0] for path, pod in found.items() if pod["spec"]["automountServiceAccountToken"]}
    heads = [pod for path, pod in found.items() if "headGroupSpec" in path]
    assert tokens == {"CronJob", "Job", "Pod", "RayCluster"}
    assert [pod["spec"]["automountServiceAccountToken"] for pod in heads] == [True]
    for path, pod in found.items():
        if "Deployment" in path or "workerGroupSpecs" in path:
            assert not pod["spec"]["automountServiceAccountToken"], path


def test_roles_name_each_verb_and_are_there_only_when_asked_for(tools: Tools) -> None:
    assert "Role" not in case(tools, "shared").kinds()
    found = case(tools, "everything")
    for role in ("-driver", "-user"):
        rules = found.one("Role", role)["rules"]
        assert not [rule for rule in rules if "*" in (*rule["verbs"], *rule["resources"], *rule["apiGroups"])]
    submit = tools.rendered({"rbac": {"submit": True}}).one("Role", "-driver")["rules"]
    assert submit == [
        {"apiGroups": [""], "resources": ["pods", "events"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]},
        {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["create", "get", "list", "delete"]},
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["create", "get"]},
    ]


def test_a_driver_that_may_make_clusters_may_do_all_that_they_ask_for(tools: Tools) -> None:
    from anabranch.clusters.kubernetes.objects import RIGHTS

    rules = tools.rendered({"rbac": {"kubernetesCluster": True}}).one("Role", "-driver")["rules"]
    given = {
        (group, resource, verb)
        for rule in rules for group in rule["apiGroups"] for resource in rule["resources"] for verb in rule["verbs"]
    }  # fmt: skip
    asked = {(resource.group, resource.plural, verb) for resource, verbs in RIGHTS for verb in verbs}
    assert asked - given == set()
    reads = {("", "pods", "get"), ("", "pods/log", "get"), ("", "events", "get"), ("", "events", "watch")}
    assert given - asked == reads


def test_names_fit_however_long_the_release_is(tools: Tools) -> None:
    """53 characters are the most that helm takes; pods' and Jobs' names become labels of 63, CronJobs' have 52."""
    flows = {"a" * 22: {"target": "/a.py"}, "b" * 22: {"target": "/b.py", "schedule": "@daily"}}
    values = {"flows": flows, "persistence": {"enabled": True}, "networkPolicy": {"enabled": True}}
    found = tools.rendered(values, name="r" * 53)
    for one in found.all:
        assert len(one["metadata"]["name"]) <= (52 if one["kind"] == "CronJob" else 63), one["metadata"]["name"]
    assert found.one("CronJob")["metadata"]["name"].startswith("r" * 20 + "-")


def test_two_long_names_that_begin_alike_differ(tools: Tools) -> None:
    names = {tools.rendered({}, name="r" * 40 + end).one("Service")["metadata"]["name"] for end in "ab"}
    assert len(names) == 2


def test_parameters_arrive_as_they_are(tools: Tools) -> None:
    given = {"who": "it's \"$(POD_NAME)\" $HOME\nand é", "n": 3, "deep": {"a": [1, None, True]}}
    job = tools.rendered({"flows": {"one": {"target": "/a.py:go", "params": given}}}).one("Job")
    words = container(job["spec"]["template"])["args"][4:]
    assert words[:3] == ["anabranch", "run", "/a.py:go"]
    kubernetes = [word.replace("$$", "$") for word in words[3:]]  # a node takes $(NAME) for a variable, $$ for a $
    found = dict(word.split("=", 1) for word in kubernetes[1::2])
    assert {name: json.loads(value) for name, value in found.items()} == given


def test_a_job_is_another_one_when_its_own_words_change_and_only_then(tools: Tools) -> None:
    def name(**values: Any) -> str:
        flow = values.pop("flow", {"target": "/a.py"})
        return str(tools.rendered({"flows": {"one": flow}, **values}).one("Job")["metadata"]["name"])

    same = {name(), name(dask={"workers": {"replicas": 9}}), name(networkPolicy={"enabled": True})}
    assert len(same) == 1
    assert name(flow={"target": "/a.py", "params": {"x": 1}}) not in same
    assert name(image={"tag": "2"}) not in same
    assert name(flow={"code": "a = 1"}) != name(flow={"code": "a = 2"})


def test_code_travels_in_a_config_map_that_the_pod_mounts(tools: Tools) -> None:
    code = "from anabranch import flow\n\n\n@flow\ndef go() -> str:\n    return '{{ x }}'\n"
    found = tools.rendered({"flows": {"two-words": {"code": code}}})
    config, pod = found.one("ConfigMap", "-two-words"), found.one("Job")["spec"]["template"]
    assert config["data"] == {"two_words.py": code}
    assert "/flows/two_words.py" in container(pod)["args"]
    assert {"name": "flows", "configMap": {"name": config["metadata"]["name"]}} in pod["spec"]["volumes"]


def test_an_ended_job_stays_so_that_an_upgrade_does_not_run_it_again(tools: Tools) -> None:
    flows = {"one": {"target": "/a.py"}, "two": {"target": "/a.py", "ttlSecondsAfterFinished": 0}}
    found = tools.rendered({"flows": flows})
    times = [one["spec"].get("ttlSecondsAfterFinished") for one in found.all if one["kind"] == "Job"]
    assert sorted(times, key=str) == [0, None]
    assert {one["spec"]["backoffLimit"] for one in found.all if one["kind"] == "Job"} == {0}


def test_the_memory_limit_of_a_worker_is_that_of_its_pod(tools: Tools) -> None:
    def limit(**workers: Any) -> list[str]:
        found = tools.rendered({"dask": {"workers": workers}}).one("Deployment", "-worker")
        words = list(container(found["spec"]["template"])["args"])
        return words[words.index("--memory-limit") :][1:2] if "--memory-limit" in words else []

    assert limit() == ["2Gi"]
    assert limit(resources={"limits": {"memory": "3Gi"}}) == ["3Gi"]
    assert limit(memoryLimit="1Gi") == ["1Gi"]
    assert limit(resources={"limits": None}) == []


def test_a_null_takes_the_user_away(tools: Tools) -> None:
    pods = tools.rendered({"podSecurityContext": {"runAsUser": None, "fsGroup": None}}).pods()
    assert not [path for path, pod in pods.items() if {"runAsUser", "fsGroup"} & set(pod["spec"]["securityContext"])]


def test_results_and_records_reach_who_needs_them(tools: Tools) -> None:
    values = {
        "records": {"existingSecret": "records"},
        "results": {"url": "s3://b/p", "existingSecret": "bucket"},
        "flows": {"one": {"target": "/a.py"}},
    }
    pods = tools.rendered(values).pods()
    for path, pod in pods.items():
        found, sources = variables(pod), container(pod).get("envFrom", [])
        stores, records = "scheduler" not in path, "Job" in path or "Pod" in path
        assert (found.get("ANABRANCH_RESULTS") == "s3://b/p") is stores, path
        assert ({"secretRef": {"name": "bucket"}} in sources) is stores, path
        expected = {"secretKeyRef": {"name": "records", "key": "url"}} if records else None
        assert found.get("ANABRANCH_RECORDS") == expected, path


def test_a_claim_holds_records_and_values_where_nothing_else_does(tools: Tools) -> None:
    found = tools.rendered({"persistence": {"enabled": True}, "flows": {"one": {"target": "/a.py"}}})
    claim = found.one("PersistentVolumeClaim")
    assert claim["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    driver = variables(found.one("Job")["spec"]["template"])
    assert (driver["ANABRANCH_RECORDS"], driver["ANABRANCH_RESULTS"]) == ("/data/records.db", "/data/results")
    own = tools.rendered({"persistence": {"enabled": True, "existingClaim": "mine", "mountPath": "/mine"}})
    assert "PersistentVolumeClaim" not in own.kinds()


@pytest.mark.parametrize(("name", "engine"), [("shared", "dask"), ("operator", "dask"), ("ray", "ray")])
def test_the_chart_is_tested_on_the_engine_that_it_has(tools: Tools, name: str, engine: str) -> None:
    assert variables(case(tools, name).one("Pod", "-test"))["ENGINE"] == engine


def test_a_chart_without_an_engine_is_tested_on_threads(tools: Tools) -> None:
    assert variables(tools.rendered({"dask": {"mode": "none"}}).one("Pod", "-test"))["ENGINE"] == "thread"


def test_a_ray_has_a_token_and_its_second_autoscaler(tools: Tools) -> None:
    found = case(tools, "ray")
    spec = found.one("RayCluster")["spec"]
    assert spec["authOptions"] == {"mode": "token"}
    assert spec["autoscalerOptions"]["version"] == "v2"
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    nodes = [pod for path, pod in found.pods().items() if "Ray" in path]
    assert [container(node)["livenessProbe"]["tcpSocket"]["port"] for node in nodes] == ["gcs-server", "node-manager"]
    driver = variables(found.one("Job")["spec"]["template"])
    assert driver["RAY_AUTH_MODE"] == "token"
    assert driver["RAY_AUTH_TOKEN"] == {"secretKeyRef": {"name": "rel-anabranch", "key": "auth_token"}}


def test_the_versions_are_those_of_the_package(tools: Tools) -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["appVersion"] == anabranch.__version__
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = dict(line.partition(" ;")[0].split("==") for line in lines)
    assert yaml.safe_load((CHART / "values.yaml").read_text())["ray"]["version"] == pinned["ray"]


def test_notes_say_how_to_go_on_and_what_is_open(tools: Tools) -> None:
    words = ("helm", "install", "rel", str(CHART), "--dry-run=client", "-f", str(CHART / "ci/shared.yaml"))
    alone = {**tools.variables, "KUBECONFIG": os.devnull}
    done = subprocess.run([*words, "--set", "flows.one.target=/a.py"], capture_output=True, text=True, env=alone)
    assert done.returncode == 0, done.stderr
    notes = done.stdout.partition("NOTES:")[2]
    assert "tcp://rel-anabranch-scheduler.default.svc:8786" in notes
    assert notes.count("WARNING") == 2
    closed = ["--set", "dask.tls.enabled=true", "--set", "persistence.enabled=true"]
    done = subprocess.run([*words, *closed], capture_output=True, text=True, env=alone)
    assert "WARNING" not in done.stdout.partition("NOTES:")[2], done.stderr
