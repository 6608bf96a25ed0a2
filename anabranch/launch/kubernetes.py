"""Jobs of Kubernetes: a whole flow as one pod of a Job.

    start   one POST; a Job of the name that is there already, by a call that lost its answer, is ours by its label
    look    one watch of pods for all jobs of a namespace; a list of Jobs for those without a pod
    cancel  DELETE in the background, which takes the pod along
    logs    the pod's; where it is gone, what was kept in the job's folder

Nothing is started again by the Job: a flow's retries are its own. Where the cluster took a pod away, `start_again`
makes another Job of the same manifest, and its pod goes on with the run.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from anabranch.core.errors import KubernetesError, LaunchError
from anabranch.core.launching import Phase, Reference, Sight
from anabranch.kubernetes.api import KubernetesApi
from anabranch.kubernetes.reasons import Kind, flow_ended, of_pod
from anabranch.kubernetes.reflector import Reflector
from anabranch.kubernetes.resources import CONFIG_MAPS, EVENTS, JOBS, PODS
from anabranch.launch import kubernetes_sight, script
from anabranch.launch.kubernetes_logs import Following, newest, unread, whole
from anabranch.launch.kubernetes_manifest import (
    JOB_LABEL,
    again,
    as_text,
    config_map,
    manifest,
    of_owner,
    of_text,
    parted,
    template_of,
)
from anabranch.launch.kubernetes_options import check_without, options

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from anabranch.core.launching import Job

KIND = "kubernetes"
_EXPLAINED = 20  # jobs a look, of which events are asked for
_LATE = 3.0  # seconds for a job to come, when its request was interrupted


class Place(NamedTuple):
    """Where a job is.

    Attributes:
        context: of the kubeconfig; "": a pod's own.
        server: the address that it had at the start.
    """

    context: str
    server: str
    namespace: str


class KubernetesLauncher:
    """Starts a job as a Job of Kubernetes.

    Args:
        without: parts of the manifest that the site forbids: "security-context", "limits".
        now: the time of day.
    """

    kind = KIND

    def __init__(self, *, without: Collection[str] = (), now: Callable[[], float] = time.time) -> None:
        check_without(without)
        self._without = frozenset(word.removeprefix("--") for word in without)
        self._now = now
        self._apis: dict[str, KubernetesApi] = {}
        self._pods: dict[Place, Reflector] = {}

    def close(self) -> None:
        """End connections and watches. Idempotent."""
        for api in self._apis.values():
            api.close()
        self._apis.clear()
        self._pods.clear()

    # -- the contract ----------------------------------------------------------------------------

    def render(self, job: Job) -> str:
        """As of `Launcher`: the manifest, as YAML."""
        return as_text(*self._manifests(job))

    def start(self, job: Job) -> Reference:
        """As of `Launcher`."""
        if (before := script.started(job.folder)) is not None:
            return before
        bodies = self._manifests(job)
        script.write_script(job, as_text(*bodies))
        asked = options(job.options)
        api = self._api(asked.context)
        namespace = asked.namespace or api.namespace
        try:
            id = _made(api, namespace, bodies)
        except KeyboardInterrupt:  # the request goes on without this thread
            raise KeyboardInterrupt(_taken_back(api, namespace, bodies[0]["metadata"]["labels"][JOB_LABEL])) from None
        reference = Reference(KIND, id, job.name, str(job.folder), f"{api.context} {api.server}".strip())
        try:
            script.note(reference, job.folder)
        except OSError as error:
            self.cancel(reference)
            raise LaunchError(f"job {job.name!r} is cancelled: {job.folder} cannot be written: {error}") from error
        return reference

    def look(self, references: Iterable[Reference]) -> dict[Reference, Sight]:
        """As of `Launcher`; where one cluster or namespace answers, others in trouble are left out."""
        seen: dict[Reference, Sight] = {}
        by_place: dict[Place, list[Reference]] = {}
        for reference in references:
            by_place.setdefault(_place(reference), []).append(reference)
        trouble: LaunchError | None = None
        for place, some in by_place.items():
            try:
                if self._is(place):
                    seen |= self._look(place, some)
            except LaunchError as error:  # that of one cluster hides nothing of another
                trouble = error
        if trouble is not None and not seen:
            raise trouble
        return seen

    def cancel(self, reference: Reference) -> None:
        """As of `Launcher`."""
        place = _place(reference)
        if not self._is(place):
            raise LaunchError(
                f"job {reference.name!r} is one of the cluster at {place.server}, and the kubeconfig here leads to "
                "another: cancel it where it was submitted"
            )
        _, name, uid = reference.id.split("/")
        self._api(place.context).delete(JOBS, name, place.namespace, uid=uid)

    def kill(self, reference: Reference) -> None:
        """As of `Launcher`; the pod keeps its own grace."""
        self.cancel(reference)

    def logs(self, reference: Reference) -> Iterator[str]:
        """As of `Launcher`."""
        pod = newest(self._own(reference))
        if pod is None:
            return script.log_lines(reference.folder)
        return iter(whole(self._api(_place(reference).context), _place(reference).namespace, pod))

    # -- beyond it -------------------------------------------------------------------------------

    def follow(self, reference: Reference) -> Following:
        """Follow the job's lines from its first on; the caller closes it. Raises KubernetesError."""
        place = _place(reference)
        reflector = self._reflector(place)
        uid = _uid(reference)
        # On the loop, where the watch runs too: it must not wait for it.
        own = lambda: [pod for pod in reflector.objects(0) if _owner(pod) == uid]  # noqa: E731
        return Following(self._api(place.context), place.namespace, own)

    def keep_log(self, reference: Reference) -> list[str]:
        """Write the job's whole log into its folder, and return its lines; an earlier copy stays where none is left."""
        lines = list(self.logs(reference))
        if lines:
            text = "\n".join(lines) + "\n"
            try:
                (Path(reference.folder) / script.LOG).write_text(text, encoding="utf-8")
            except OSError as error:
                raise LaunchError(f"the log of job {reference.name!r} cannot be written: {error}") from error
        return lines

    def lingers(self, reference: Reference) -> bool:
        """Return whether the job's pod goes on after its flow's end, for a container beside it."""
        pod = newest(self._own(reference))
        return pod is not None and kubernetes_sight.lingers(pod)

    def replaces_pods(self, words: Iterable[str]) -> bool:
        """Return whether the server makes a new pod in place of one that was deleted, as those before 1.26 do.

        Args:
            words: options of a job; they say which server.
        """
        version = self._api(options(words).context).version
        return bool(version) and version < (1, 26)

    def start_again(self, reference: Reference, after: str) -> Reference | None:
        """Start a job once more after the cluster took its pod away, and delete what is left of it.

        Args:
            after: the incarnation that had its run; no other run is gone on with.

        Returns:
            None: a person has deleted the Job.

        Raises:
            LaunchError: it cannot be started; what there is stays as it is.
        """
        place, (_, name, uid) = _place(reference), reference.id.split("/")
        if not self._is(place):
            raise LaunchError(f"job {reference.name!r} is one of the cluster at {place.server}: look at it there")
        api = self._api(place.context)
        try:
            meta = api.get(JOBS, name, place.namespace)["metadata"]
        except KubernetesError as error:
            if error.code != 404:
                raise
            return None
        if meta["uid"] != uid or meta.get("deletionTimestamp"):
            return None
        file = Path(reference.folder) / script.SCRIPT
        try:
            bodies = again(of_text(file.read_text(encoding="utf-8"), str(file)), uid, after)
            id = _made(api, place.namespace, bodies)
            script.succeed(file.parent, id)
        except OSError as error:
            raise LaunchError(f"job {reference.name!r} is not started again: {file}: {error.strerror}") from error
        api.delete(JOBS, name, place.namespace, uid=uid)
        return reference._replace(id=id)

    # -- looking ---------------------------------------------------------------------------------

    def _look(self, place: Place, references: Sequence[Reference]) -> dict[Reference, Sight]:
        by_owner: dict[str, list[dict[str, Any]]] = {}
        for pod in self._reflector(place).objects():
            by_owner.setdefault(_owner(pod), []).append(pod)
        jobs: dict[str, dict[str, Any]] = {}
        if any(_uid(reference) not in by_owner for reference in references):
            found = self._api(place.context).objects(JOBS, place.namespace, labels=JOB_LABEL)
            jobs = {one["metadata"]["uid"]: one for one in found}
        seen, explained = {}, 0
        for reference in references:
            pods, job = by_owner.get(_uid(reference), []), jobs.get(_uid(reference))
            about = _unclear(pods, job, self._now())
            events = self._events(place, about) if about and explained < _EXPLAINED else []
            explained += bool(about)
            if pods:
                sight = kubernetes_sight.of_pods(pods, events, self._now())
            else:
                sight = kubernetes_sight.of_job(job, reference.id.split("/")[1], events, self._now())
            seen[reference] = self._with_last(reference, pods, sight)
        return seen

    def _with_last(self, reference: Reference, pods: Sequence[dict[str, Any]], sight: Sight) -> Sight:
        if sight.phase not in (Phase.ENDED, Phase.GONE) or sight.code == 0:
            return sight
        place, pod = _place(reference), newest(pods)
        lines: list[str] = []
        trouble: tuple[str, ...] = ()
        try:
            lines = whole(self._api(place.context), place.namespace, pod, tailLines=str(2 * script.LAST)) if pod else []
        except KubernetesError as error:  # its node is away, a right is missing: other jobs are to be seen all the same
            trouble = (unread(error),)
        told = [line.rstrip() for line in lines if line.strip()][-script.LAST :]
        return sight._replace(last=(*(told or _told_by(pod) or script.last_lines(reference.folder)), *trouble))

    def _events(self, place: Place, uid: str) -> list[dict[str, Any]]:
        return self._api(place.context).objects(EVENTS, place.namespace, fields=f"involvedObject.uid={uid}")

    def _own(self, reference: Reference) -> list[dict[str, Any]]:
        place = _place(reference)
        if not self._is(place):
            return []
        return [pod for pod in self._reflector(place).objects() if _owner(pod) == _uid(reference)]

    # -- connections -----------------------------------------------------------------------------

    def _manifests(self, job: Job) -> list[dict[str, Any]]:
        script.script(job, ())  # what is wrong with the job itself comes first
        path = options(job.options).template
        template: dict[str, Any] = {}
        if path:
            try:
                template = template_of(Path(path).expanduser().read_text(encoding="utf-8"), path)
            except OSError as error:
                raise LaunchError(f"template {path} cannot be read: {error.strerror or error}") from error
        body = manifest(job, template, self._without)
        parts = parted(job)[1]
        return [body, config_map(body, parts)] if parts else [body]

    def _api(self, context: str) -> KubernetesApi:
        """Return the connection of a context, which is made where there is none."""
        if context not in self._apis:
            api = KubernetesApi(context=context)
            self._apis[context] = api
            if not context:  # found again by the name that the kubeconfig gives it
                self._apis[api.context] = api
        return self._apis[context]

    def _is(self, place: Place) -> bool:
        """Return whether the context leads to the cluster that a job was given to."""
        api = self._api(place.context)
        return api.namespace != "" and (not place.server or api.server == place.server)

    def _reflector(self, place: Place) -> Reflector:
        if place not in self._pods:
            self._pods[place] = Reflector(self._api(place.context), PODS, place.namespace, labels=JOB_LABEL)
        return self._pods[place]


def _made(api: KubernetesApi, namespace: str, bodies: Sequence[dict[str, Any]]) -> str:
    """Make a Job, and what goes with it, which its pod waits for; returns the id of both."""
    made = api.create(JOBS, bodies[0], namespace)
    name, uid = made["metadata"]["name"], made["metadata"]["uid"]
    try:
        for one in bodies[1:]:
            api.create(CONFIG_MAPS, of_owner(one, made), namespace)
    except KubernetesError:
        api.delete(JOBS, name, namespace, uid=uid)
        raise
    return f"{namespace}/{name}/{uid}"


def _taken_back(api: KubernetesApi, namespace: str, label: str) -> str:
    """Delete a job after an interrupted request, also one that comes a moment later; returns what is to be said."""
    labels, end = f"{JOB_LABEL}={label}", time.monotonic() + _LATE
    by_hand = f"`kubectl delete jobs -n {namespace} -l {labels}`"
    try:
        while not (found := api.objects(JOBS, namespace, labels=labels)):
            if time.monotonic() > end:
                return f"interrupted, and no Job of it is there: should one come after all, {by_hand} takes it away"
            time.sleep(0.2)
        for one in found:
            api.delete(JOBS, one["metadata"]["name"], namespace, uid=one["metadata"]["uid"])
    except KubernetesError as error:
        return f"interrupted, and a Job of it may be there, which {by_hand} takes away: {error}"
    return f"interrupted, and its Job {found[0]['metadata']['name']} is deleted"


def _place(reference: Reference) -> Place:
    context, _, server = reference.cluster.rpartition(" ")
    return Place(context, server, reference.id.split("/")[0])


def _uid(reference: Reference) -> str:
    return reference.id.split("/")[2]


def _owner(pod: dict[str, Any]) -> str:
    return next((str(one["uid"]) for one in pod["metadata"].get("ownerReferences") or () if one.get("controller")), "")


def _unclear(pods: Sequence[dict[str, Any]], job: dict[str, Any] | None, now: float) -> str:
    """Return the uid of the object with events that may tell why a job waits, and since when; "" for one without."""
    pod = newest(pods)
    if pod is None:
        return "" if job is None else str(job["metadata"]["uid"])
    told_by = (Kind.IMAGE, Kind.STARTING, Kind.UNSCHEDULABLE, Kind.SETTINGS, Kind.COMMAND)
    waits = of_pod(pod, (), now).kind in told_by and not flow_ended(pod)
    return str(pod["metadata"]["uid"]) if waits else ""


def _told_by(pod: dict[str, Any] | None) -> list[str]:
    """Return the last lines that the kubelet has put into a pod's status."""
    found: list[str] = []
    for one in ((pod or {}).get("status") or {}).get("containerStatuses") or ():
        found += str(((one.get("state") or {}).get("terminated") or {}).get("message") or "").splitlines()
    return found[-script.LAST :]


