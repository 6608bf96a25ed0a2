"""What the API server answers becomes a sentence with what to do; the words are those of real servers."""

from __future__ import annotations

from typing import Any

import pytest

from anabranch.core.errors import LaunchError
from anabranch.kubernetes.refusals import Asked, refused, unreachable
from anabranch.kubernetes.resources import JOBS, PODS, Resource
from anabranch.kubernetes.retrying import pause_before

CLUSTERS = Resource("daskclusters", "kubernetes.dask.org", "v1", "DaskCluster")
CREATE = Asked("create", JOBS, "lab", "survey-1", server="https://k", login="KUBECONFIG=/k")


def status(message: str, reason: str = "", **details: Any) -> dict[str, Any]:
    return {"kind": "Status", "status": "Failure", "message": message, "reason": reason, "details": details}


@pytest.mark.parametrize(
    ("asked", "code", "body", "words"),
    [
        (
            CREATE, 403,
            status('jobs.batch is forbidden: User "ada" cannot create resource "jobs" in API group "batch" in the '
                   'namespace "lab"', "Forbidden"),
            "ada may not create jobs.batch in namespace lab: its role lacks that verb",
        ),
        (
            Asked("get", PODS, "lab", "p", "log"), 403,
            status('pods "p" is forbidden: User "system:serviceaccount:lab:default" cannot get resource "pods/log" in '
                   'API group "" in the namespace "lab"', "Forbidden"),
            "kubectl auth can-i get pods/log -n lab",
        ),
        (
            CREATE, 403,
            status('jobs.batch "x" is forbidden: exceeded quota: few, requested: count/jobs.batch=1, used: '
                   "count/jobs.batch=2, limited: count/jobs.batch=2", "Forbidden"),
            "quota few is full (count/jobs.batch=2 used of count/jobs.batch=2) in namespace lab: wait until",
        ),
        (
            CREATE, 403,
            status('jobs.batch "x" is forbidden: unable to create new content in namespace lab because it is being '
                   "terminated", "Forbidden"),
            "namespace lab is being deleted",
        ),
        (CREATE, 401, status("Unauthorized", "Unauthorized"), "does not accept the login from KUBECONFIG=/k"),
        (CREATE, 404, status('namespaces "lab" not found', "NotFound", name="lab", kind="namespaces"),
         "there is no namespace lab: `kubectl get namespaces`"),
        (Asked("list", CLUSTERS, "lab", server="https://k"), 404, "404 page not found",
         "knows no daskclusters.kubernetes.dask.org (kubernetes.dask.org/v1): what brings them, such as an operator"),
        (Asked("get", JOBS, "lab", "survey-1"), 404,
         status('jobs.batch "survey-1" not found', "NotFound", name="survey-1", kind="jobs"), "no Job survey-1"),
        (CREATE, 409, status('jobs.batch "survey-1" already exists', "AlreadyExists"), "of somebody else"),
        (CREATE, 422, status('Job.batch "A" is invalid: metadata.name: Invalid value: "A"', "Invalid"),
         "does not take the Job: Job.batch"),
        (CREATE, 429, status("too many requests", "TooManyRequests"), "is busy and asks for a pause"),
        (CREATE, 502, "<html>bad gateway</html>", "failed to create jobs.batch in namespace lab: <html>bad"),
    ],
)  # fmt: skip
def test_a_refusal_says_what_to_do(asked: Asked, code: int, body: Any, words: str) -> None:
    error = refused(asked, code, body)
    assert words in str(error)
    assert error.code == code
    assert isinstance(error, LaunchError)


def test_no_answer_names_the_server_and_where_its_address_is_from() -> None:
    assert "https://k cannot be reached (refused)" in str(unreachable("https://k", "KUBECONFIG=/k", "refused"))


@pytest.mark.parametrize(
    ("attempt", "code", "told", "after", "pause"),
    [
        (1, 0, "", None, 0.5),
        (2, 0, "", None, None),  # a server that cannot be reached is not called for long
        (1, 429, "", 3.0, 3.0),
        (1, 429, "", 3600.0, 10.0),
        (3, 503, "", None, 2.0),
        (4, 503, "", None, None),
        (1, 403, "", None, None),
        (1, 409, "Operation cannot be fulfilled on resourcequotas", None, 0.5),
        (1, 409, "already exists", None, None),
        (1, 422, "", None, None),
    ],
)
def test_what_passes_is_asked_again(attempt: int, code: int, told: str, after: float | None, pause: Any) -> None:
    assert pause_before(attempt, code, told, after) == pause
