"""A pod without a record to share asks the API whether another pod of its Job has begun the run.

Servers before 1.26 make a new pod in place of one that is deleted, in spite of `backoffLimit: 0`. The first pod to
begin writes its name into an annotation of the Job, by the version of the Job that it has read: of two, one loses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anabranch.core import pod_job
from anabranch.core.errors import KubernetesError, LaunchError
from anabranch.kubernetes.api import OURS, KubernetesApi
from anabranch.kubernetes.resources import JOBS

if TYPE_CHECKING:
    from collections.abc import Mapping

BEGUN_BY = f"{OURS}begun-by"
_TRIES = 10  # writes that lose to other writers of the Job, such as its controller


def begun_by_another(environ: Mapping[str, str], api: KubernetesApi | None = None) -> str:
    """Return the uid of the pod that has begun the run of this pod's Job; "": none has, and this one has now.

    Raises:
        LaunchError: the API does not answer, or not to this pod's account: then nothing may begin.
    """
    name, place = environ.get(pod_job.JOB_NAME, ""), environ.get(pod_job.POD_NAMESPACE, "")
    own = environ.get(pod_job.POD_UID, "")
    try:
        with api or KubernetesApi() as opened:
            return _claimed(opened, name, place, own)
    except KubernetesError as error:
        raise LaunchError(
            f"the flow does not begin: Job {name} may have begun it in another pod, and cannot be asked. {error}. The "
            "account of the pod needs `get` and `patch` of jobs in its namespace"
        ) from error


def _claimed(api: KubernetesApi, name: str, place: str, own: str) -> str:
    for left in reversed(range(_TRIES)):
        job = api.get(JOBS, name, place)
        begun: str = (job["metadata"].get("annotations") or {}).get(BEGUN_BY, "")
        if begun:
            return "" if begun == own else begun
        meta: dict[str, Any] = {"resourceVersion": job["metadata"]["resourceVersion"], "annotations": {BEGUN_BY: own}}
        try:
            api.patch(JOBS, name, {"metadata": meta}, place)
        except KubernetesError as error:
            if error.code != 409 or not left:
                raise
        else:
            return ""
    raise AssertionError("the last try returns or raises")
