"""The manifest of a job, its options, what is seen of it and its log: the pure parts of the launcher."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from anabranch.core.errors import LaunchError
from anabranch.core.launching import Job, Phase, Resources
from anabranch.launch import kubernetes_sight
from anabranch.launch.kubernetes_logs import Cursor
from anabranch.launch.kubernetes_manifest import CONTAINER, as_text, manifest, template_of
from anabranch.launch.kubernetes_options import options, toleration
from tests.unit.launch.pods import NOW, ended, pod, waits

HERE = Path()


def made(*words: str, template: Any = None, without: tuple[str, ...] = (), **given: Any) -> dict[str, Any]:
    given = {"name": "survey-1", "command": ("python", "-m", "x"), "folder": Path("/f"), "cwd": HERE, **given}
    return manifest(Job(**given, options=("image=team:1", *words)), template or {}, without)


def container(body: dict[str, Any]) -> dict[str, Any]:
    return next(one for one in body["spec"]["template"]["spec"]["containers"] if one["name"] == CONTAINER)


# -- the manifest ----------------------------------------------------------------------------------


def test_a_job_is_one_pod_that_the_server_does_not_start_again() -> None:
    body = made()
    spec = body["spec"]
    pod = spec["template"]
    assert (body["metadata"]["name"], spec["backoffLimit"], spec["ttlSecondsAfterFinished"]) == ("survey-1", 0, 604800)
    assert "podFailurePolicy" not in spec
    assert pod["spec"]["restartPolicy"] == "Never"
    assert pod["spec"]["automountServiceAccountToken"] is False
    assert pod["metadata"]["annotations"]["cluster-autoscaler.kubernetes.io/safe-to-evict"] == "false"
    assert pod["metadata"]["annotations"]["karpenter.sh/do-not-disrupt"] == "true"
    assert body["metadata"]["labels"] == pod["metadata"]["labels"]
    assert pod["spec"]["securityContext"]["runAsNonRoot"] is True


def test_the_script_travels_literally() -> None:
    """Kubernetes replaces $(NAME) and $$ in arguments and values, and in nothing that this manifest has."""
    text = "echo $$ $(seq 3) $HOME"
    body = made(command=("/bin/sh", "-c", text), environment={"MONEY": "$(HOME) $$5"})
    script = body["spec"]["template"]["metadata"]["annotations"]["anabranch/script"]
    assert text in script
    assert "export MONEY='$(HOME) $$5'" in script
    plain = [*container(body)["command"], *(one.get("value", "") for one in container(body)["env"])]
    assert not any("$(" in word or "$$" in word for word in plain)


def test_the_pod_is_told_of_itself() -> None:
    paths = {one["name"]: one["valueFrom"]["fieldRef"]["fieldPath"] for one in container(made())["env"]}
    assert paths["ANABRANCH_POD_UID"] == "metadata.uid"
    assert paths["ANABRANCH_POD_NODE"] == "spec.nodeName"
    assert paths["ANABRANCH_JOB_UID"] == "metadata.labels['controller-uid']"


def test_what_is_asked_for_is_what_the_pod_gets_and_no_more() -> None:
    body = made(resources=Resources(1, 4, 3 << 30, 2), walltime=600.0)
    assert container(body)["resources"] == {
        "requests": {"cpu": "4", "memory": "3072Mi"},
        "limits": {"cpu": "4", "memory": "3072Mi", "nvidia.com/gpu": "2"},
    }
    assert body["spec"]["template"]["spec"]["activeDeadlineSeconds"] == 660
    assert "limits" not in container(made(resources=Resources(1, 4), without=("limits",)))["resources"]
    assert "securityContext" not in made(without=("security-context",))["spec"]["template"]["spec"]


def test_words_become_fields() -> None:
    body = made(
        "namespace=lab", "service-account=runner", "secret=s3", "pull-secret=registry", "node-selector=pool=big",
        "toleration=gpu=yes:NoSchedule", "toleration=spot", "label=kueue.x-k8s.io/queue-name=team", "user=1000",
        "ttl=60",
    )  # fmt: skip
    pod = body["spec"]["template"]["spec"]
    assert (body["metadata"]["namespace"], body["spec"]["ttlSecondsAfterFinished"]) == ("lab", 60)
    assert (pod["serviceAccountName"], pod["automountServiceAccountToken"]) == ("runner", True)
    assert container(body)["envFrom"] == [{"secretRef": {"name": "s3"}}]
    assert pod["imagePullSecrets"] == [{"name": "registry"}]
    assert pod["nodeSelector"] == {"pool": "big"}
    assert pod["tolerations"] == [
        {"key": "gpu", "operator": "Equal", "value": "yes", "effect": "NoSchedule"},
        {"key": "spot", "operator": "Exists"},
    ]
    assert body["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "team"
    assert pod["securityContext"]["runAsUser"] == 1000


TEMPLATE = """
kind: Pod
metadata:
  labels: {team: lab, anabranch/job: of-another}
spec:
  volumes: [{name: home, persistentVolumeClaim: {claimName: home}}]
  tolerations: [{key: spot, operator: Exists}]
  securityContext: {fsGroup: 100}
  containers:
    - name: any
      image: theirs:1
      volumeMounts: [{name: home, mountPath: /home}]
      env: [{name: LANG, value: C}]
    - {name: sidecar, image: proxy:1}
"""


def test_a_template_is_the_base_and_the_job_is_laid_on_it() -> None:
    body = made("toleration=gpu", template=template_of(TEMPLATE, "pod.yaml"))
    pod = body["spec"]["template"]
    assert [one["name"] for one in pod["spec"]["containers"]] == [CONTAINER, "sidecar"]
    assert container(body)["image"] == "team:1"
    assert container(body)["volumeMounts"] == [{"name": "home", "mountPath": "/home"}]
    assert container(body)["env"][0] == {"name": "LANG", "value": "C"}
    assert "ANABRANCH_SCRIPT" in [one["name"] for one in container(body)["env"]]
    assert [one["key"] for one in pod["spec"]["tolerations"]] == ["spot", "gpu"]
    assert pod["spec"]["securityContext"]["fsGroup"] == 100
    assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
    assert (pod["metadata"]["labels"]["team"], pod["metadata"]["labels"]["anabranch/job"]) == ("lab", "survey-1")
    job = Job("a", ("x",), Path("/f"), HERE)
    assert container(manifest(job, template_of(TEMPLATE, "pod.yaml")))["image"] == "theirs:1"


def test_the_text_is_the_manifest() -> None:
    body = made(environment={"A": "one\ntwo: 'three'"})
    text = as_text(body)
    assert yaml.safe_load(text) == body
    assert "anabranch/script: |\n" in text


@pytest.mark.parametrize("name", ["Survey_of.Everything-d5c10f", "x" * 100, "survey-d5c10f"])
def test_names_are_such_as_kubernetes_takes(name: str) -> None:
    body = made(name=name)
    assert len(body["metadata"]["name"]) <= 52
    assert body["metadata"]["name"] == body["metadata"]["name"].lower()
    assert len(body["metadata"]["labels"]["anabranch/job"]) <= 63


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"resources": Resources(2)}, "is one pod, and job 'survey-1' asks for 2 nodes: leave --nodes out"),
        ({"options": ()}, "needs an image with anabranch in it"),
        ({"environment": {"A": "x" * 200_000}}, "no variable can hold it"),
        ({"options": ("imgae=x",)}, "did you mean .image."),
        ({"options": ("gpu",)}, "there are: image, context"),
        ({"options": ("image=x", "namespace=Not_One")}, "is not a namespace"),
        ({"options": ("image=x", "ttl=soon")}, "ttl must be 0 or more"),
        ({"options": ("image=x", "env=A-B=1")}, "env must be NAME=VALUE"),
        ({"options": ("image=x", "node-selector=big")}, "node-selector must be NAME=VALUE"),
        ({"options": ("image=x", "toleration=a:Never")}, "NoSchedule, PreferNoSchedule"),
    ],
)
def test_what_cannot_be_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(LaunchError, match=message):
        manifest(Job(**{"name": "survey-1", "command": ("x",), "folder": Path("/f"), "cwd": HERE, **given}), {})


@pytest.mark.parametrize(
    ("text", "message"), [("a: [", "is not YAML"), ("kind: Pod", "is not a pod"), ("- a", "is not a pod")]
)
def test_a_template_that_is_none_is_refused(text: str, message: str) -> None:
    with pytest.raises(LaunchError, match=f"template pod.yaml {message}"):
        template_of(text, "pod.yaml")


def test_options_are_read_with_and_without_dashes() -> None:
    assert options(["--image=a", "env=A=b=c", "env=D="]).env == ["A=b=c", "D="]
    assert toleration("a=:NoExecute") == {"key": "a", "operator": "Equal", "value": "", "effect": "NoExecute"}


# -- what is seen ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "phase", "code", "words"),
    [
        (pod("Running", {"running": {}}), Phase.RUNNING, None, ""),
        (pod("Running", {"running": {}}, deletionTimestamp="2026-11-29T12:00:30Z"), Phase.RUNNING, None, "told"),
        (pod("Running", {"running": {}}, deletionTimestamp="2026-11-29T11:50:00Z"), Phase.ENDED, None, "p on node-1"),
        (pod("Succeeded", ended(0, "Completed")), Phase.ENDED, 0, ""),
        (pod("Failed", ended(3)), Phase.ENDED, 3, "exit 3"),
        (pod("Failed", ended(137)), Phase.ENDED, -9, "killed by signal 9 (SIGKILL): for mem"),
        (pod("Failed", ended(137, "OOMKilled")), Phase.ENDED, -9, "OOMKilled"),
        (pod("Failed", ended(127)), Phase.ENDED, 127, "exit 127: the command was not found"),
        (pod("Pending", waits("ContainerCreating")), Phase.PENDING, None, "starts on node-1"),
        (pod("Pending", waits("ImagePullBackOff")), Phase.PENDING, None, "image team:1 cannot be had"),
        (pod("Pending", waits("ErrImagePull"), at="2026-11-29T11:56:00Z"), Phase.ENDED, None, "cannot be had"),
        (pod("Pending", waits("InvalidImageName")), Phase.ENDED, None, "InvalidImageName"),
        (pod("Pending", waits("CreateContainerConfigError"), at="2026-11-29T11:56:00Z"), Phase.ENDED, None, "secret"),
        (pod("Pending", waits("ContainerCreating"), at="2026-11-29T10:00:00Z"), Phase.PENDING, None, "starts on"),
    ],
)
def test_a_pod_is_seen(one: dict[str, Any], phase: Phase, code: int | None, words: str) -> None:
    seen = kubernetes_sight.of_pods([one], [], NOW)
    assert (seen.phase, seen.code) == (phase, code)
    assert words in seen.reason


def event(reason: str, first: float, last: float | None = None) -> dict[str, Any]:
    """Return an event of a pod, from seconds ago on until seconds ago."""
    about = {"involvedObject": {"uid": "u"}, "reason": reason, "message": "to pull"}
    times = {"firstTimestamp": _stamp(first), "lastTimestamp": _stamp(first if last is None else last)}
    return {"metadata": {"name": reason}, **about, **times}


def _stamp(ago: float) -> str:
    return datetime.fromtimestamp(NOW - ago, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def made_ago(seconds: float, state: dict[str, Any], node: float | None = None) -> dict[str, Any]:
    """Return a pod that waits, made and given a node seconds ago."""
    one = pod("Pending", state, at=_stamp(seconds))
    when = _stamp(seconds if node is None else node)
    one["status"]["conditions"] = [{"type": "PodScheduled", "status": "True", "lastTransitionTime": when}]
    return one


CREATING, PULL = waits("ContainerCreating"), waits("ErrImagePull")


@pytest.mark.parametrize(
    ("one", "events", "phase"),
    [
        # A volume that came late, and an image that is large.
        (made_ago(200, CREATING), [event("FailedMount", 190), event("Pulling", 170)], Phase.PENDING),
        (made_ago(400, CREATING), [event("FailedMount", 390, 200)], Phase.PENDING),
        (made_ago(400, CREATING), [event("FailedMount", 390, 20)], Phase.ENDED),
        (made_ago(400, CREATING), [event("FailedMount", 90, 20)], Phase.PENDING),
        # A node that came late, and a registry that is busy.
        (made_ago(610, PULL, 10), [event("Pulling", 8), event("Failed", 5)], Phase.PENDING),
        (made_ago(610, PULL, 10), [], Phase.PENDING),
        (made_ago(610, PULL, 300), [event("Pulling", 298, 20), event("Failed", 290, 15)], Phase.ENDED),
        # The next try takes its time.
        (made_ago(610, PULL, 300), [event("Failed", 290, 190), event("Pulling", 298, 170)], Phase.PENDING),
        # An init container has run for long.
        (made_ago(900, PULL), [event("Started", 890), event("Pulling", 30), event("Failed", 5)], Phase.PENDING),
        # At each try the node says that the image is there.
        (made_ago(400, waits("CreateContainerConfigError")), [event("Failed", 390, 9), event("Pulled", 395, 9)],
         Phase.ENDED),
    ],
)  # fmt: skip
def test_a_start_is_hopeless_once_its_trouble_lasts(
    one: dict[str, Any], events: list[dict[str, Any]], phase: Phase
) -> None:
    assert kubernetes_sight.of_pods([one], events, NOW).phase is phase


def beside(state: dict[str, Any], phase: str, proxy: dict[str, Any]) -> dict[str, Any]:
    """Return a pod of the flow behind a proxy, which a mesh may put first."""
    one = pod(phase, state)
    one["spec"]["containers"].insert(0, {"name": "istio-proxy", "image": "proxy:1"})
    one["status"]["containerStatuses"].insert(0, {"name": "istio-proxy", "state": proxy})
    return one


@pytest.mark.parametrize(
    ("one", "code", "lingers"),
    [
        (beside(ended(0, "Completed"), "Running", {"running": {}}), 0, True),
        (beside(ended(3), "Running", {"running": {}}), 3, True),
        (beside(ended(0, "Completed"), "Pending", waits("ErrImagePull")), 0, True),
        (beside(ended(0, "Completed"), "Failed", ended(137)), 0, False),
        (beside(ended(3), "Failed", ended(0, "Completed")), 3, False),
    ],
)
def test_a_job_is_over_with_its_flow_whatever_else_is_in_the_pod(
    one: dict[str, Any], code: int, lingers: bool
) -> None:
    seen = kubernetes_sight.of_pods([one], [], NOW)
    assert (seen.phase, seen.code, seen.reason) == (Phase.ENDED, code, "exit 3" if code else "")
    assert kubernetes_sight.lingers(one) is lingers


def test_a_flow_beside_a_proxy_that_has_ended_runs_on() -> None:
    seen = kubernetes_sight.of_pods([beside({"running": {}}, "Running", ended(1))], [], NOW)
    assert (seen.phase, seen.code) == (Phase.RUNNING, None)


def test_a_pod_that_took_the_place_of_another_counts_as_a_restart() -> None:
    seen = kubernetes_sight.of_pods([pod("Failed", ended(1)), pod("Running", at="2026-11-29T11:59:55Z")], [], NOW)
    assert (seen.phase, seen.restarts) == (Phase.RUNNING, 1)


def test_a_job_without_a_pod_waits_or_is_gone() -> None:
    job: dict[str, Any] = {"metadata": {"name": "j", "uid": "ju"}, "spec": {}, "status": {}}
    assert kubernetes_sight.of_job(job, "j", [], NOW).phase is Phase.PENDING
    job["status"] = {"conditions": [{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded"}]}
    assert kubernetes_sight.of_job(job, "j", [], NOW)[:2] == (
        Phase.GONE, "its pod is gone (BackoffLimitExceeded): deleted, or lost with its node",
    )  # fmt: skip
    assert "it was deleted" in kubernetes_sight.of_job(None, "j", [], NOW).reason


# -- the log ---------------------------------------------------------------------------------------

LINES = [
    "2026-11-29T12:00:00.1Z one", "2026-11-29T12:00:01.1Z two", "2026-11-29T12:00:01.1Z two", "2026-11-29T12:00:01.9Z",
    "2026-11-29T12:00:02.5Z three words here",
]  # fmt: skip
TEXTS = ["one", "two", "two", "", "three words here"]


def test_lines_come_once_wherever_the_stream_is_cut() -> None:
    """sinceTime counts seconds: all lines of the last second come again."""
    for first in range(len(LINES) + 1):
        for second in range(first, len(LINES) + 1):
            cursor, told = Cursor(), []
            for upto in (first, second, len(LINES)):
                since = cursor.begin().get("sinceTime", "")[:19]
                again = [line for line in LINES[:upto] if line[:19] >= since]
                told += [text for line in again if (text := cursor.take(line)) is not None]
            assert told == TEXTS


def test_a_server_without_stamps_sends_all_again_and_lines_come_once() -> None:
    cursor, told = Cursor(), []
    for upto in (2, 2, 5):
        assert "sinceTime" not in cursor.begin()
        told += [text for line in ["a", "a", "b c", "", "d"][:upto] if (text := cursor.take(line)) is not None]
    assert told == ["a", "a", "b c", "", "d"]
