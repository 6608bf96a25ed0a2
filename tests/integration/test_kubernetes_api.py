"""The API of a real Kubernetes: objects, a watch of many, and what is said where it refuses."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from anabranch.core.errors import KubernetesError
from anabranch.kubernetes.api import KubernetesApi
from anabranch.kubernetes.reflector import Reflector
from anabranch.kubernetes.resources import CONFIG_MAPS, JOBS, PODS, SERVICES, Resource

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.kubernetes

DEADLINE = 50.0
QUOTAS = Resource("resourcequotas", "", "v1", "ResourceQuota")
ACCOUNTS = Resource("serviceaccounts", "", "v1", "ServiceAccount")
ROLES = Resource("roles", "rbac.authorization.k8s.io", "v1", "Role")
BINDINGS = Resource("rolebindings", "rbac.authorization.k8s.io", "v1", "RoleBinding")


@pytest.fixture
def api(kubernetes: str) -> Iterator[KubernetesApi]:
    with KubernetesApi() as api:
        assert api.namespace == kubernetes
        yield api


def paper(name: str, text: str = "", **labels: str) -> dict[str, Any]:
    meta = {"name": name, "labels": {f"anabranch/{key}": value for key, value in labels.items()}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"text": text}}


def names(objects: list[dict[str, Any]]) -> list[str]:
    return sorted(one["metadata"]["name"] for one in objects if one["metadata"]["name"] != "kube-root-ca.crt")


def test_an_object_is_created_once_changed_and_deleted(api: KubernetesApi) -> None:
    made = api.create(CONFIG_MAPS, paper("a", "one", job="a-1"))
    assert api.create(CONFIG_MAPS, paper("a", "other words", job="a-1"))["metadata"]["uid"] == made["metadata"]["uid"]
    for other in (paper("a", job="a-2"), paper("a")):
        with pytest.raises(KubernetesError, match="of somebody else") as caught:
            api.create(CONFIG_MAPS, other)
        assert caught.value.code == 409
    assert api.patch(CONFIG_MAPS, "a", {"data": {"more": "two"}})["data"] == {"text": "one", "more": "two"}
    assert names(api.objects(CONFIG_MAPS, labels="anabranch/job=a-1")) == ["a"]
    assert not api.delete(CONFIG_MAPS, "a", uid="of-an-earlier-one")
    assert api.delete(CONFIG_MAPS, "a", uid=made["metadata"]["uid"])
    assert not api.delete(CONFIG_MAPS, "a")
    with pytest.raises(KubernetesError, match="there is no ConfigMap a in namespace"):
        api.get(CONFIG_MAPS, "a")


def test_a_list_is_read_page_by_page(api: KubernetesApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("anabranch.kubernetes.api.PAGE", 2)
    for n in range(5):
        api.create(CONFIG_MAPS, paper(f"n{n}", job="many"))
    found = api.objects(CONFIG_MAPS, labels="anabranch/job")
    assert names(found) == [f"n{n}" for n in range(5)]
    assert not any("managedFields" in one["metadata"] for one in found)


def test_one_watch_sees_what_comes_changes_and_goes(api: KubernetesApi) -> None:
    api.create(CONFIG_MAPS, paper("before", job="x"))
    with Reflector(api, CONFIG_MAPS, labels="anabranch/job") as seen:
        assert names(seen.objects()) == ["before"]
        api.create(CONFIG_MAPS, paper("foreign"))
        api.create(CONFIG_MAPS, paper("after", job="x"))
        assert seen.wait(lambda found: names(found) == ["after", "before"] or None, DEADLINE)
        api.patch(CONFIG_MAPS, "after", {"data": {"text": "new"}})
        assert seen.wait(lambda found: any(one["data"]["text"] == "new" for one in found) or None, DEADLINE)
        api.delete(CONFIG_MAPS, "before")
        assert seen.wait(lambda found: names(found) == ["after"] or None, DEADLINE)
        assert seen.wait(lambda found: None, 0.1) is None
    with pytest.raises(KubernetesError, match="there is no namespace no-such"):
        api.create(CONFIG_MAPS, paper("x"), "no-such")


# -- refusals --------------------------------------------------------------------------------------


def test_an_unknown_kind_names_what_is_not_installed(api: KubernetesApi) -> None:
    with pytest.raises(KubernetesError, match=r"knows no rayclusters.ray.io .*: what brings them"):
        api.objects(Resource("rayclusters", "ray.io", "v1", "RayCluster"))


def test_what_is_no_object_is_told_with_its_field(api: KubernetesApi) -> None:
    with pytest.raises(KubernetesError, match=r"does not take the ConfigMap: .*metadata.name"):
        api.create(CONFIG_MAPS, paper("Not A Name"))


def test_a_missing_verb_is_named(api: KubernetesApi, kubernetes: str, tmp_path: Path) -> None:
    """A service account that may list and watch pods, and nothing more."""
    rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]
    meta = {"metadata": {"name": "reader"}}
    api.create(ACCOUNTS, {"apiVersion": "v1", "kind": "ServiceAccount", **meta})
    api.create(ROLES, {"apiVersion": ROLES.api_version, "kind": "Role", **meta, "rules": rules})
    subject = {"kind": "ServiceAccount", "name": "reader", "namespace": kubernetes}
    role = {"apiGroup": ROLES.group, "kind": "Role", "name": "reader"}
    binding = {"apiVersion": ROLES.api_version, "kind": "RoleBinding", **meta, "subjects": [subject], "roleRef": role}
    api.create(BINDINGS, binding)
    with KubernetesApi(kubeconfig=as_account(api, kubernetes, "reader", tmp_path)) as reader:
        assert reader.objects(PODS) == []
        with pytest.raises(KubernetesError, match=rf"reader may not create jobs.batch in namespace {kubernetes}"):
            reader.create(JOBS, {"metadata": {"name": "x"}})
        with Reflector(reader, PODS) as seen, pytest.raises(KubernetesError, match="may not watch pods in namespace"):
            seen.wait(lambda _: None, DEADLINE)
        with Reflector(reader, JOBS) as seen, pytest.raises(KubernetesError, match=r"may not list jobs\.batch"):
            seen.objects()


def as_account(api: KubernetesApi, namespace: str, account: str, folder: Path) -> str:
    """Return a kubeconfig for a service account: with its certificates as data, as most have them."""
    config = yaml.safe_load(Path(os.environ["KUBECONFIG"]).read_text())
    cluster = config["clusters"][0]["cluster"]
    if authority := cluster.pop("certificate-authority", None):
        import base64

        cluster["certificate-authority-data"] = base64.b64encode(Path(authority).read_bytes()).decode()
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": []}}
    tokens = Resource("serviceaccounts", "", "v1", "ServiceAccount")
    work = api.answer(asked(tokens, namespace, account), "POST", {}, request)
    config["users"][0]["user"] = {"token": api.transport.run(work)["status"]["token"]}
    path = folder / "account"
    path.write_text(yaml.safe_dump(config))
    return str(path)


def asked(resource: Resource, namespace: str, name: str) -> Any:
    from anabranch.kubernetes.refusals import Asked

    return Asked("get", resource, namespace, name, "token")


def test_a_full_quota_is_named_with_its_figures(api: KubernetesApi) -> None:
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "few"}}
    api.create(QUOTAS, quota | {"spec": {"hard": {"services": "0"}}})
    with Reflector(api, QUOTAS) as seen:
        assert seen.wait(lambda found: found[0].get("status", {}).get("used"), DEADLINE)
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"ports": [{"port": 1}]}}
    with pytest.raises(KubernetesError, match=r"quota few is full \(services=0 used of services=0\)"):
        api.create(SERVICES, service)


def test_an_expired_token_is_told_and_one_that_was_renewed_is_taken(kubernetes: str) -> None:
    path = Path(os.environ["KUBECONFIG"])
    right = path.read_text()
    config = yaml.safe_load(right)
    config["users"][0]["user"] = {"token": "expired"}
    path.write_text(yaml.safe_dump(config))
    with KubernetesApi() as api:
        with pytest.raises(KubernetesError, match=r"does not accept the login from KUBECONFIG.*Log in") as caught:
            api.objects(PODS)
        assert caught.value.code == 401
        path.write_text(right)
        assert api.objects(PODS) == []


def test_a_plug_in_of_the_kubeconfig_gives_the_token_and_is_asked_again(kubernetes: str, tmp_path: Path) -> None:
    path = Path(os.environ["KUBECONFIG"])
    config = yaml.safe_load(path.read_text())
    token = config["users"][0]["user"]["token"]
    (tmp_path / "token").write_text("old")
    kind = "client.authentication.k8s.io/v1"
    program = (
        f"import json; print(json.dumps({{'apiVersion': '{kind}', 'kind': 'ExecCredential', "
        f"'status': {{'token': open({str(tmp_path / 'token')!r}).read()}}}}))"
    )
    plug_in = {"apiVersion": kind, "command": sys.executable, "args": ["-c", program]}
    config["users"][0]["user"] = {"exec": plug_in}
    path.write_text(yaml.safe_dump(config))
    with KubernetesApi() as api:
        with pytest.raises(KubernetesError, match="does not accept the login"):
            api.objects(PODS)
        (tmp_path / "token").write_text(token)
        assert api.objects(PODS) == []
    plug_in["command"] = "/no/such/plug-in"
    path.write_text(yaml.safe_dump(config))
    with KubernetesApi() as api, pytest.raises(KubernetesError, match=r"the login to Kubernetes .*cannot be used"):
        api.objects(PODS)


def test_in_a_pod_the_service_account_and_its_namespace_count(
    kubernetes: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = yaml.safe_load(Path(os.environ["KUBECONFIG"]).read_text())
    host, port = config["clusters"][0]["cluster"]["server"].removeprefix("https://").split(":")
    for name, text in (("token", "old"), ("namespace", kubernetes)):
        (tmp_path / name).write_text(text)
    (tmp_path / "ca.crt").write_bytes(Path(config["clusters"][0]["cluster"]["certificate-authority"]).read_bytes())
    monkeypatch.delenv("KUBECONFIG")
    for name, text in (("HOME", str(tmp_path)), ("KUBERNETES_SERVICE_HOST", host), ("KUBERNETES_SERVICE_PORT", port)):
        monkeypatch.setenv(name, text)
    with KubernetesApi(service_account=str(tmp_path)) as api:
        with pytest.raises(KubernetesError, match="the pod's service account"):
            api.objects(PODS)
        (tmp_path / "token").write_text(config["users"][0]["user"]["token"] + "\n")  # as the kubelet renews it
        assert api.objects(PODS) == []
        assert api.namespace == kubernetes


def test_a_server_that_cannot_be_reached_is_told_with_its_address(tmp_path: Path) -> None:
    config = {
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:9"}}], "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}], "current-context": "c",
    }  # fmt: skip
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    for context, words in (("", r"https://127.0.0.1:9 cannot be reached \(.*\): is the"), ("x", "No such context x")):
        with KubernetesApi(kubeconfig=str(path), context=context) as api, pytest.raises(KubernetesError, match=words):
            api.objects(PODS)


def test_keys_of_a_kubeconfig_are_not_left_in_the_temporary_folder(
    api: KubernetesApi, kubernetes: str, tmp_path: Path
) -> None:
    """kr8s writes them to files, and leaves these there."""
    api.create(ACCOUNTS, {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "x"}})
    path = as_account(api, kubernetes, "x", tmp_path)
    program = (
        "import os, tempfile\nfrom anabranch.kubernetes.api import KubernetesApi\n"
        f"with KubernetesApi(kubeconfig={path!r}) as api:\n    api.namespace\nprint(os.listdir(tempfile.gettempdir()))"
    )
    (tmp_path / "t").mkdir()
    environ = {**os.environ, "TMPDIR": str(tmp_path / "t")}
    argv = [sys.executable, "-c", program]
    done = subprocess.run(argv, capture_output=True, text=True, env=environ, timeout=DEADLINE)
    assert done.stdout.strip() == "[]", done.stderr
