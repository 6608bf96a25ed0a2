"""Where the login to a cluster comes from: a kubeconfig, or the service account of the pod that this process is in."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from anabranch.core.errors import KubernetesError

if TYPE_CHECKING:
    from collections.abc import Mapping

SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"


class Login(NamedTuple):
    """What a connection is made of.

    Attributes:
        kubeconfig: paths, joined by colons; "": that of a service account.
        context: of the kubeconfig; "": its current one.
        namespace: "": that of the context or of the pod.
        service_account: the folder with a pod's token.
        words: where the login comes from, in a sentence.
    """

    kubeconfig: str = ""
    context: str = ""
    namespace: str = ""
    service_account: str = SERVICE_ACCOUNT
    words: str = ""


def login(
    environ: Mapping[str, str], *, kubeconfig: str = "", context: str = "", namespace: str = "",
    service_account: str = SERVICE_ACCOUNT,
) -> Login:  # fmt: skip
    """Return the login that these words choose: as kubectl does, a kubeconfig before a service account.

    Raises:
        KubernetesError: there is none; says what to set.
    """
    chosen = kubeconfig or environ.get("KUBECONFIG", "")
    paths = [os.path.expanduser(path) for path in (chosen or "~/.kube/config").split(os.pathsep) if path]
    there = [path for path in paths if os.path.isfile(path)]
    if there:
        words = f"{'KUBECONFIG=' if chosen and not kubeconfig else 'the kubeconfig '}{os.pathsep.join(there)}"
        words += f" (context {context})" if context else ""
        return Login(os.pathsep.join(there), context, namespace, service_account, words)
    if chosen:
        raise KubernetesError(
            f"no way to a Kubernetes cluster: there is no kubeconfig at {chosen}. "
            f"{'Correct the path' if kubeconfig else 'Correct KUBECONFIG'}, or get one from the cluster's owner"
        )
    if environ.get("KUBERNETES_SERVICE_HOST") and os.path.isfile(os.path.join(service_account, "token")):
        if context:
            raise KubernetesError(f"there is no context {context!r}: in a pod without a kubeconfig there are none")
        return Login("", "", namespace, service_account, "the pod's service account")
    raise KubernetesError(
        "no way to a Kubernetes cluster: there is no kubeconfig (~/.kube/config), KUBECONFIG is not set, and this "
        "program runs in no pod with a service account. Set KUBECONFIG to the file that the cluster's owner gives"
    )


def pod_namespace(service_account: str) -> str:
    """Return the namespace of the pod that this process is in; "" where that is not known."""
    try:
        with open(os.path.join(service_account, "namespace"), encoding="utf-8") as file:
            return file.read().strip()
    except OSError:
        return ""
