"""The manifest of a job: one object of the kind Job, in which all that the pod needs travels.

    script (variables, `cd`, the command) --an annotation of the pod--> a variable --> sh

An annotation comes to a variable of the container literally, on each server and without a volume: arguments and plain
values of variables would have their `$(NAME)` and `$$` replaced by Kubernetes. So there is no second object that could
be missing; but for files that are too large for a variable. These lie in a ConfigMap that the Job owns.
"""

from __future__ import annotations

import math
from copy import deepcopy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from anabranch.core import pod_job
from anabranch.core.errors import LaunchError, MissingExtraError
from anabranch.kubernetes.api import OURS
from anabranch.kubernetes.names import JOB, dns_name, label_value
from anabranch.kubernetes.ours import OWNER, OWNER_NAME, STAYS, locked_down, not_root
from anabranch.kubernetes.reasons import FLOW
from anabranch.launch import script
from anabranch.launch.kubernetes_options import Options, options, toleration

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from anabranch.core.launching import Job

JOB_LABEL = f"{OURS}job"
CONTAINER = FLOW
_SCRIPT = f"{OURS}script"
_RUN = 's="$ANABRANCH_SCRIPT"; unset ANABRANCH_SCRIPT; eval "$s"'
_DEADLINE = 60  # seconds past the walltime, which the driver keeps itself
_NAMED = {"containers": "name", "initContainers": "name", "env": "name", "volumes": "name", "imagePullSecrets": "name",
          "volumeMounts": "mountPath", "ports": "containerPort"}  # fmt: skip


def manifest(job: Job, template: Mapping[str, Any], without: Collection[str] = ()) -> dict[str, Any]:
    """Return the Job for a job.

    Args:
        template: a pod's fields, on which those of the job are laid; see `merged`.
        without: parts that are left out.

    Raises:
        LaunchError: the job asks for what a pod cannot be, or has no image; says what to do.
    """
    job, parts = parted(job)
    text = script.script(job, ())
    if len(text.encode()) > pod_job.LONGEST + 15_000:
        raise LaunchError(f"the script of job {job.name!r} has {len(text.encode()):,} bytes: no variable can hold it")
    if job.resources.nodes > 1:
        raise LaunchError(
            f"a job of Kubernetes is one pod, and job {job.name!r} asks for {job.resources.nodes} nodes: leave --nodes "
            "out, and let the flow run on a KubernetesCluster, whose workers are pods of their own"
        )
    asked = options(job.options)
    pod = merged(template, _pod(job, asked, text, without))
    flow = next(one for one in pod["spec"]["containers"] if one["name"] == CONTAINER)
    if not flow.get("image"):
        raise LaunchError("a job of Kubernetes needs an image with anabranch in it: --image=registry/name:tag")
    labels = _labels(job, asked)
    meta: dict[str, Any] = {"name": dns_name(job.name, JOB), "labels": labels, "annotations": dict(STAYS)}
    if asked.namespace:
        meta["namespace"] = asked.namespace
    if parts:
        flow["envFrom"] = [*flow.get("envFrom", ()), {"configMapRef": {"name": meta["name"]}}]
    # No podFailurePolicy: with it a dead node's pod is waited for, for ever. Retries are the flow's own.
    spec = {"backoffLimit": 0, "ttlSecondsAfterFinished": int(asked.ttl), "template": pod}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": meta, "spec": spec}


def parted(job: Job) -> tuple[Job, dict[str, str]]:
    """Return the job without a parcel that its script cannot hold, and that parcel's parts."""
    text = job.environment.get(pod_job.VARIABLE, "")
    if len(text) <= pod_job.LONGEST:
        return job, {}
    rest = {name: value for name, value in job.environment.items() if name != pod_job.VARIABLE}
    return replace(job, environment=rest), pod_job.parts_of(text)


def config_map(body: Mapping[str, Any], parts: Mapping[str, str]) -> dict[str, Any]:
    """Return the ConfigMap of a Job with the parts of its parcel: its pod waits for it."""
    meta = {name: body["metadata"][name] for name in ("name", "namespace", "labels") if name in body["metadata"]}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": dict(parts)}


def of_owner(one: Mapping[str, Any], made: Mapping[str, Any]) -> dict[str, Any]:
    """Return an object that goes with a Job that has been made."""
    meta = made["metadata"]
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": meta["name"], "uid": meta["uid"]}
    return {**one, "metadata": {**one["metadata"], "ownerReferences": [owner]}}


def again(bodies: Sequence[Mapping[str, Any]], uid: str, after: str) -> list[dict[str, Any]]:
    """Return a job's objects for another pod, that goes on with its run.

    Args:
        uid: of the Job that it follows. The name is made of it, so that two programs do not make two.
        after: the incarnation that had the run.
    """
    found = [deepcopy(dict(one)) for one in bodies]
    job = found[0]
    name = dns_name(f"{job['metadata']['name']}-{uid[:8]}", JOB)
    label = label_value(f"{job['metadata']['labels'][JOB_LABEL]}-{uid[:8]}")
    pod = job["spec"]["template"]
    flow = next(one for one in pod["spec"]["containers"] if one["name"] == CONTAINER)
    for source in flow.get("envFrom", ()):
        if source.get("configMapRef", {}).get("name") == job["metadata"]["name"]:
            source["configMapRef"]["name"] = name
    flow["env"].append({"name": pod_job.AFTER, "value": after})
    for one in (*found, pod):
        one["metadata"]["labels"][JOB_LABEL] = label
    for one in found:
        one["metadata"]["name"] = name
    return found


def _labels(job: Job, asked: Options) -> dict[str, str]:
    own = {JOB_LABEL: label_value(job.name), OWNER: OWNER_NAME}
    return dict(one.split("=", 1) for one in asked.label) | own


def _pod(job: Job, asked: Options, text: str, without: Collection[str]) -> dict[str, Any]:
    shell = ["/bin/bash", "-l"] if job.prologue else ["/bin/sh"]
    container: dict[str, Any] = {"name": CONTAINER, "command": [*shell, "-c", _RUN], "env": _variables()}
    if asked.image:
        container["image"] = asked.image
    if asked.secret:
        container["envFrom"] = [{"secretRef": {"name": name}} for name in asked.secret]
    if resources := _resources(job, without):
        container["resources"] = resources
    # What the container leaves of its log goes into the pod's status: it is there after the log is gone.
    container["terminationMessagePolicy"] = "FallbackToLogsOnError"
    spec: dict[str, Any] = {"restartPolicy": "Never", "containers": [container]}
    if "security-context" not in without:
        container["securityContext"] = locked_down()
        spec["securityContext"] = not_root()
        if asked.user:
            spec["securityContext"]["runAsUser"] = int(asked.user)
    spec["automountServiceAccountToken"] = bool(asked.service_account)
    if asked.service_account:
        spec["serviceAccountName"] = asked.service_account
    if asked.node_selector:
        spec["nodeSelector"] = dict(one.split("=", 1) for one in asked.node_selector)
    if asked.toleration:
        spec["tolerations"] = [toleration(one) for one in asked.toleration]
    if asked.pull_secret:
        spec["imagePullSecrets"] = [{"name": name} for name in asked.pull_secret]
    if job.walltime:
        spec["activeDeadlineSeconds"] = math.ceil(job.walltime) + _DEADLINE
    return {"metadata": {"labels": _labels(job, asked), "annotations": {_SCRIPT: text, **STAYS}}, "spec": spec}


def _variables() -> list[dict[str, Any]]:
    """Return what the pod is told of itself: a dead run names its pod and its node."""
    paths = {
        "ANABRANCH_SCRIPT": f"metadata.annotations['{_SCRIPT}']", pod_job.POD_NAME: "metadata.name",
        pod_job.POD_NAMESPACE: "metadata.namespace", pod_job.POD_UID: "metadata.uid",
        pod_job.NODE: "spec.nodeName", pod_job.JOB_NAME: "metadata.labels['job-name']",
        pod_job.JOB_UID: "metadata.labels['controller-uid']",
    }  # fmt: skip
    return [{"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}} for name, path in paths.items()]


def _resources(job: Job, without: Collection[str]) -> dict[str, Any]:
    """Return what the pod gets: as much as it asks for and no more, so that it measures its own share rightly."""
    asked = job.resources
    wanted = {"cpu": str(asked.cpus)} if asked.cpus else {}
    wanted |= {"memory": f"{math.ceil(asked.memory / 2**20)}Mi"} if asked.memory else {}
    limits = {} if "limits" in without else dict(wanted)
    if asked.gpus:
        limits["nvidia.com/gpu"] = str(asked.gpus)  # a request of these is their limit
    return ({"requests": wanted} if wanted else {}) | ({"limits": limits} if limits else {})


def merged(base: Any, top: Any, name: str = "") -> Any:
    """Return fields laid on those of a template: dictionaries by key, lists of named things by name, others joined.

    A template's first container is that of the flow, unless one is called so.
    """
    if isinstance(base, dict) and isinstance(top, dict):
        return {key: merged(base.get(key), top.get(key), key) for key in dict.fromkeys([*base, *top])}
    if top is None:
        return base
    if not isinstance(base, list) or not isinstance(top, list) or name in ("command", "args"):
        return top
    if name == "containers" and base and not any(one.get("name") == CONTAINER for one in base):
        base = [{**base[0], "name": CONTAINER}, *base[1:]]
    if (by := _NAMED.get(name)) is None:
        return [*base, *(one for one in top if one not in base)]
    ours = {one.get(by): one for one in top}
    found = [merged(one, ours.pop(one.get(by), None)) for one in base]
    return [*found, *ours.values()]


def template_of(text: str, path: str) -> dict[str, Any]:
    """Return the fields of a pod in a file's text: of a Pod, a PodTemplate, or a Job.

    Raises:
        LaunchError: it is none of these; says so.
    """
    yaml = _yaml()
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise LaunchError(f"template {path} is not YAML: {' '.join(str(error).split())}") from error
    if isinstance(found, dict) and found.get("kind") == "Job":
        found = (found.get("spec") or {}).get("template")
    elif isinstance(found, dict) and found.get("kind") == "PodTemplate":
        found = found.get("template")
    if not isinstance(found, dict) or not isinstance(found.get("spec"), dict):
        raise LaunchError(f"template {path} is not a pod: its kind must be Pod, PodTemplate or Job, with a spec")
    meta = found.get("metadata") or {}
    kept = {name: meta[name] for name in ("labels", "annotations") if meta.get(name)}
    return {"metadata": kept, "spec": found["spec"]}


def _yaml() -> Any:
    try:
        import yaml  # type: ignore[import-untyped, unused-ignore]
    except ImportError:
        raise MissingExtraError("jobs of Kubernetes need pyyaml: pip install 'anabranch[kubernetes]'") from None
    return yaml


def of_text(text: str, path: str) -> list[dict[str, Any]]:
    """Return the objects of a text that `as_text` has made. Raises LaunchError for another."""
    yaml = _yaml()
    try:
        found = [one for one in yaml.safe_load_all(text) if one]
    except yaml.YAMLError as error:
        raise LaunchError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if not found or any(not isinstance(one, dict) or "metadata" not in one for one in found):
        raise LaunchError(f"{path} is not the manifest of a job")
    return found


def as_text(*bodies: Mapping[str, Any]) -> str:
    """Return a manifest as YAML; texts of several lines as such."""
    yaml = _yaml()

    class Dumper(yaml.SafeDumper):  # type: ignore[misc, name-defined]
        def increase_indent(self, flow: bool = False, indentless: bool = False) -> Any:
            return super().increase_indent(flow, False)

    def lines(dumper: Any, text: str) -> Any:
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)

    Dumper.add_representer(str, lines)
    told: str = yaml.dump_all([dict(one) for one in bodies], Dumper=Dumper, sort_keys=False, width=1000)
    return told
