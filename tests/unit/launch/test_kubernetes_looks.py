"""One job in trouble hides no other: the launcher before a cluster of which each answer is set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from anabranch.core.errors import KubernetesError
from anabranch.core.launching import Job, Phase, Reference
from anabranch.launch import kubernetes
from anabranch.launch.kubernetes import KubernetesLauncher
from tests.unit.launch.pods import NOW, ended, pod

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Object = dict[str, Any]


class Cluster:
    """What a context leads to.

    Attributes:
        refused: an error instead of each answer about a log, by the pod's name.
        trouble: an error instead of any pods.
    """

    def __init__(self, context: str) -> None:
        self.context, self.server, self.namespace, self.version = context, f"https://{context}", "default", (1, 30)
        self.pods: list[Object] = []
        self.refused: dict[str, KubernetesError] = {}
        self.trouble: KubernetesError | None = None
        self.deleted: list[str] = []
        self.jobs: list[list[Object]] = []  # what is there, at one question after the other
        self.asked: list[str] = []

    def create(self, *_: Any) -> Object:
        raise KeyboardInterrupt

    def objects(self, *_: Any, labels: str = "", **__: Any) -> list[Object]:
        self.asked.append(labels)
        if self.trouble is not None:
            raise self.trouble
        return self.jobs.pop(0) if self.jobs else []

    def text(self, resource: Any, name: str, *_: Any) -> str:
        if name in self.refused:
            raise self.refused[name]
        return f"said by {name}\n"

    def delete(self, resource: Any, name: str, *_: Any, **__: Any) -> None:
        self.deleted.append(name)

    def close(self) -> None:
        pass


class Watch:
    def __init__(self, api: Cluster, *_: Any, **__: Any) -> None:
        self._api = api

    def objects(self, seconds: float = 30.0) -> list[Object]:
        if self._api.trouble is not None:
            raise self._api.trouble
        return self._api.pods


@pytest.fixture
def clusters(monkeypatch: pytest.MonkeyPatch) -> dict[str, Cluster]:
    made = {context: Cluster(context) for context in ("east", "west")}
    monkeypatch.setattr(kubernetes, "KubernetesApi", lambda context: made[context])
    monkeypatch.setattr(kubernetes, "Reflector", Watch)
    return made


@pytest.fixture
def launcher(clusters: dict[str, Cluster]) -> Iterator[KubernetesLauncher]:
    made = KubernetesLauncher(now=lambda: NOW)
    yield made
    made.close()


@pytest.fixture
def started(clusters: dict[str, Cluster], tmp_path: Path) -> Callable[[str, str, Object], Reference]:
    """Return what puts a job with one pod into a cluster."""

    def start(context: str, name: str, one: Object) -> Reference:
        owner = [{"controller": True, "uid": f"uid-{name}"}]
        one["metadata"] |= {"name": f"{name}-x", "uid": f"pod-{name}", "ownerReferences": owner}
        clusters[context].pods.append(one)
        return Reference(
            "kubernetes", f"default/{name}/uid-{name}", name, str(tmp_path / name), f"{context} https://{context}"
        )

    return start


FORBIDDEN = KubernetesError("u may not get pods/log in namespace default", code=403)
NODE_AWAY = KubernetesError("dial tcp 10.0.0.7:10250: connect: no route to host", code=500)


@pytest.mark.parametrize("trouble", [NODE_AWAY, FORBIDDEN])
def test_a_log_that_cannot_be_read_is_told_in_its_place(
    launcher: KubernetesLauncher, clusters: dict[str, Cluster], started: Any, trouble: KubernetesError
) -> None:
    one, two = started("east", "one", pod("Failed", ended(3))), started("east", "two", pod("Failed", ended(4)))
    clusters["east"].refused["one-x"] = trouble
    seen = launcher.look([one, two])
    assert (seen[one].phase, seen[one].code, list(seen[one].last)) == (
        Phase.ENDED, 3, [f"the log cannot be had: {trouble}"],
    )  # fmt: skip
    assert (seen[two].code, list(seen[two].last)) == (4, ["said by two-x"])


AWAY = KubernetesError("the Kubernetes API at https://east cannot be reached (timed out)")


def test_a_cluster_that_is_away_hides_no_job_of_another(
    launcher: KubernetesLauncher, clusters: dict[str, Cluster], started: Any
) -> None:
    one, two = started("east", "one", pod("Failed", ended(3))), started("west", "two", pod("Failed", ended(4)))
    clusters["east"].trouble = AWAY
    seen = launcher.look([one, two])
    assert {reference.name: sight.code for reference, sight in seen.items()} == {"two": 4}
    with pytest.raises(KubernetesError, match="cannot be reached"):
        launcher.look([one])


def interrupted(launcher: KubernetesLauncher, folder: Path) -> str:
    job = Job("survey", ("python",), folder, folder, options=("image=team:1", "context=east"))
    with pytest.raises(KeyboardInterrupt) as caught:
        launcher.start(job)
    return str(caught.value)


def test_a_job_whose_request_is_interrupted_is_deleted_also_when_it_comes_late(
    launcher: KubernetesLauncher, clusters: dict[str, Cluster], tmp_path: Path
) -> None:
    east = clusters["east"]
    east.jobs = [[], [{"metadata": {"name": "survey-x", "uid": "7"}}]]
    assert interrupted(launcher, tmp_path) == "interrupted, and its Job survey-x is deleted"
    assert (east.deleted, east.asked) == (["survey-x"], ["anabranch/job=survey"] * 2)


def test_where_no_job_is_found_after_an_interrupt_the_way_out_is_told(
    launcher: KubernetesLauncher, clusters: dict[str, Cluster], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kubernetes, "_LATE", 0.0)
    by_hand = "`kubectl delete jobs -n default -l anabranch/job=survey`"
    assert interrupted(launcher, tmp_path).endswith(f"should one come after all, {by_hand} takes it away")
    clusters["east"].trouble = AWAY
    assert interrupted(launcher, tmp_path).endswith(f"which {by_hand} takes away: {AWAY}")
    assert clusters["east"].deleted == []
