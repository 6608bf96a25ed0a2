"""What is asked of the API for a Ray cluster that runs: other bounds, and its end."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from anabranch.clusters.kubernetes.ray_cluster import PATCHES, RayOnKubernetes
from anabranch.core.errors import KubernetesError


class Api:
    """Has one cluster; each of `others` is written by the autoscaler between a read and a patch."""

    namespace = "team"

    def __init__(self, *others: int) -> None:
        self.group: dict[str, Any] = {
            "groupName": "workers", "replicas": 5, "minReplicas": 0, "maxReplicas": 9,
            "scaleStrategy": {"workersToDelete": ["w-3"]}, "template": {"spec": {}},
        }  # fmt: skip
        self.others = list(others)
        self.version = 1
        self.failing = ""

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...

    def get(self, resource: object, name: str) -> dict[str, Any]:
        found = {"metadata": {"resourceVersion": str(self.version)}, "spec": {"workerGroupSpecs": [self.group]}}
        found = copy.deepcopy(found)
        if self.others:
            self.group["replicas"] = self.others.pop(0)
            self.version += 1
        return found

    def patch(self, resource: object, name: str, body: dict[str, Any]) -> None:
        if body["metadata"]["resourceVersion"] != str(self.version):
            raise KubernetesError("the object has been modified", code=409, reason="Conflict")
        [self.group] = body["spec"]["workerGroupSpecs"]

    def delete(self, resource: object, name: str, *, uid: str) -> None:
        raise KubernetesError(self.failing, code=403)


def cluster(api: Api) -> RayOnKubernetes:
    found = RayOnKubernetes("fit", image="i", ray_version="2.60.0")
    found._api = api  # type: ignore[assignment]
    found._uid = "u-1"
    return found


@pytest.mark.parametrize(("minimum", "maximum", "run"), [(1, 7, 5), (6, 7, 6), (0, 3, 3)])
def test_other_bounds_leave_what_the_autoscaler_has_said(minimum: int, maximum: int, run: int) -> None:
    api = Api()
    before = dict(api.group)
    cluster(api).adapt(minimum=minimum, maximum=maximum)
    assert api.group == {**before, "minReplicas": minimum, "maxReplicas": maximum, "replicas": run}


def test_bounds_are_written_over_nothing_that_has_changed_meanwhile() -> None:
    api = Api(6, 7)
    cluster(api).adapt(minimum=1, maximum=9)
    assert (api.group["replicas"], api.group["minReplicas"]) == (7, 1)
    with pytest.raises(KubernetesError, match="has been modified"):
        cluster(Api(*range(PATCHES))).adapt(minimum=1, maximum=9)


def test_an_end_that_fails_says_how_the_cluster_is_deleted_by_hand(caplog: pytest.LogCaptureFixture) -> None:
    api = Api()
    api.failing = "delete rayclusters is not allowed"
    with caplog.at_level("ERROR", logger="anabranch.clusters"):
        cluster(api).close()
    assert "delete rayclusters is not allowed" in caplog.text
    assert "`kubectl delete raycluster fit -n team`" in caplog.text
