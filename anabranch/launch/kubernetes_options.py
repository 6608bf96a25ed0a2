"""The words that a job of Kubernetes takes as options, such as "image=registry/team:1"; pure functions."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING

from anabranch.core.errors import LaunchError
from anabranch.core.nearest import hint
from anabranch.kubernetes.names import is_dns_name

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

WITHOUT = ("security-context", "limits")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")


@dataclass(slots=True)
class Options:
    """What was asked for in words.

    Attributes:
        image: of the pod.
        context, namespace: where the job goes.
        service_account: the pod's; no token of it is mounted unless it is given.
        secret: names of Secrets; their entries become variables.
        pull_secret: names of Secrets with which the image is pulled.
        env: NAME=VALUE.
        node_selector: LABEL=VALUE.
        toleration: LABEL[=VALUE][:EFFECT].
        label: NAME=VALUE, of the Job and its pod; such as that of a queue.
        user: number under which the pod runs; "": that of the image.
        template: path of a file with a pod, on which the job's is built.
        ttl: seconds after its end at which the cluster deletes the Job.
        twice: "allowed": the flow may run twice, on a server that replaces pods, where nothing else can refuse that.
    """

    image: str = ""
    context: str = ""
    namespace: str = ""
    service_account: str = ""
    secret: list[str] = field(default_factory=list)
    pull_secret: list[str] = field(default_factory=list)
    env: list[str] = field(default_factory=list)
    node_selector: list[str] = field(default_factory=list)
    toleration: list[str] = field(default_factory=list)
    label: list[str] = field(default_factory=list)
    user: str = ""
    template: str = ""
    ttl: str = "604800"
    twice: str = ""


KNOWN = tuple(one.name.replace("_", "-") for one in fields(Options))


def options(words: Iterable[str]) -> Options:
    """Read the options of a job.

    Raises:
        LaunchError: there is no such option, or its value cannot be; says which there are.
    """
    found = Options()
    for word in words:
        name, equals, value = word.partition("=")
        name = name.removeprefix("--")
        if name not in KNOWN or not equals or not value:
            way = f"there are: {', '.join(KNOWN)}" if name in KNOWN else hint(name, KNOWN)
            raise LaunchError(f"{word!r} is not an option for a job of Kubernetes, such as NAME=VALUE; {way}")
        attribute = name.replace("-", "_")
        if isinstance(before := getattr(found, attribute), list):
            before.append(value)
        else:
            setattr(found, attribute, value)
    _check(found)
    return found


def _check(found: Options) -> None:
    if found.namespace and not is_dns_name(found.namespace):
        raise LaunchError(f"{found.namespace!r} is not a namespace: small letters, digits and '-', at most 63 of them")
    for name, value in (("ttl", found.ttl), ("user", found.user or "0")):
        if not value.isdigit():
            raise LaunchError(f"option {name} must be 0 or more, got {value!r}")
    if found.twice not in ("", "allowed"):
        raise LaunchError(f"option twice can be 'allowed' alone, got {found.twice!r}")
    for one in found.env:
        if not _VARIABLE.fullmatch(one.partition("=")[0]) or "=" not in one:
            raise LaunchError(f"option env must be NAME=VALUE, got {one!r}")
    for name, values in (("node-selector", found.node_selector), ("label", found.label)):
        for one in values:
            if "=" not in one:
                raise LaunchError(f"option {name} must be NAME=VALUE, got {one!r}")


def toleration(text: str) -> dict[str, str]:
    """Return the toleration of LABEL[=VALUE][:EFFECT]. Raises LaunchError."""
    taint, colon, effect = text.partition(":")
    name, equals, value = taint.partition("=")
    if colon and effect not in _EFFECTS:
        effects = ", ".join(_EFFECTS)
        raise LaunchError(f"option toleration must be LABEL[=VALUE][:EFFECT], EFFECT one of {effects}, got {text!r}")
    found = {"key": name, "operator": "Equal" if equals else "Exists"}
    return found | ({"value": value} if equals else {}) | ({"effect": effect} if effect else {})


def check_without(without: Collection[str]) -> None:
    """Raise LaunchError for a part of the manifest that cannot be left out."""
    for word in without:
        if word.removeprefix("--") not in WITHOUT:
            raise LaunchError(f"--without={word}: of a job of Kubernetes these can be left out: {', '.join(WITHOUT)}")
