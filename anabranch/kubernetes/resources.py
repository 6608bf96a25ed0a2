"""The kinds of objects that anabranch asks Kubernetes for, as the API's addresses name them."""

from __future__ import annotations

from typing import NamedTuple


class Resource(NamedTuple):
    """A kind of object.

    Attributes:
        plural: as addresses and roles have it.
        group: of the API; "" for the core.
        version: of the group.
        kind: as manifests have it.
        namespaced: objects of this kind lie in a namespace.
    """

    plural: str
    group: str
    version: str
    kind: str
    namespaced: bool = True

    @property
    def base(self) -> str:
        """The address below which objects of this kind lie."""
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"

    @property
    def api_version(self) -> str:
        """The field `apiVersion` of a manifest."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def named(self) -> str:
        """The resource as roles and `kubectl` name it, with its group."""
        return f"{self.plural}.{self.group}" if self.group else self.plural


JOBS = Resource("jobs", "batch", "v1", "Job")
PODS = Resource("pods", "", "v1", "Pod")
EVENTS = Resource("events", "", "v1", "Event")
CONFIG_MAPS = Resource("configmaps", "", "v1", "ConfigMap")
SECRETS = Resource("secrets", "", "v1", "Secret")
SERVICES = Resource("services", "", "v1", "Service")
NETWORK_POLICIES = Resource("networkpolicies", "networking.k8s.io", "v1", "NetworkPolicy")
DEPLOYMENTS = Resource("deployments", "apps", "v1", "Deployment")
NAMESPACES = Resource("namespaces", "", "v1", "Namespace", namespaced=False)
