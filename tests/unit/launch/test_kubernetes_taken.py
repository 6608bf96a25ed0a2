"""A job once more, a parcel that no variable holds, and which ends are the cluster's doing: pure functions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from anabranch.core import pod_job
from anabranch.core.errors import LaunchError
from anabranch.core.launching import Job
from anabranch.core.pod_job import VARIABLE
from anabranch.launch import kubernetes_sight
from anabranch.launch.kubernetes_manifest import CONTAINER, again, as_text, config_map, manifest, of_owner, of_text
from tests.unit.launch.pods import NOW, ended, pod


def made(*words: str, **given: Any) -> dict[str, Any]:
    given = {"name": "survey-1", "command": ("python", "-m", "x"), "folder": Path("/f"), "cwd": Path(), **given}
    return manifest(Job(**given, options=("image=team:1", *words)), {})


def container(body: dict[str, Any]) -> dict[str, Any]:
    return next(one for one in body["spec"]["template"]["spec"]["containers"] if one["name"] == CONTAINER)


# -- a parcel that no variable holds, and a job once more --------------------------------------------

PARCEL = "p" * 250_000


def test_a_large_parcel_lies_in_a_config_map_that_goes_with_the_job() -> None:
    body, parts = made(environment={"A": "1", VARIABLE: PARCEL}), pod_job.parts_of(PARCEL)
    text = body["spec"]["template"]["metadata"]["annotations"]["anabranch/script"]
    assert "export A=1" in text
    assert VARIABLE not in text
    assert container(body)["envFrom"] == [{"configMapRef": {"name": "survey-1"}}]
    beside = config_map(body, parts)
    assert "".join(beside["data"].values()) == PARCEL
    owned = of_owner(beside, {"metadata": {"name": "survey-1", "uid": "u1"}})
    assert owned["metadata"]["ownerReferences"][0]["uid"] == "u1"
    assert "envFrom" not in container(made(environment={VARIABLE: "p"}))


def test_a_job_once_more_has_another_name_and_says_with_which_run_it_goes_on() -> None:
    body = made("secret=s3", environment={VARIABLE: PARCEL})
    bodies = [body, config_map(body, pod_job.parts_of(PARCEL))]
    job, beside = again(of_text(as_text(*bodies), "script"), "0123456789", "kubernetes:a.0")
    assert job["metadata"]["name"] == beside["metadata"]["name"] == "survey-1-01234567"
    labels = {one["metadata"]["labels"]["anabranch/job"] for one in (job, beside, job["spec"]["template"])}
    assert labels == {"survey-1-01234567"}
    assert container(job)["envFrom"] == [{"secretRef": {"name": "s3"}}, {"configMapRef": {"name": "survey-1-01234567"}}]
    assert container(job)["env"][-1] == {"name": "ANABRANCH_POD_AFTER", "value": "kubernetes:a.0"}
    assert "-01234567" not in str(bodies)
    long = again([made(name="x" * 80)], "0123456789", "")[0]["metadata"]
    other = again([made(name="x" * 80)], "9876543210", "")[0]["metadata"]
    assert long["name"] != other["name"]
    assert max(len(long["name"]), len(other["name"])) <= 52


@pytest.mark.parametrize("text", ["a: [", "just words", ""])
def test_a_script_that_is_no_manifest_is_told(text: str) -> None:
    with pytest.raises(LaunchError, match="script is not"):
        of_text(text, "script")


# -- what the cluster took away ----------------------------------------------------------------------

DISRUPTED = [{"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}]


def taken(one: Any, status: Any = None, *, meta: Any = None, now: float = NOW) -> bool:
    one["metadata"] |= meta or {}
    one["status"] |= status or {}
    return kubernetes_sight.of_pods([one], (), now).taken


def test_a_pod_that_the_cluster_took_away_is_told_from_one_that_ended() -> None:
    gone = {"deletionTimestamp": "2026-11-29T11:59:55Z"}
    assert taken(pod("Failed", ended(137)), {"reason": "Evicted", "message": "low on memory"})
    assert taken(pod("Failed", ended(143)), {"conditions": DISRUPTED})
    assert taken(pod("Running", {"running": {}}), now=NOW + 100, meta=gone)  # its node is lost
    assert taken(pod("Failed", ended(143)), meta=gone)  # drained, as older servers do it
    assert taken(pod("Failed", ended(75)))  # its driver was told to end, and has left the run
    assert taken(pod("Failed", ended(76)))  # it came in place of another, and was refused
    assert not taken(pod("Failed", ended(1)))
    assert not taken(pod("Failed", ended(137, "OOMKilled")))
    assert not taken(pod("Failed", ended(137)))  # nobody says by whom: it is not guessed
    assert not taken(pod("Succeeded", ended(0)), meta=gone)
    assert not taken(pod("Running", {"running": {}}), meta=gone)  # it ends, and has not ended
    assert not taken(pod("Failed", ended(143)), {"reason": "DeadlineExceeded", "message": "too long"})


def test_a_job_that_was_deleted_was_not_taken_away_and_one_without_its_pod_was() -> None:
    failed = {"metadata": {"name": "j", "uid": "u"}, "spec": {},
              "status": {"conditions": [{"type": "Failed", "status": "True"}]}}  # fmt: skip
    assert kubernetes_sight.of_job(failed, "j", (), NOW).taken
    assert not kubernetes_sight.of_job(None, "j", (), NOW).taken
