"""What objects show as the last line of a cell: escaped, small, kept by notebooks that are not trusted."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from anabranch import (
    Future,
    FutureList,
    InlineRunner,
    KubernetesCluster,
    ProcessRunner,
    RayOnKubernetes,
    SlurmCluster,
    State,
    ThreadRunner,
    cache_policies,
    flow,
    task,
)  # fmt: skip
from anabranch.core import showing
from anabranch.core.machine import usable_cpus
from anabranch.core.reports import ErrorInfo
from anabranch.core.showing import Facts, Shown
from anabranch.core.states import (
    COMPLETED,
    FAILED,
    PENDING,
    Cached,
    Cancelled,
    Completed,
    Failed,
    Running,
    StateType,
    TriggerFailed,
)  # fmt: skip
from anabranch.core.task_graphs import TaskNode
from anabranch.display import map_cards
from tests.unit.display.shown import NASTY, a_map, read, shown
from tests.unit.display.untrusted import plain_text

# -- states ---------------------------------------------------------------------------------------

STATES = {
    "value": (Completed(data=[1]), "State COMPLETED Completed value of type list, read by .result()"),
    "nothing": (Completed("all of it"), "State COMPLETED Completed all of it"),
    "cached": (Cached(data=1), "State COMPLETED Cached value of type int, read by .result()"),
    "failed": (Failed(NASTY), f"State FAILED Failed {NASTY}"),
    "phrase": (Failed("Task run encountered an exception ValueError: 3"), "State FAILED Failed ValueError: 3"),
    "attempt": (Running(attempt=3), "State RUNNING · attempt 3 Running"),
    "own name": (State(StateType.FAILED, NASTY), f"State FAILED {NASTY}"),
    "several": (Failed("1/2 failed", [Completed(), Failed()]), "State FAILED Failed 1/2 failed 2 states"),
    "trigger": (TriggerFailed("load[3] failed"), "State FAILED TriggerFailed load[3] failed"),
    "cancelled": (Cancelled(), "State CANCELLED Cancelled"),
}  # fmt: skip


@pytest.mark.parametrize("which", STATES)
def test_a_state_tells_its_name_its_message_and_what_it_has(which: str) -> None:
    state, text = STATES[which]
    assert read(state) == text


def test_a_flow_s_state_shows_the_states_that_decided_it() -> None:
    states = FutureList(a_map([COMPLETED, FAILED])).states
    assert read(Failed("1/2 states failed.", states)) == (
        "State FAILED Failed 1/2 states failed. load 2 states 1 completed 1 failed 1 x Failed (item 1)"
    )


def test_a_kept_exception_shows_where_it_was_raised() -> None:
    error = ValueError(NASTY)
    error.add_note(f"traceback where it ran:\n{NASTY}")
    text = read(Failed("it failed", error))
    assert text.startswith("State FAILED Failed it failed where it ran")
    assert text.endswith(NASTY)


def test_a_future_tells_its_state_and_does_not_read_its_value() -> None:
    map = a_map([COMPLETED, FAILED, PENDING], "<load>", _1=ErrorInfo("ValueError", "odd", f"Traceback\n{NASTY}"))
    map.attempts[1] = 4
    map.messages[1] = "Task run encountered an exception ValueError: odd"
    first, second, third = (Future(map, index) for index in range(3))
    assert read(first) == "<load>[0] future Completed its value is read by .result()"
    assert read(second) == f"<load>[1] future · attempt 4 Failed ValueError: odd where it ran Traceback {NASTY}"
    assert read(third) == "<load>[2] future Pending"
    assert map.handled == set()
    state = first.state
    assert read(state) == "State COMPLETED Completed its value is read by .result()"


# -- tasks and flows -----------------------------------------------------------------------------


def test_a_task_tells_its_call_and_the_options_that_were_chosen() -> None:
    @task(name="load <b>", retries=3, tags=["<x>", "y"], cache_policy=cache_policies.INPUTS, memory="2 GiB")
    def load(day: str, *, unit: str = NASTY) -> int:
        """Load one day & its <things>.

        More is not shown.
        """
        return 3

    text = read(load)
    assert text.startswith(f"load <b> task load <b>(day: 'str', *, unit: 'str' = {NASTY!r}) -> 'int' Load one day &")
    assert "More is not shown" not in text
    assert "tags <x>, y" in text
    assert "retries 3" in text
    assert "memory 2147483648" in text
    assert "timeout_seconds" not in text


def test_a_task_with_a_default_that_has_no_repr_is_shown() -> None:
    class Odd:
        def __repr__(self) -> str:
            raise RuntimeError("no")

    @task
    def load(x: object = Odd(), *rest: int) -> None:
        pass

    assert read(load) == "load task load(x, rest)"


def test_a_flow_tells_its_call_and_its_runner() -> None:
    @flow(runner="process", retries=1)
    def main(n: int = 3) -> int:
        return n

    assert read(main) == "main flow main(n: 'int' = 3) -> 'int' retries 1 runner process"


# -- runners and clusters ------------------------------------------------------------------------


def test_runners_tell_their_slots_and_whether_they_run() -> None:
    cpus = f" cpus {usable_cpus()}" if usable_cpus() > 3 else ""  # told where they are others than the slots
    with ThreadRunner(3, resources={"licence": 2}) as runner:
        assert read(runner) == f"ThreadRunner not started slots 3{cpus} licence 2"
    assert read(runner).startswith("ThreadRunner closed slots 3")
    assert read(InlineRunner()) == "InlineRunner not started slots 1"
    text = read(ProcessRunner(2, memory_limit="1 GiB"))
    assert text.startswith("ProcessRunner not started slots 2 memory limit of a worker 1.1 GB")
    assert " memory " in text


def test_a_cluster_of_jobs_tells_its_size_and_starts_nothing() -> None:
    cluster = SlurmCluster(cores=8, memory="16 GiB", walltime="02:00:00", minimum=1, maximum=4, name="<ours>"[1:5])
    assert read(cluster) == (
        "ours SlurmCluster · not started jobs 1 to 4 slots 8 to a job, 32 at most memory of a job 17.2 GB "
        "walltime 2:00:00"
    )
    assert not cluster.alive


def test_clusters_of_pods_tell_their_size_and_start_nothing() -> None:
    pods = KubernetesCluster("dask-1", image="ours", cpus=2.5, memory="4 GiB", gpus=1, maximum=3)
    size = "pods 0 to 3 slots 2 to a pod, 6 at most memory of a pod 4.3 GB gpus of a pod 1"
    assert read(pods) == f"dask-1 KubernetesCluster · not started {size}"
    ray = RayOnKubernetes("ray-1", image="ours", cpus=2, memory="4 GiB", gpus=1, maximum=3, ray_version="2.60.0")
    assert read(ray) == f"ray-1 RayOnKubernetes · not started {size}"


def test_facts_may_have_a_link_and_a_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("JUPYTERHUB_SERVICE_PREFIX", "SSH_CONNECTION", "SSH_CLIENT"):
        monkeypatch.delenv(name, raising=False)

    class Told(Shown):
        def facts(self) -> Facts:
            graph = (TaskNode("<load>", "map", 1, {"Completed": 5}),)
            rows = (("none", None, ""), ("size", 5e6, "B"))
            return Facts("kind", NASTY, "well", rows, "http://a<b:8787/status", graph)

    html = shown(Told())
    assert plain_text(html) == f"{NASTY} kind · well size 5.0 MB <load> 5 items 5 completed dashboard"
    assert '<a href="http://a&lt;b:8787/status"' in html


# -- the door ------------------------------------------------------------------------------------


def test_what_cannot_be_shown_leaves_the_cell_to_its_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(map_cards, "future_list", lambda *given, **named: 1 / 0)
    assert FutureList(a_map([COMPLETED]))._repr_html_() is None
    monkeypatch.setattr(showing, "DRAWING", "anabranch.display.nowhere:html")
    assert Completed()._repr_html_() is None


def test_the_room_that_draws_is_loaded_when_it_is_asked() -> None:
    code = """
import json, sys
from anabranch import ThreadRunner, flow, task
from anabranch.states import Completed
runner, state = ThreadRunner(2), Completed()
before = "anabranch.display.cards" in sys.modules
html = [runner._repr_html_(), state._repr_html_(), task(len)._repr_html_()]
print(json.dumps([before, "anabranch.session" in sys.modules, [bool(one) for one in html]]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)[0] is False
    assert json.loads(done.stdout)[2] == [True, True, True]
