"""One job in trouble hides no other: the launcher before a cluster of which each answer is set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from anabranch.core.errors import KubernetesError
from anabranch.core.launching import Phase, Reference
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

    def objects(self, *_: Any, **__: Any) -> list[Object]:
        return []

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
