"""Values that the chart refuses, and in which words; all of them before anything is changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.integration.helm.tools import CHART, OPERATORS

if TYPE_CHECKING:
    from tests.integration.helm.tools import Tools

pytestmark = [pytest.mark.timeout(180), pytest.mark.sampled(3, "a chart is rendered for each")]
VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
# What a place in the values holds by the user's own names, in which nothing can be misspelt.
FREE = ("affinity", "podSecurityContext", "securityContext", "labels", "requests", "limits")

SCHEMA: list[tuple[dict[str, Any], str]] = [
    ({"dask": {"worker": {"replicas": 3}}}, "additional properties 'worker' not allowed"),
    ({"dask": {"workers": {"replicas": -1}}}, "minimum: got -1, want 0"),
    ({"dask": {"workers": {"resources": {"limits": {"memory": "4Gb"}}}}}, "'4Gb' does not match pattern"),
    ({"dask": {"mode": "on"}}, "value must be one of 'shared', 'operator', 'none'"),
    ({"flows": {"A": {"target": "/a.py"}}}, "invalid propertyName 'A'"),
    ({"flows": {"a": {"target": "a/b.py"}}}, "'a/b.py' does not match pattern"),
    ({"flows": {"a": {"target": "/a.py", "timeZone": "UTC"}}}, "properties 'schedule' required, if 'timeZone' exists"),
    ({"flows": {"a": {"target": "/a.py", "schedule": "0 3 * *"}}}, "'0 3 * *' does not match pattern"),
    ({"records": {"url": "mysql://db"}}, "'mysql://db' does not match pattern"),
    ({"image": {"repository": "host/name:tag"}}, "'host/name:tag' does not match pattern"),
    ({"image": {"digest": "sha256:12"}}, "'sha256:12' does not match pattern"),
]
CONTRADICTIONS: list[tuple[dict[str, Any], str]] = [
    ({"image": {"repository": ""}}, "image.repository is empty: there is no public image"),
    ({"server": {"enabled": True}}, "does not install the server yet; leave it false, and start one with `anabranch"),
    ({"records": {"url": "postgresql://u@h/d", "existingSecret": "x"}}, "both say where the record is"),
    ({"records": {"url": "postgresql://u:secret@h/d"}}, "records.url has a password"),
    ({"records": {"url": "postgresql://h/d?user=u&password=x"}}, "records.url has a password, which"),
    ({"records": {"url": "postgresql://h/d?sslpassword=x"}}, "records.url has a password, which everybody"),
    ({"results": {"url": "sftp://u:secret@h/d"}}, "results.url has a password"),
    ({"results": {"url": "s3://b/p?key=a&secret_access_key=x"}}, "results.url has a password, which"),
    ({"dask": {"mode": "operator", "tls": {"enabled": True}}}, "dask.tls is for dask.mode=shared, not operator"),
    ({"dask": {"scheduler": {"serviceType": "LoadBalancer"}}}, "anybody could run code on it: enable dask.tls"),
    ({"dask": {"scheduler": {"serviceType": "NodePort"}}}, "serviceType=NodePort opens the scheduler"),
    ({"dask": {"mode": "operator", "workers": {"autoscaling": {"enabled": True}}}}, "use KubernetesCluster"),
    ({"dask": {"workers": {"autoscaling": {"enabled": True}, "resources": {"requests": {"cpu": None}}}}}, "goes by"),
    ({"dask": {"workers": {"autoscaling": {"enabled": True, "minReplicas": 20}}}}, "is more than maxReplicas"),
    ({"ray": {"workers": {"autoscaling": {"enabled": True, "minReplicas": 20}}}}, "ray.workers.autoscaling.minRepl"),
    ({"flows": {"a": {}}}, "flows.a wants one of `target` (in the image) and `code`"),
    ({"flows": {"a": {"target": "/a.py", "code": "x"}}}, "flows.a wants one of"),
    ({"flows": {"a": {"target": "/a.py", "runner": "ray"}}}, "flows.a runs on ray, and ray.enabled is false"),
    ({"dask": {"mode": "none"}, "flows": {"a": {"target": "/a.py", "runner": "dask"}}}, "dask.mode is none"),
    ({"flows": {"a": {"target": "/a.py", "params": {"false": 1}}}}, "write names like n, y, on, no in quotes"),
    ({"flows": {"a": {"code": "#" * 900_001}}}, "too long for a ConfigMap"),
    ({"fullnameOverride": "7up"}, "begins with a digit"),
]


@pytest.mark.parametrize(("values", "why"), SCHEMA, ids=[why for _, why in SCHEMA])
def test_the_schema_refuses(tools: Tools, values: dict[str, Any], why: str) -> None:
    assert why in tools.refused(values)


@pytest.mark.parametrize(("values", "why"), CONTRADICTIONS, ids=[why for _, why in CONTRADICTIONS])
def test_what_contradicts_itself_is_refused(tools: Tools, values: dict[str, Any], why: str) -> None:
    assert why in tools.refused(values, *OPERATORS)


def test_an_address_without_a_password_is_taken(tools: Tools) -> None:
    url = "postgresql://u@h:5432/d?sslmode=require&sslkey=/etc/tls.key"
    assert tools.rendered({"records": {"url": url}, "results": {"url": "s3://b/p?endpoint=a"}}).all


def test_all_that_is_wrong_is_told_at_once(tools: Tools) -> None:
    told = tools.refused({"server": {"enabled": True}, "flows": {"a": {}}})
    assert "this chart does not install" in told
    assert "flows.a wants" in told


MISSING: list[tuple[dict[str, Any], str]] = [
    ({"dask": {"mode": "operator"}}, "needs the Dask operator, which this cluster does not have: helm install"),
    ({"ray": {"enabled": True}}, "needs KubeRay, which this cluster does not have: helm install"),
    ({"flows": {"a": {"target": "/a.py", "schedule": "@daily"}}}, "a schedule need Kubernetes 1.21, and this is v1.20"),
    ({"dask": {"workers": {"autoscaling": {"enabled": True}}}}, "autoscaling needs Kubernetes 1.23"),
    ({"disruptionBudget": {"enabled": True}}, "disruptionBudget needs Kubernetes 1.21"),
]


@pytest.mark.parametrize(("values", "why"), MISSING, ids=[why for _, why in MISSING])
def test_what_the_cluster_does_not_have_is_named(tools: Tools, values: dict[str, Any], why: str) -> None:
    assert why in tools.refused(values, "--kube-version", "1.20.0")


def test_every_section_is_closed(tools: Tools) -> None:
    """A misspelt value at any depth is found; all the misspelt ones at once, as one `helm template` costs 0.1 s."""
    values: dict[str, Any] = {}
    paths = list(_misspelt(VALUES, values, ()))
    told = tools.refused(values)
    assert len(paths) > 20
    for path in paths:
        place = "/" + "/".join(path) if path else ""
        assert f"at '{place}': additional properties 'misspelt' not allowed" in told, path


def _misspelt(defaults: dict[str, Any], into: dict[str, Any], path: tuple[str, ...]) -> Any:
    if path and not defaults:
        return  # free: the user's own names
    yield path
    into["misspelt"] = 1
    for name, value in defaults.items():
        if isinstance(value, dict) and name not in FREE and value:
            yield from _misspelt(value, into.setdefault(name, {}), (*path, name))
