"""What travels with a run that is submitted to Kubernetes, and what becomes of it where its pod is taken away."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from anabranch.kubernetes.reflector import Reflector
from anabranch.kubernetes.resources import CONFIG_MAPS, JOBS, PODS
from tests.integration.kubernetes_runs import ASKED, DEADLINE, IMAGE, api, followed, home, run, shown, submitted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anabranch.kubernetes.api import KubernetesApi

__all__ = ["api", "home"]
pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(180)]
BESIDE = """
from anabranch import flow, task
import rivers

@task
def units():
    import units
    return units.METRES

@flow(log_prints=True)
def beside(gate: str):
    from rivers.gauges import DATA
    print(f"data of {len(DATA)}, units {rivers.METRES} and {units.submit().result()}")
    open(gate).read()
"""


# -- what travels ------------------------------------------------------------------------------------


def test_modules_and_packages_beside_the_file_travel_and_large_ones_in_a_config_map(
    home: Path, api: KubernetesApi, tmp_path: Path
) -> None:
    (tmp_path / "rivers").mkdir()
    (tmp_path / "rivers" / "__init__.py").write_text("from units import METRES\n")
    (tmp_path / "rivers" / "gauges.py").write_text(f"DATA = {os.urandom(150_000).hex()!r}\n")
    (tmp_path / "units.py").write_text("METRES = 41\n")
    (tmp_path / "flows.py").write_text(BESIDE)
    name = submitted("flows.py:beside", "-p", f"gate={tmp_path / 'gate'}", *ASKED[-1:])
    with followed(name) as follow:
        assert follow.stdout is not None
        assert any("data of 300000, units 41 and 41" in line for line in iter(follow.stdout.readline, ""))
    (job,), (beside,) = api.objects(JOBS), [one for one in api.objects(CONFIG_MAPS) if "owner" in str(one)]
    assert beside["metadata"]["ownerReferences"][0]["uid"] == job["metadata"]["uid"]
    run("run", "cancel", name)
    with Reflector(api, CONFIG_MAPS) as left:
        assert left.wait(lambda found: not any("owner" in str(one) for one in found) or None, DEADLINE)


def test_the_code_may_lie_in_a_storage(home: Path, tmp_path: Path) -> None:
    (tmp_path / "code" / "flows").mkdir(parents=True)
    (tmp_path / "flows.py").rename(tmp_path / "code" / "flows" / "survey.py")
    words = ("flows/survey.py:squares", "--from", f"file://{tmp_path}/code", "-p", "n=7")
    text = run("submit", "kubernetes", *words, *ASKED, "--wait")
    assert "ended as Completed" in text
    name = re.search(r"^run (\S+) is submitted", text, re.MULTILINE)[1]  # type: ignore[index]
    assert "sum 91" in run("run", "logs", name)


# -- a pod that the cluster takes away ---------------------------------------------------------------


def test_where_a_pod_can_ask_nobody_and_the_server_replaces_pods_nothing_is_submitted(
    home: Path, api: KubernetesApi
) -> None:
    text = run("submit", "kubernetes", "flows.py:squares", *IMAGE, code=1)
    assert "this server (before 1.26) makes a new pod in place of one that is deleted" in text
    assert api.objects(JOBS) == []


def test_a_pod_in_place_of_another_does_not_run_the_flow_though_its_record_is_its_own(
    home: Path, api: KubernetesApi, tmp_path: Path
) -> None:
    """Nothing but an annotation of the Job, written by the first pod, tells the second one."""
    gate, login = tmp_path / "gate", os.environ["KUBECONFIG"]
    words = ("flows.py:gated", "-p", f"gate={gate}", f"--option=env=KUBECONFIG={login}")
    text = run("submit", "kubernetes", *words, *IMAGE)
    name = re.search(r"^run (\S+) is submitted", text, re.MULTILINE)[1]  # type: ignore[index]
    with followed(name) as follow:
        assert follow.stdout is not None
        assert any("before the gate" in line for line in iter(follow.stdout.readline, ""))
        first = api.objects(PODS)[0]["metadata"]
        assert api.objects(JOBS)[0]["metadata"]["annotations"]["anabranch/begun-by"] == first["uid"]
        api.delete(PODS, first["name"])
        with Reflector(api, PODS) as pods:
            second = pods.wait(lambda found: failed_but(first["name"], found), DEADLINE)
        assert second
    assert f"was begun by pod {first['uid']} of its Job" in api.text(PODS, second, "log", {})
    assert Path(f"{gate}.starts").read_text() == "x\n"
    shown(name, "state       Crashed")


def test_a_run_goes_on_in_another_job_after_its_pod_was_taken_away(
    home: Path, api: KubernetesApi, tmp_path: Path
) -> None:
    """The pod that the server makes in place of the deleted one is refused; ours repeats nothing that has ended."""
    gate = tmp_path / "gate"
    name = submitted("flows.py:gated", "-p", f"gate={gate}", f"--option=env=ANABRANCH_HOME={home}")
    with followed(name) as follow:
        assert follow.stdout is not None
        lines = iter(follow.stdout.readline, "")
        assert any("before the gate" in line for line in lines)
        first, job = api.objects(PODS)[0]["metadata"]["name"], api.objects(JOBS)[0]["metadata"]
        api.delete(PODS, first)
        seen = list(until_line(lines, "before the gate"))
        assert any(f"flow run '{name}' was begun by another pod of its Job" in line for line in seen)
        jobs = {one["metadata"]["name"] for one in api.objects(JOBS)} - {job["name"]}
        assert jobs == {f"{job['name']}-{job['uid'][:8]}"}
        gate.write_text("water")
        assert any("through the gate water" in line for line in lines)
        assert follow.wait(DEADLINE) == 0
    assert Path(f"{gate}.starts").read_text() == "x\nx\n"  # the flow's own body; its tasks ran once
    assert Path(f"{gate}.noted").read_text() == "x\n"
    text = run("run", "show", name)
    assert "state       Completed" in text
    with Reflector(api, JOBS) as left:
        assert left.wait(lambda found: len(found) == 1 or None, DEADLINE)


def test_a_run_stays_suspended_where_a_person_deletes_its_job(home: Path, api: KubernetesApi, tmp_path: Path) -> None:
    name = submitted("flows.py:gated", "-p", f"gate={tmp_path / 'gate'}", f"--option=env=ANABRANCH_HOME={home}")
    shown(name, "state       Running")
    api.delete(JOBS, api.objects(JOBS)[0]["metadata"]["name"])
    shown(name, "state       Suspended: Its job was ended by the batch system (SIGTERM).")
    with Reflector(api, PODS) as pods:
        assert pods.wait(lambda found: not found or None, DEADLINE)
    shown(name, "state       Suspended")
    assert api.objects(JOBS) == []


def until_line(lines: Iterator[str], words: str) -> Iterator[str]:
    for line in lines:
        yield line
        if words in line:
            return
    raise AssertionError(f"no line has {words!r}")


def failed_but(first: str, pods: list[dict[str, Any]]) -> str | None:
    others = [pod for pod in pods if pod["metadata"]["name"] != first and pod["status"].get("phase") == "Failed"]
    return others[0]["metadata"]["name"] if others else None
