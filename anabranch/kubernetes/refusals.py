"""What the API server answers when it does not do what it was asked for, as sentences: pure functions."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from anabranch.core.errors import KubernetesError

if TYPE_CHECKING:
    from anabranch.kubernetes.resources import Resource

_DENIED = re.compile(r'User "(?P<user>[^"]*)" cannot (?P<verb>\S+) resource "(?P<resource>[^"]*)"')
_QUOTA = re.compile(r"exceeded quota: (?P<quota>[^,]+)(?:, (?P<sums>.*))?", re.DOTALL)


class Asked(NamedTuple):
    """A question to the API server.

    Attributes:
        verb: as roles name it: "get", "list", "create", ...
        namespace: "": of the whole cluster.
        name: of one object; "": of none.
        part: of an object, such as "log".
        server: its address.
        login: where the login was found, in words.
    """

    verb: str
    resource: Resource
    namespace: str = ""
    name: str = ""
    part: str = ""
    server: str = ""
    login: str = ""

    @property
    def named(self) -> str:
        """What is asked for, as roles name it."""
        return f"{self.resource.plural}/{self.part}" if self.part else self.resource.named

    @property
    def place(self) -> str:
        """Where it is asked for."""
        return f"in namespace {self.namespace}" if self.namespace else "in the cluster"


def refused(asked: Asked, code: int, body: Any, retry_after: float | None = None) -> KubernetesError:
    """Return the error for an answer of the API server.

    Args:
        code: of HTTP.
        body: the object `Status`, or a text where something else has answered.
    """
    status = body if isinstance(body, dict) else {}
    told = " ".join(str(status.get("message") or (body if isinstance(body, str) else "")).split())[:600]
    reason = str(status.get("reason") or "")
    say = {401: _unknown, 403: _forbidden, 404: _absent, 409: _conflict, 410: _expired, 422: _invalid, 429: _busy}
    words = say.get(code, _failed)(asked, told or f"HTTP {code}", status)
    return KubernetesError(words, code=code, reason=reason, retry_after=retry_after)


def unreachable(server: str, login: str, detail: str) -> KubernetesError:
    """Return the error for no answer at all.

    Args:
        server: its address.
        login: where the address was found, in words.
    """
    return KubernetesError(
        f"the Kubernetes API at {server} cannot be reached ({detail}): is the cluster up, and does it take a VPN or a "
        f"proxy? Its address is from {login}"
    )


def _unknown(asked: Asked, told: str, status: dict[str, Any]) -> str:
    return (
        f"the Kubernetes API at {asked.server} does not accept the login from {asked.login} ({told}): its token or "
        "certificate has expired, or was withdrawn. Log in again; `kubectl get pods` asks the same"
    )


def _forbidden(asked: Asked, told: str, status: dict[str, Any]) -> str:
    if quota := quota_words(told):
        return f"{quota} {asked.place}: wait until something has ended there, or ask its owner for more"
    if found := _DENIED.search(told):
        return (
            f"{found['user']} may not {found['verb']} {asked.named} {asked.place}: its role lacks that verb. "
            f"`kubectl auth can-i {found['verb']} {asked.named}"
            f"{f' -n {asked.namespace}' if asked.namespace else ''}` asks the same; docs/submit.md and "
            "docs/clusters.md say which rights are needed"
        )
    if "being terminated" in told:
        return f"namespace {asked.namespace} is being deleted, and takes nothing new: wait, or take another one"
    return f"the cluster does not let you {asked.verb} {asked.named} {asked.place}: {told}"


def quota_words(told: str) -> str:
    """Return which quota is full, with its figures; "" for a message of another kind."""
    found = _QUOTA.search(told)
    if found is None:
        return ""
    sums = dict(re.findall(r"(requested|used|limited): (\S+?)(?=, (?:requested|used|limited):|$)", found["sums"] or ""))
    figures = f" ({sums['used']} used of {sums['limited']})" if "used" in sums and "limited" in sums else ""
    return f"quota {found['quota'].strip()} is full{figures}"


def _absent(asked: Asked, told: str, status: dict[str, Any]) -> str:
    kind = str((status.get("details") or {}).get("kind") or "")
    if kind == "namespaces" and asked.resource.plural != "namespaces":
        return (
            f"there is no namespace {asked.namespace}: `kubectl get namespaces` lists them; "
            "the context of a kubeconfig names one, and the option `namespace` another"
        )
    if not kind and not asked.part:
        return (
            f"the cluster at {asked.server} knows no {asked.resource.named} ({asked.resource.api_version}): what "
            "brings them, such as an operator, is not installed, or has another version"
        )
    return f"there is no {asked.resource.kind} {asked.name} {asked.place}: {told}"


def _conflict(asked: Asked, told: str, status: dict[str, Any]) -> str:
    if status.get("reason") == "AlreadyExists":
        return f"there is a {asked.resource.kind} {asked.name} {asked.place} already, of somebody else"
    return f"{asked.resource.kind} {asked.name} {asked.place} was changed by somebody else meanwhile: {told}"


def _expired(asked: Asked, told: str, status: dict[str, Any]) -> str:
    return f"the server has forgotten the version that was asked for: {told}"


def _invalid(asked: Asked, told: str, status: dict[str, Any]) -> str:
    return f"the API server does not take the {asked.resource.kind}: {told}"


def _busy(asked: Asked, told: str, status: dict[str, Any]) -> str:
    return f"the Kubernetes API at {asked.server} is busy and asks for a pause: {told}. Try again later"


def _failed(asked: Asked, told: str, status: dict[str, Any]) -> str:
    return f"the Kubernetes API at {asked.server} failed to {asked.verb} {asked.named} {asked.place}: {told}"
