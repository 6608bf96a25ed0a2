"""References to code, as a document has them.

    {"path": "/srv/flows"}                        a folder that is there
    {"module": "company.flows"}                   installed where the driver runs
    {"url": "s3://bucket/flows"}                  files at any address of fsspec
    {"git": "https://host/team/repo.git", "ref": "main", "folder": "flows"}
    {"image": "registry/team/flows:3"}            in the image that the driver runs in
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

from anabranch.core import secrets
from anabranch.core.errors import FetchError
from anabranch.core.nearest import meant
from anabranch.documents.parameters import plain
from anabranch.documents.storage import git_words

# The keys of each kind, by the key that makes it this kind.
KINDS: dict[str, dict[str, type]] = {
    "path": {},
    "module": {},
    "url": {"options": dict},
    "git": {"ref": str, "commit": str, "folder": str, "submodules": bool, "token": str, "local": bool},
    "image": {"folder": str},
}
_SECRET = ("key", "password", "secret", "token", "signature", "credential")
_ADDRESS = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://")


def checked(given: Any) -> dict[str, Any] | None:
    """Return a reference as a dict; a text is a git url, another address, or a path.

    Raises:
        ValueError: it is none; names the nearest key.
        FetchError: git would be asked for something else than to fetch.
    """
    if given is None:
        return None
    if isinstance(given, str | os.PathLike):
        return checked(_of_text(os.fspath(given)))
    if not isinstance(given, Mapping):
        raise ValueError(f"must be one of {', '.join(KINDS)}, got {given!r}")
    found = {str(key): value for key, value in given.items() if value is not None}
    kinds = [kind for kind in KINDS if kind in found]
    if len(kinds) != 1:
        near = next((near for key in found if (near := meant(key, KINDS))), "")
        raise ValueError(f"must have one of the keys {', '.join(KINDS)}, got {sorted(found)}{near}")
    kind = kinds[0]
    known = {kind: str, **KINDS[kind]}
    for key, value in found.items():
        if key not in known:
            raise ValueError(f"a reference by {kind} has no key {key!r}{meant(key, known)}")
        if not isinstance(value, known[key]):
            raise ValueError(f"{key} must be a {known[key].__name__}, got {value!r}")
    if kind == "git":
        git_words.check(found)
        _without_secrets(found["git"], {})
    if kind == "url":
        found = plain(found, "storage")
        _without_secrets(found["url"], found.get("options") or {})
    return found


def kind_of(reference: Mapping[str, Any]) -> str:
    """Return the key that makes a reference its kind."""
    return next(kind for kind in KINDS if kind in reference)


def _of_text(text: str) -> dict[str, Any]:
    if text.startswith("git+"):
        return {"git": text.removeprefix("git+")}
    if text.endswith(".git") and (_ADDRESS.match(text) or git_words.is_short(text)):
        return {"git": text}
    return {"url": text} if _ADDRESS.match(text) else {"path": text}


def _without_secrets(url: str, options: Mapping[str, Any]) -> None:
    told = [name for name, value in options.items() if name.lower().endswith(_SECRET) and isinstance(value, str)]
    bare, _, query = url.partition("?")
    asked = [name for name, _ in parse_qsl(query) if name.lower().endswith(_SECRET)]
    if secrets.has_password(url) or told or asked:
        what = f"option {told[0]!r}" if told else f"{asked[0]!r} in its query" if asked else "login"
        raise FetchError(
            f"the address {secrets.without_login(bare)} was given with a {what}: a deployment keeps no secrets; let "
            "the machine of the driver have it in its environment, or give Secret('NAME')"
        )
