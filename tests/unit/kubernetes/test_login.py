"""Where the login comes from, and what is said where there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from anabranch.core.errors import KubernetesError
from anabranch.kubernetes.login import login, pod_namespace

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_without_any_login_it_says_what_to_set(home: Path) -> None:
    with pytest.raises(KubernetesError, match=r"KUBECONFIG is not set, .* Set KUBECONFIG to the file"):
        login({}, service_account=str(home / "none"))


def test_a_kubeconfig_that_is_not_there_is_an_error_also_in_a_pod(home: Path) -> None:
    (home / "token").write_text("t")
    inside = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBECONFIG": f"{home}/a:{home}/b"}
    with pytest.raises(KubernetesError, match=r"no kubeconfig at .*/a:.*/b. Correct KUBECONFIG"):
        login(inside, service_account=str(home))
    with pytest.raises(KubernetesError, match=r"no kubeconfig at /no/such\. Correct the path"):
        login({}, kubeconfig="/no/such")


def test_of_several_kubeconfigs_those_that_are_there_count(home: Path) -> None:
    (home / "b").write_text("")
    assert login({"KUBECONFIG": f"{home}/a:{home}/b"}).kubeconfig == f"{home}/b"
    (home / ".kube").mkdir()
    (home / ".kube" / "config").write_text("")
    found = login({}, context="lab")
    assert found.kubeconfig == f"{home}/.kube/config"
    assert found.words == f"the kubeconfig {home}/.kube/config (context lab)"


def test_in_a_pod_the_service_account_is_the_login(home: Path) -> None:
    inside = {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}
    for name, text in (("token", "t"), ("namespace", "lab\n")):
        (home / name).write_text(text)
    found = login(inside, service_account=str(home))
    assert (found.kubeconfig, found.words) == ("", "the pod's service account")
    assert pod_namespace(str(home)) == "lab"
    assert pod_namespace(str(home / "none")) == ""
    with pytest.raises(KubernetesError, match="there is no context 'lab'"):
        login(inside, context="lab", service_account=str(home))
