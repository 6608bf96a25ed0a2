"""Why a Job or a pod is as it is, row by row of what real clusters show, as their API writes it."""

from __future__ import annotations

from typing import Any

import pytest

from anabranch.kubernetes import reasons
from anabranch.kubernetes.reasons import Kind

NOW = reasons.seconds_of("2026-11-29T12:00:00Z")


def job(**given: Any) -> dict[str, Any]:
    meta = {"name": "survey-1", "uid": "job-uid", "labels": given.pop("labels", {})}
    return {"metadata": meta, "spec": {"suspend": given.pop("suspend", False)}, "status": given}


def pod(phase: str = "Pending", container: Any = None, init: Any = None, **given: Any) -> dict[str, Any]:
    limits = {"limits": {"memory": "2Gi"}}
    spec: dict[str, Any] = {"containers": [{"name": "flow", "image": "registry/team:1", "resources": limits}]}
    spec["nodeName"] = given.pop("node", "")
    status: dict[str, Any] = {"phase": phase, "containerStatuses": [{"name": "flow", **(container or {})}]}
    if init is not None:
        spec["initContainers"] = [{"name": "fetch", "image": "registry/fetch:1"}]
        status["initContainerStatuses"] = [{"name": "fetch", **init}]
    meta = {"name": "survey-1-x", "uid": "pod-uid", "creationTimestamp": "2026-11-29T11:59:00Z"}
    meta |= given.pop("meta", {})
    return {"metadata": meta, "spec": spec, "status": {**status, **given}}


def event(reason: str, message: str, uid: str = "pod-uid", at: str = "2026-11-29T11:59:10Z") -> dict[str, Any]:
    about = {"involvedObject": {"uid": uid}, "reason": reason, "message": message, "lastTimestamp": at}
    return {"metadata": {"name": f"e-{reason}"}, **about}


def waits(reason: str, message: str = "") -> dict[str, Any]:
    return {"state": {"waiting": {"reason": reason, "message": message}}}


def ended(code: int, reason: str = "Error", message: str = "") -> dict[str, Any]:
    return {"state": {"terminated": {"exitCode": code, "reason": reason, "message": message}}}


def target(reason: str) -> list[dict[str, Any]]:
    return [{"type": "DisruptionTarget", "status": "True", "reason": reason, "message": "in its own words"}]


UNSCHEDULABLE = [{
    "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
    "message": "0/3 nodes are available: 3 Insufficient cpu.",
}]  # fmt: skip
GATED = [{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated", "message": "gated"}]
PULL = event("Failed", 'Failed to pull image "registry/team:1": manifest unknown')
FULL = 'Error creating: pods "s-" is forbidden: exceeded quota: few, requested: pods=1, used: pods=0, limited: pods=0'


@pytest.mark.parametrize(
    ("one", "events", "kind", "words"),
    [
        (pod(container=waits("ErrImagePull", "rpc error")), [PULL], Kind.IMAGE, "registry/team:1 cannot be had (Err"),
        (pod(container=waits("ImagePullBackOff", "Back-off")), [PULL], Kind.IMAGE, "manifest unknown"),
        (pod(container=waits("InvalidImageName", "couldn't parse")), [], Kind.IMAGE, "couldn't parse"),
        (pod(container=waits("ErrImageNeverPull", "is not present")), [], Kind.IMAGE, "is not present"),
        (pod(init=waits("ImagePullBackOff", "Back-off"), container=waits("PodInitializing")), [], Kind.IMAGE,
         "container fetch: image registry/fetch:1"),
        (pod(container=waits("CreateContainerConfigError", 'secret "s3" not found')), [], Kind.SETTINGS,
         'a secret or ConfigMap is missing: secret "s3" not found'),
        (pod(container=waits("CreateContainerConfigError", "container has runAsNonRoot and image runs")), [],
         Kind.SETTINGS, "the image runs as root, or as a user without a number: container has"),
        (pod("Failed", reason="DeadlineExceeded", message="Pod was active on the node longer"), [], Kind.TIME,
         "its time was over: DeadlineExceeded: Pod was active"),
        (pod(container=waits("CreateContainerError", "no such file")), [], Kind.COMMAND, "cannot be started"),
        (pod("Failed", ended(127, "ContainerCannotRun", "python: not found")), [], Kind.COMMAND, "python: not found"),
        (pod("Failed", ended(128, "StartError", "exec: no such file")), [], Kind.COMMAND, "exec: no such file"),
        (pod("Failed", ended(126)), [], Kind.COMMAND, "exit 126: the command is not in the image"),
        (pod(container=waits("ContainerCreating"), node="n1"), [event("FailedMount", 'claim "data" not found')],
         Kind.VOLUME, 'a volume cannot be mounted: claim "data" not found'),
        (pod(container=waits("ContainerCreating"), node="n1"), [], Kind.STARTING, "its pod starts on n1"),
        (pod("Running", {**waits("CrashLoopBackOff"), "restartCount": 4, "lastState": ended(3)["state"]}), [],
         Kind.CRASHES, "it died 4 times, the last time: exit 3"),
        (pod("Failed", ended(137, "OOMKilled")), [], Kind.MEMORY, "more memory than its limit of 2Gi"),
        (pod("Running", {**waits("CrashLoopBackOff"), "lastState": ended(137, "OOMKilled")["state"]}), [],
         Kind.CRASHES, "OOMKilled"),
        (pod("Failed", ended(137)), [], Kind.EXIT, "the node does not say"),
        (pod("Failed", ended(143)), [], Kind.EXIT, "told to end"),
        (pod("Failed", ended(3)), [], Kind.EXIT, "exit 3"),
        (pod("Failed", reason="Evicted", message="The node was low on resource: memory.", node="n2"), [], Kind.NODE,
         "its node n2 took it back: Evicted: The node was low"),
        (pod("Failed", reason="OutOfcpu", message="Node didn't have enough"), [], Kind.NODE, "OutOfcpu"),
        (pod("Failed", reason="NodeLost", node="n1"), [], Kind.NODE, "NodeLost"),
        (pod("Failed", ended(137), conditions=target("PreemptionByScheduler")), [], Kind.INTERRUPTED, "of higher"),
        (pod("Failed", ended(0, "Completed"), conditions=target("EvictionByEvictionAPI")), [], Kind.INTERRUPTED,
         "not its code: it was evicted"),
        (pod("Failed", conditions=target("SomethingNew")), [], Kind.INTERRUPTED, "in its own words"),
        (pod(conditions=UNSCHEDULABLE), [], Kind.UNSCHEDULABLE, "3 Insufficient cpu.. Ask for less"),
        (pod(conditions=UNSCHEDULABLE), [event("TriggeredScaleUp", "pod triggered scale-up: [{gpu 0->1}]")],
         Kind.UNSCHEDULABLE, "A node is coming: pod triggered scale-up"),
        (pod(conditions=GATED, meta={"labels": {"kueue.x-k8s.io/queue-name": "team"}}), [], Kind.QUEUED, "queue team"),
        (pod("Running", meta={"deletionTimestamp": "2026-11-29T11:50:00Z"}, node="n1"), [], Kind.LOST,
         "its node n1 does not answer"),
        (pod("Running", meta={"deletionTimestamp": "2026-11-29T11:59:59Z"}), [], Kind.FINE, ""),
        (pod("Running", {"state": {"running": {}}}), [], Kind.FINE, ""),
        (pod("Succeeded", ended(0, "Completed")), [], Kind.FINE, ""),
        (pod(), [], Kind.STARTING, "waits for a node"),
        (pod(), [event("FailedMount", "of another", uid="another")], Kind.STARTING, "waits for a node"),
    ],
)  # fmt: skip
def test_a_pod(one: dict[str, Any], events: list[dict[str, Any]], kind: Kind, words: str) -> None:
    found = reasons.of_pod(one, events, NOW)
    assert found.kind is kind, found
    assert words in found.text


@pytest.mark.parametrize(
    ("one", "events", "kind", "words"),
    [
        (job(), [event("FailedCreate", FULL, "job-uid")], Kind.QUOTA, "quota few is full (pods=0 used of pods=0)"),
        (job(), [event("FailedCreate", 'Error creating: pods "x" is forbidden: violates PodSecurity "restricted"',
                       "job-uid")], Kind.REFUSED, 'refuses its pod: pods "x" is forbidden: violates PodSecurity'),
        (job(suspend=True, labels={"kueue.x-k8s.io/queue-name": "gpu"}), [], Kind.QUEUED, "it waits in queue gpu"),
        (job(suspend=True), [], Kind.QUEUED, "suspended"),
        (job(), [], Kind.STARTING, "its pod is being made"),
        (job(conditions=[{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded"}]), [], Kind.LOST,
         "its pod is gone (BackoffLimitExceeded)"),
        (job(conditions=[{"type": "Complete", "status": "True"}]), [], Kind.FINE, ""),
    ],
)  # fmt: skip
def test_a_job_without_a_pod(one: dict[str, Any], events: list[dict[str, Any]], kind: Kind, words: str) -> None:
    found = reasons.of_job(one, [], events, NOW)
    assert found.kind is kind
    assert words in found.text


def test_the_newest_pod_of_a_job_counts_and_the_last_event_of_a_kind() -> None:
    old = pod("Failed", ended(3))
    new = pod("Failed", ended(5), meta={"creationTimestamp": "2026-11-29T11:59:30Z", "name": "survey-1-y"})
    assert reasons.of_job(job(), [new, old], [], NOW) == (Kind.EXIT, "exit 5", 5)
    events = [event("FailedCreate", f"Error creating: {at}", "job-uid", at) for at in ("2026-11-29T11:59:40Z", "2026")]
    assert reasons.of_job(job(), [], events, NOW).text.endswith("2026-11-29T11:59:40Z")


def test_exit_codes_travel_with_the_reason() -> None:
    assert reasons.of_pod(pod("Succeeded", ended(0)), [], NOW).code == 0
    assert reasons.of_pod(pod("Failed", ended(137, "OOMKilled")), [], NOW).code == 137
    assert reasons.of_pod(pod("Running", {"state": {"running": {}}}), [], NOW).code is None
