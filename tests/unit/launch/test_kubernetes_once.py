"""Which pod of a Job begins its run, by an annotation that only the first one writes."""

from __future__ import annotations

from typing import Any, Self

import pytest

from anabranch.core.errors import KubernetesError, LaunchError
from anabranch.launch.kubernetes_once import BEGUN_BY, begun_by_another

ENVIRON = {"ANABRANCH_JOB_NAME": "survey-1", "ANABRANCH_POD_NAMESPACE": "lab", "ANABRANCH_POD_UID": "one"}


class Api:
    """A Job with a version; some writes lose to other writers, which may be pods."""

    def __init__(self, *others: str, begun: str = "") -> None:
        self.annotations = {BEGUN_BY: begun} if begun else {}
        self.others = list(others)
        self.version = 1
        self.refused: KubernetesError | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def get(self, resource: Any, name: str, namespace: str) -> dict[str, Any]:
        assert (name, namespace) == ("survey-1", "lab")
        return {"metadata": {"resourceVersion": str(self.version), "annotations": dict(self.annotations)}}

    def patch(self, resource: Any, name: str, body: dict[str, Any], namespace: str) -> None:
        if self.refused is not None:
            raise self.refused
        if self.others:
            self.version += 1
            if (pod := self.others.pop(0)) != "controller":
                self.annotations[BEGUN_BY] = pod
        if body["metadata"]["resourceVersion"] != str(self.version):
            raise KubernetesError("changed meanwhile", code=409)
        self.annotations |= body["metadata"]["annotations"]


@pytest.mark.parametrize(
    ("api", "by"),
    [
        (Api(), ""),
        (Api(begun="one"), ""),  # its own: a container of it that begins again
        (Api(begun="two"), "two"),
        (Api("controller", "controller"), ""),
        (Api("controller", "two"), "two"),
    ],
)
def test_the_first_pod_begins_and_no_other(api: Any, by: str) -> None:
    assert begun_by_another(ENVIRON, api) == by
    assert api.annotations[BEGUN_BY] == (by or "one")


@pytest.mark.parametrize("code", [0, 403])
def test_where_the_api_does_not_say_nothing_begins(code: int) -> None:
    api: Any = Api()
    api.refused = KubernetesError("u may not patch jobs.batch in namespace lab", code=code)
    with pytest.raises(LaunchError, match=r"the flow does not begin: Job survey-1 .* needs `get` and `patch` of jobs"):
        begun_by_another(ENVIRON, api)
