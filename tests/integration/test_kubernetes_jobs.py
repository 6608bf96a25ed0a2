"""`anabranch submit kubernetes` on a real API server: a run comes, is followed, ends, and its end comes back."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from anabranch.core.launching import Job, Phase, Reference
from anabranch.kubernetes.api import KubernetesApi
from anabranch.kubernetes.reflector import Reflector
from anabranch.kubernetes.resources import JOBS, PODS, Resource
from anabranch.kubernetes.transport import Transport
from anabranch.launch import script
from anabranch.launch.kubernetes import KubernetesLauncher
from tests.integration.kubernetes_runs import ASKED, DEADLINE, api, followed, home, run, shown, submitted

__all__ = ["api", "home"]
pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(180), pytest.mark.sampled(4, "pods for each")]
NIGHT = pytest.mark.nightly("a hundred pods")
QUOTAS = Resource("resourcequotas", "", "v1", "ResourceQuota")


# -- a run, from its begin to its end ---------------------------------------------------------------


def test_a_run_is_waited_for_and_its_state_and_log_come_back(home: Path) -> None:
    text = run("submit", "kubernetes", "flows.py:squares", "-p", "n=7", *ASKED, "--wait")
    name = re.search(r"^run (\S+) is submitted: kubernetes job place", text, re.MULTILINE)[1]  # type: ignore[index]
    assert f"run {name} ended as Completed" in text
    said = "the run's record is the pod's own: state and log come back here"
    assert 0 <= text.index(said) < text.index(f"run {name} is submitted")
    assert "cannot be resumed, and is not started again" in text
    assert "parameters  n=7" in run("run", "show", name)
    assert "sum 91" in run("run", "logs", name)
    folder = next((home / "jobs").glob(f"squares-{name}-*"))
    assert "sum 91" in (folder / "log").read_text()
    assert "sum 91" in run("run", "logs", "-f", name)  # from what was kept
    assert yaml.safe_load((folder / "script").read_text())["kind"] == "Job"


def test_a_dry_run_shows_the_manifest_and_starts_nothing(home: Path, api: KubernetesApi) -> None:
    body = yaml.safe_load(run("submit", "kubernetes", "flows.py:squares", *ASKED, "--cpus", "2", "--dry-run"))
    assert body["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"] == {"cpu": "2"}
    assert not home.exists()
    assert api.objects(JOBS) == []
    made = api.create(JOBS, body)  # the server takes it as it is
    assert made["spec"]["backoffLimit"] == 0


def test_a_flow_that_fails_is_failed_with_its_reason(home: Path) -> None:
    text = run("submit", "kubernetes", "flows.py:wrong", *ASKED, "--wait", code=1)
    assert "ended as Failed: Flow run encountered an exception: ValueError: no good" in text


def test_lines_are_followed_as_they_come_and_a_running_flow_is_cancelled(home: Path, tmp_path: Path) -> None:
    name = submitted("flows.py:gated", "-p", f"gate={tmp_path / 'gate'}")
    with followed(name) as follow:
        assert follow.stdout is not None
        assert any("before the gate" in line for line in iter(follow.stdout.readline, ""))
        shown(name, "state       Running")
        assert f"flow run '{name}' is cancelled, and so is its job\n" == run("run", "cancel", name)
        follow.stdout.read()
        assert follow.wait(DEADLINE) == 0
    assert "Cancelled: cancelled with its job" in run("run", "show", name)
    with KubernetesApi() as api, Reflector(api, PODS) as pods:
        assert pods.wait(lambda found: not found or None, DEADLINE)


@pytest.mark.nightly("a figure, on a machine that may be busy by day")
def test_the_first_line_comes_soon(home: Path, tmp_path: Path) -> None:
    began = time.monotonic()
    name = submitted("flows.py:gated", "-p", f"gate={tmp_path / 'gate'}")
    with followed(name) as follow:
        assert follow.stdout is not None
        assert any("before the gate" in line for line in iter(follow.stdout.readline, ""))
        took = time.monotonic() - began
    run("run", "cancel", name)
    assert took < 10.0


# -- what goes wrong before the flow begins ----------------------------------------------------------


def test_a_pod_that_fails_before_the_flow_begins_is_recorded_with_its_reason(home: Path) -> None:
    words = ("--prologue", "echo no module here >&2; exit 7")
    text = run("submit", "kubernetes", "flows.py:squares", *ASKED, *words, "--wait", code=1)
    assert "ended as Crashed: the pod failed before the flow began: exit 7, last lines: no module here" in text


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--cpus", "500"), "pending: no node fits: 0/1 nodes are available: 1 Insufficient cpu"),
        (("--option=secret=no-such",), "secrets no-such"),
    ],
)
def test_a_pod_that_waits_says_why_and_is_cancelled(
    home: Path, api: KubernetesApi, words: tuple[str, ...], reason: str
) -> None:
    name = submitted("flows.py:squares", *words)
    shown(name, reason)
    assert "is cancelled, and so is its job, which had not begun it" in run("run", "cancel", name)
    assert api.objects(JOBS) == []


def test_a_full_quota_leaves_no_pod_and_is_told(home: Path, api: KubernetesApi) -> None:
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "few"}, "spec": {"hard": {"pods": "0"}}}
    api.create(QUOTAS, quota)
    with Reflector(api, QUOTAS) as seen:
        assert seen.wait(lambda found: found[0].get("status", {}).get("used"), DEADLINE)
    name = submitted("flows.py:squares")
    shown(name, "pending: quota few is full (pods=0 used of pods=0)")


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--option=namespace=no-such",), "there is no namespace no-such"),
        (("--option=context=other",), "No such context other"),
        (("--nodes", "2"), "a job of Kubernetes is one pod"),
        (("--option=template=none.yaml",), "template none.yaml cannot be read"),
        (("--without=--mem",), "these can be left out: security-context, limits"),
    ],
)
def test_what_cannot_start_says_so_and_leaves_no_run_that_waits(
    home: Path, words: tuple[str, ...], reason: str
) -> None:
    assert reason in run("submit", "kubernetes", "flows.py:squares", *ASKED, *words, code=1)
    assert "Scheduled" not in run("runs")


@pytest.mark.parametrize(("server", "token"), [("https://127.0.0.1:9", ""), ("", "expired")])
def test_a_cluster_that_does_not_answer_is_told(home: Path, server: str, token: str) -> None:
    path = Path(os.environ["KUBECONFIG"])
    config = yaml.safe_load(path.read_text())
    config["clusters"][0]["cluster"]["server"] = server or config["clusters"][0]["cluster"]["server"]
    config["users"][0]["user"]["token"] = token or config["users"][0]["user"]["token"]
    path.write_text(yaml.safe_dump(config))
    told = run("submit", "kubernetes", "flows.py:squares", *ASKED, code=1)
    assert ("cannot be reached" if server else "does not accept the login from KUBECONFIG=") in told
    assert "no job was started" in run("runs", "--json")


def test_a_file_that_is_too_large_to_travel_says_what_to_do(home: Path, tmp_path: Path) -> None:
    with open(tmp_path / "flows.py", "a") as file:
        file.write(f"DATA = {os.urandom(900_000).hex()!r}\n")
    told = run("submit", "kubernetes", "flows.py:squares", *ASKED, code=1)
    assert "at most 1,000,000 can travel (the largest files: flows.py): put the code into the image" in told


# -- shared records ---------------------------------------------------------------------------------


@pytest.mark.postgres
def test_with_a_record_that_both_reach_the_pod_writes_the_run_itself(
    home: Path, postgres_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANABRANCH_RECORDS", postgres_address)
    text = run("submit", "kubernetes", "flows.py:squares", "-p", "n=7", *ASKED, "--wait")
    name = re.search(r"^run (\S+) is submitted", text, re.MULTILINE)[1]  # type: ignore[index]
    assert "record is the pod's own" not in text
    assert re.search(r"square +map +7", run("run", "show", name))
    assert "sum 91" in run("run", "logs", name)


# -- many -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [5, pytest.param(100, marks=[NIGHT, pytest.mark.timeout(600)])])
def test_many_jobs_are_watched_by_one_watch(
    home: Path, tmp_path: Path, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str, str]] = []
    count_requests(monkeypatch, asked)
    launcher = KubernetesLauncher()
    try:
        references = [launcher.start(held(tmp_path, n)) for n in range(count)]
        until = time.monotonic() + 5 * DEADLINE
        looks = 0
        while len(phases(launcher, references, Phase.RUNNING)) < count:
            looks += 1
            assert time.monotonic() < until
            time.sleep(0.2)
        (tmp_path / "go").write_text("")
        while len(phases(launcher, references, Phase.ENDED)) < count:
            looks += 1
            assert time.monotonic() < until
            time.sleep(0.2)
        assert {seen.code for seen in launcher.look(references).values()} == {0}
    finally:
        launcher.close()
    watches = [url for kind, url, _ in asked if kind == "watch"]
    assert len(watches) == 1, watches
    assert len([1 for kind, _, _ in asked if kind == "POST"]) == count
    # Lists of Jobs while some have no pod yet, and events of these: at most some for each look.
    assert len(asked) - count <= 22 * looks + 5


def held(tmp_path: Path, number: int) -> Job:
    line = f"while [ ! -e {tmp_path}/go ]; do sleep 1; done"
    name = f"held-{number}"
    return Job(name, ("/bin/sh", "-c", line), tmp_path / "jobs" / name, Path(), options=("image=any",))


def phases(launcher: KubernetesLauncher, references: list[Reference], phase: Phase) -> list[Reference]:
    return [reference for reference, seen in launcher.look(references).items() if seen.phase is phase]


def count_requests(monkeypatch: pytest.MonkeyPatch, asked: list[tuple[str, str, str]]) -> None:
    request, stream = Transport.request, Transport.stream

    def counted(self: Transport, method: str, base: str, url: str, **given: Any) -> Any:
        asked.append((method, url, str(given.get("params"))))
        return request(self, method, base, url, **given)

    def watched(self: Transport, base: str, url: str, **given: Any) -> Any:
        asked.append(("watch", url, str(given["params"])))
        return stream(self, base, url, **given)

    monkeypatch.setattr(Transport, "request", counted)
    monkeypatch.setattr(Transport, "stream", watched)


def test_a_job_of_another_cluster_is_left_out(home: Path, tmp_path: Path) -> None:
    """A home is shared by machines whose kubeconfig leads elsewhere: what is not there is no end of a job."""
    launcher = KubernetesLauncher()
    try:
        reference = launcher.start(held(tmp_path, 1))
        other = reference._replace(cluster=reference.cluster.rpartition(" ")[0] + " https://other:6443")
        assert launcher.look([other]) == {}
        assert launcher.look([reference])[reference].phase in (Phase.PENDING, Phase.RUNNING)
        with pytest.raises(Exception, match="leads to another: cancel it where it was submitted"):
            launcher.cancel(other)
        launcher.cancel(reference)
        assert script.started(tmp_path / "jobs" / "held-1") == reference
    finally:
        launcher.close()
