"""What is seen of a job of Kubernetes, as a `Sight`: pure functions over its Job and its pods."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anabranch.batch.exits import exit_reason
from anabranch.core.launching import Phase, Sight
from anabranch.core.pod_job import LEFT, REPLACED
from anabranch.kubernetes import reasons
from anabranch.kubernetes.reasons import Kind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anabranch.kubernetes.reasons import Reason

    Object = Mapping[str, Any]

HOPELESS_AFTER = 180.0  # seconds for what may pass: a registry that is away, a secret that comes late
_HOPELESS = {Kind.IMAGE, Kind.SETTINGS, Kind.COMMAND, Kind.VOLUME}
_AT_ONCE = ("InvalidImageName", "ErrImageNeverPull")
_TAKEN = (Kind.NODE, Kind.INTERRUPTED, Kind.LOST)
_LEAVING = {
    LEFT: "its driver was told to end, and has left the run to be gone on with",
    REPLACED: "its pod was deleted, or lost with its node, and the one in its place does not run the flow twice",
}


def of_pods(pods: Sequence[Object], events: Sequence[Object], now: float) -> Sight:
    """Return what the pods of a job say; the newest counts, and each before it was replaced by the server."""
    newest = max(pods, key=reasons.created)
    found = reasons.of_pod(newest, events, now)
    phase = (newest.get("status") or {}).get("phase")
    restarts = len(pods) - 1
    over = phase in ("Failed", "Succeeded") or reasons.flow_ended(newest)
    if over and found.kind is Kind.FINE:
        return Sight(Phase.ENDED, "", 0, restarts=restarts)
    if over or found.kind is Kind.LOST:
        code = _signal(found.code)
        gone = taken(found, newest)
        return Sight(Phase.ENDED, _where(newest, _words(found, code)), code, restarts=restarts, taken=gone)
    if phase == "Running":
        going = "it is told to end" if newest["metadata"].get("deletionTimestamp") else found.text
        return Sight(Phase.RUNNING, going, restarts=restarts)
    if hopeless(found, newest, events, now):
        return Sight(Phase.ENDED, found.text, restarts=restarts)
    return Sight(Phase.PENDING, found.text, restarts=restarts)


def of_job(job: Object | None, name: str, events: Sequence[Object], now: float) -> Sight:
    """Return what a Job without pods says; None: there is no such Job any more."""
    if job is None:
        return Sight(Phase.GONE, f"Job {name} is not there any more: it was deleted, or its time after its end is over")
    found = reasons.of_job(job, (), events, now)
    if found.kind is Kind.FINE:
        return Sight(Phase.ENDED, "", 0)
    if found.kind is Kind.LOST:
        return Sight(Phase.GONE, found.text, taken=True)
    return Sight(Phase.PENDING, found.text)


def taken(found: Reason, pod: Object) -> bool:
    """Return whether the cluster took a pod away that is over.

    A pod that was deleted counts: a drain of its node deletes it as a person does, and older servers do not say which.
    A person ends a run by deleting its Job.
    """
    deleted = bool(pod["metadata"].get("deletionTimestamp")) and found.code != 0
    return found.kind in _TAKEN or found.code in _LEAVING or deleted


def lingers(pod: Object) -> bool:
    """Return whether a pod goes on after its flow's end, as one with a proxy beside the flow does."""
    return reasons.flow_ended(pod) and (pod.get("status") or {}).get("phase") in ("Running", "Pending")


def hopeless(found: Reason, pod: Object, events: Sequence[Object], now: float) -> bool:
    """Return whether a pod that waits will not begin: some things need a person, others may pass for a while."""
    if found.kind not in _HOPELESS:
        return False
    waited = now - reasons.waits_since(pod, events)
    return waited > HOPELESS_AFTER or any(word in found.text for word in _AT_ONCE)


def _signal(code: int | None) -> int | None:
    """Return an exit code; above 128 the negative signal, as a shell and a container tell it."""
    return 128 - code if code is not None and 128 < code <= 192 else code


def _words(found: Reason, code: int | None) -> str:
    """Return the reason; that of a plain end as all launchers say it."""
    if found.kind not in (Kind.EXIT, Kind.COMMAND, Kind.FINE) or code is None:
        return found.text
    if code in _LEAVING:
        return _LEAVING[code]
    if code == -9:
        return f"{exit_reason(code)}: for memory, by its node, or by its deletion; the node does not say"
    extra = found.text.partition(": ")[2] if found.kind is Kind.COMMAND and code not in (126, 127) else ""
    return f"{exit_reason(code)}{f': {extra}' if extra else ''}"


def _where(pod: Object, words: str) -> str:
    """Return the reason with the pod's name and node, where these matter: it was not the flow's own end."""
    node = pod["spec"].get("nodeName") or "no node"
    told = words.startswith("exit ") or not words
    return words if told else f"{words} (pod {pod['metadata']['name']} on {node})"
