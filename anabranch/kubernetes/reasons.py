"""Why a Job or a pod waits, or how it ended, as a sentence and a kind: pure functions over objects of the API.

Decided by status; events explain, since they are dropped, counted together, and forgotten after an hour. Init
containers are looked at first: their failure hides behind PodInitializing.
"""

from __future__ import annotations

import re
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple

from anabranch.kubernetes.refusals import quota_words

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    Object = Mapping[str, Any]

FLOW = "flow"  # the container of a job's pod whose end is the job's; others beside it, such as a mesh's proxy, may stay
LOST_AFTER = 30.0  # seconds past its deletion after which a pod that still runs is taken for lost with its node
_QUEUE = "kueue.x-k8s.io/queue-name"
_NODE_REASONS = ("Evicted", "OutOf", "Shutdown", "NodeShutdown", "NodeLost", "NodeAffinity", "Terminated", "Preempting")
_INTERRUPTIONS = {
    "PreemptionByScheduler": "a pod of higher priority took its place",
    "PreemptionByKubeScheduler": "a pod of higher priority took its place",
    "EvictionByEvictionAPI": "it was evicted, as when a node is drained or goes away",
    "DeletionByTaintManager": "its node got a taint that it does not tolerate",
    "DeletionByPodGC": "its node is gone",
    "TerminationByKubelet": "its node shut down, or ran short of memory or disk",
}
_IMAGE = {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError",
          "RegistryUnavailable", "ErrImagePullBackOff"}  # fmt: skip


_MOUNT = ("FailedMount", "FailedAttachVolume")
_TROUBLES = (*_MOUNT, "Failed", "BackOff", "InspectFailed", "ErrImageNeverPull")
MOUNT_AGAIN = 150.0  # seconds without trouble after which a volume is there: a node tries again within 122


class Kind(Enum):
    """What a reason is about."""

    FINE = "fine"  # it runs, or has ended well
    STARTING = "starting"
    QUEUED = "queued"  # no fault: something lets it wait
    QUOTA = "quota"
    REFUSED = "refused"  # a policy, an account
    UNSCHEDULABLE = "unschedulable"
    IMAGE = "image"
    SETTINGS = "settings"  # a secret or a ConfigMap
    COMMAND = "command"
    VOLUME = "volume"
    CRASHES = "crashes"  # again and again
    MEMORY = "memory"
    NODE = "node"  # the node took it back
    INTERRUPTED = "interrupted"  # the cluster ended it, not its code
    LOST = "lost"  # with its node
    TIME = "time"  # its own was over
    EXIT = "exit"  # its program ended so


class Reason(NamedTuple):
    """Why something is as it is.

    Attributes:
        text: a sentence's part; "" for what is fine.
        code: the exit code of the container that has ended; None: none has, or it is not known.
    """

    kind: Kind
    text: str = ""
    code: int | None = None


def of_job(job: Object, pods: Iterable[Object], events: Sequence[Object], now: float) -> Reason:
    """Return why a Job is as it is.

    Args:
        pods: its own.
        events: of the Job and of its pods.
        now: Unix seconds.
    """
    if newest := max(pods, key=created, default=None):
        return of_pod(newest, events, now)
    queue = job["metadata"].get("labels", {}).get(_QUEUE, "")
    if job["spec"].get("suspend"):
        return Reason(Kind.QUEUED, f"it waits in queue {queue}" if queue else "the Job is suspended")
    if (refused := of_maker(job, events)) is not None:
        return refused
    failed = condition(job, "Failed")
    if failed.get("status") == "True":
        told = _told(failed)
        return Reason(Kind.LOST, f"its pod is gone{f' ({told})' if told else ''}: deleted, or lost with its node")
    if condition(job, "Complete").get("status") == "True":
        return Reason(Kind.FINE, code=0)
    return Reason(Kind.STARTING, "its pod is being made")


def of_maker(one: Object, events: Iterable[Object]) -> Reason | None:
    """Return why a Job or a ReplicaSet gets no pods, by its events; None where none says so."""
    for event in _about(one, events, "FailedCreate"):
        told = " ".join(str(event.get("message", "")).split())
        return of_refusal(told.removeprefix("Error creating: "))
    return None


def of_refusal(told: str) -> Reason:
    """Return why a Job, a ReplicaSet or a Deployment gets no pod, by the words in which it was refused."""
    if quota := quota_words(told):
        return Reason(Kind.QUOTA, f"{quota}: it gets a pod once something else has ended")
    return Reason(Kind.REFUSED, f"the cluster refuses its pod: {told}")


def of_pod(pod: Object, events: Sequence[Object], now: float) -> Reason:
    """Return why a pod is as it is.

    Args:
        events: of this pod and others.
        now: Unix seconds.
    """
    status = pod.get("status") or {}
    why = str(status.get("reason") or "")
    if status.get("phase") == "Failed" and why.startswith(_NODE_REASONS):
        return Reason(Kind.NODE, f"its node {_node(pod)} took it back: {_told(status)}", _code(pod))
    if status.get("phase") == "Failed" and why == "DeadlineExceeded":
        return Reason(Kind.TIME, f"its time was over: {_told(status)}", _code(pod))
    if (interrupted := _interrupted(pod)) is not None:
        return interrupted
    over = flow_ended(pod)
    if is_lost(pod, now) and not over:
        return Reason(Kind.LOST, f"its node {_node(pod)} does not answer any more: the pod is lost with it")
    for spec, one in _containers(pod):
        counts = not over or one.get("name") == FLOW
        if counts and (found := _of_container(spec, one, pod, events)) is not None:
            return found
    if over:
        return Reason(Kind.FINE, code=_code(pod))
    scheduled = condition(pod, "PodScheduled")
    if scheduled.get("status") == "False":
        return _unscheduled(pod, scheduled, events)
    if status.get("phase") in ("Running", "Succeeded"):
        return Reason(Kind.FINE, code=_code(pod))
    if status.get("phase") == "Failed":
        return Reason(Kind.EXIT, _told(status) or "the pod failed, and says not why", _code(pod))
    if (event := _mount_trouble(pod, events, now)) is not None:
        return Reason(Kind.VOLUME, f"a volume cannot be mounted: {_said(event)}")
    return Reason(Kind.STARTING, f"its pod starts on {_node(pod)}" if _node(pod) else "its pod waits for a node")


def waits_since(pod: Object, events: Iterable[Object]) -> float:
    """Return since when a pod cannot start for what is wrong with it, in Unix seconds, as far as it tells.

    Not before it had a node, nor before its last container started. Where events tell of trouble, from the first one
    on; while an image is being pulled once more, from the begin of that.
    """
    scheduled = condition(pod, "PodScheduled")
    node = scheduled.get("lastTransitionTime") if scheduled.get("status") == "True" else None
    begun = max(created(pod)[0], seconds_of(node) if node else 0.0)
    events = list(events)
    started = max(map(_last, _about(pod, events, "Started")), default=0.0)
    pulling = max(map(_last, _about(pod, events, "Pulling")), default=0.0)
    troubles = [one for one in _about(pod, events, *_TROUBLES) if _last(one) >= max(started, pulling)]
    return max(begun, started, min(map(_first, troubles), default=pulling))


def flow_ended(pod: Object) -> bool:
    """Return whether the container `flow` of a pod has ended for good, whatever others beside it do."""
    if pod["spec"].get("restartPolicy", "Never") != "Never":
        return False
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    return any(one["name"] == FLOW and (one.get("state") or {}).get("terminated") for one in statuses)


def is_lost(pod: Object, now: float) -> bool:
    """Return whether a pod is to be gone for a while, and its node has not said that it is."""
    deleted = pod["metadata"].get("deletionTimestamp")
    over = (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")
    return bool(deleted) and not over and now > seconds_of(deleted) + LOST_AFTER


def condition(one: Object, kind: str) -> Object:
    """Return a condition of an object by its type; empty where it has none."""
    conditions = (one.get("status") or {}).get("conditions") or ()
    return next((found for found in conditions if found.get("type") == kind), {})


def created(one: Object) -> tuple[float, str]:
    """Return what objects are ordered by: when they were made, then their names."""
    meta = one["metadata"]
    return (seconds_of(meta.get("creationTimestamp") or "1970-01-01T00:00:00Z"), str(meta.get("name")))


def seconds_of(stamp: str) -> float:
    """Return a time of the API as Unix seconds."""
    return datetime.fromisoformat(stamp.replace("Z", "+00:00")).timestamp()


def killed_words(code: int) -> str:
    """Return what an exit code of a container means: above 128 a signal ended it."""
    if code == 137:
        return "exit 137: killed (SIGKILL): for memory, by its node, or by its deletion; the node does not say"
    if code == 143:
        return "exit 143: told to end (SIGTERM), as by a deletion or a node that goes away"
    if code in (126, 127):
        return f"exit {code}: the command is not in the image, or cannot be executed"
    return f"exit {code}"


# -- containers ------------------------------------------------------------------------------------


def _containers(pod: Object) -> list[tuple[Object, Object]]:
    """Return specification and status of each container, in the order of blame: init containers first."""
    found = []
    for specs, statuses in (("initContainers", "initContainerStatuses"), ("containers", "containerStatuses")):
        by_name = {one["name"]: one for one in (pod.get("status") or {}).get(statuses) or ()}
        found += [(spec, by_name.get(spec["name"], {})) for spec in pod["spec"].get(specs) or ()]
    return found


def _of_container(spec: Object, one: Object, pod: Object, events: Sequence[Object]) -> Reason | None:
    state = one.get("state") or {}
    name = f"container {spec['name']}: " if len(_containers(pod)) > 1 else ""
    if ended := state.get("terminated"):
        return _of_end(name, spec, ended)
    waiting = state.get("waiting") or {}
    why, told = str(waiting.get("reason") or ""), str(waiting.get("message") or "")
    if why in _IMAGE:
        said = next((_said(event) for event in _about(pod, events, "Failed") if "pull" in _said(event).lower()), told)
        return Reason(Kind.IMAGE, f"{name}image {spec.get('image', '')} cannot be had ({why}): {said}")
    if why == "CreateContainerConfigError" and ("runAsNonRoot" in told or "non-root" in told):
        return Reason(Kind.SETTINGS, f"{name}the image runs as root, or as a user without a number: {told}")
    if why == "CreateContainerConfigError":
        return Reason(Kind.SETTINGS, f"{name}a secret or ConfigMap is missing: {told}")
    if why in ("CreateContainerError", "RunContainerError", "StartError"):
        return Reason(Kind.COMMAND, f"{name}it cannot be started ({why}): {told}")
    if why == "CrashLoopBackOff":
        last = (one.get("lastState") or {}).get("terminated") or {}
        died = f"{name}it died {one.get('restartCount', 0)} times"
        end = _of_end("", spec, last) if last else None
        return Reason(Kind.CRASHES, f"{died}, the last time: {end.text}" if end else died, end.code if end else None)
    return None


def _of_end(name: str, spec: Object, ended: Object) -> Reason | None:
    code = int(ended.get("exitCode", 0))
    if ended.get("reason") == "OOMKilled":
        limit = ((spec.get("resources") or {}).get("limits") or {}).get("memory", "")
        needed = f"more memory than its limit of {limit}" if limit else "more memory than its node had"
        return Reason(Kind.MEMORY, f"{name}it needed {needed} (OOMKilled)", code)
    if code == 0:
        return None
    if code in (126, 127) or ended.get("reason") in ("ContainerCannotRun", "StartError"):
        told = f": {ended['message']}" if ended.get("message") else ""
        return Reason(Kind.COMMAND, f"{name}{killed_words(code)}{told}", code)
    return Reason(Kind.EXIT, f"{name}{killed_words(code)}", code)


def _code(pod: Object) -> int | None:
    """Return the exit code of a pod's container `flow`, of its first one where it has none; None while that runs."""
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    one: Object = next((one for one in statuses if one["name"] == FLOW), next(iter(statuses), {}))
    ended = (one.get("state") or {}).get("terminated")
    return int(ended["exitCode"]) if ended else None


# -- pods ------------------------------------------------------------------------------------------


def _interrupted(pod: Object) -> Reason | None:
    found = condition(pod, "DisruptionTarget")
    over = (pod.get("status") or {}).get("phase") == "Failed" or pod["metadata"].get("deletionTimestamp")
    if found.get("status") != "True" or not over:
        return None
    why = str(found.get("reason") or "")
    words = _INTERRUPTIONS.get(why, str(found.get("message") or why))
    return Reason(Kind.INTERRUPTED, f"the cluster interrupted it, not its code: {words} ({why})", _code(pod))


def _unscheduled(pod: Object, scheduled: Object, events: Sequence[Object]) -> Reason:
    if scheduled.get("reason") == "SchedulingGated":
        queue = pod["metadata"].get("labels", {}).get(_QUEUE, "")
        return Reason(Kind.QUEUED, f"it waits in queue {queue}" if queue else "a gate holds it back: no fault")
    told = str(scheduled.get("message") or "")
    coming = next((_said(event) for event in _about(pod, events, "TriggeredScaleUp")), "")
    way = f". A node is coming: {coming}" if coming else ". Ask for less, or look at `kubectl get nodes`"
    return Reason(Kind.UNSCHEDULABLE, f"no node fits: {told}{way}")


def _about(one: Object, events: Iterable[Object], *reasons: str) -> list[Object]:
    """Return the events of an object for these reasons, the last one first."""
    uid = one["metadata"]["uid"]
    found = [event for event in events if _uid(event) == uid and event.get("reason") in reasons]
    return sorted(found, key=_when, reverse=True)


def _mount_trouble(pod: Object, events: Iterable[Object], now: float) -> Object | None:
    """Return the event of a volume that still cannot be mounted: images are pulled once all volumes are there."""
    events = list(events)
    there = max(map(_last, _about(pod, events, "Pulling", "Pulled")), default=0.0)
    last = next(iter(_about(pod, events, *_MOUNT)), None)
    return last if last is not None and _last(last) > max(there, now - MOUNT_AGAIN) else None


def _last(event: Object) -> float:
    return _seconds(_when(event))


def _first(event: Object) -> float:
    return _seconds(str(event.get("firstTimestamp") or event.get("eventTime") or _when(event)))


def _seconds(stamp: str) -> float:
    return seconds_of(stamp) if stamp else 0.0


def _uid(event: Object) -> str:
    return str((event.get("involvedObject") or {}).get("uid"))


def _when(event: Object) -> str:
    series = event.get("series") or {}
    stamp = series.get("lastObservedTime") or event.get("lastTimestamp") or event.get("eventTime")
    return str(stamp or event["metadata"].get("creationTimestamp") or "")


def _said(event: Object) -> str:
    return " ".join(re.sub(r"\s+", " ", str(event.get("message") or "")).split())


def _told(one: Object) -> str:
    return ": ".join(str(one[name]) for name in ("reason", "message") if one.get(name))


def _node(pod: Object) -> str:
    return str(pod["spec"].get("nodeName") or "")
