"""What git may be asked to fetch: pure checks of urls, refs and folders.

git runs programs for some urls (`ext::sh ...`, `ssh://-oProxyCommand=...`), and reads words that begin with a dash as
options. None of these comes as far as its command line.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from anabranch.core.errors import FetchError

if TYPE_CHECKING:
    from collections.abc import Mapping

SCHEMES = ("https", "ssh")
_SHORT = re.compile(r"(?P<user>[\w.][\w.-]*)@(?P<host>[\w.][\w.-]*):(?P<path>[^:]+)")  # git@host:team/repo.git
_COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
_REF = re.compile(r"[\w./+@-]+")


def is_short(url: str) -> bool:
    """Return whether a url is one of ssh in its short form."""
    return _SHORT.fullmatch(url) is not None


def check(reference: Mapping[str, Any]) -> None:
    """Check a reference to a git repository.

    Raises:
        FetchError: a part of it is refused; says which, why, and what to give.
    """
    url(reference["git"], local=bool(reference.get("local")))
    if "ref" in reference:
        ref(reference["ref"])
    if "commit" in reference and not _COMMIT.fullmatch(reference["commit"]):
        raise FetchError(f"git commit {reference['commit']!r} must be all 40 (or 64) letters of its hash")
    if "folder" in reference:
        folder(reference["folder"])


def url(text: str, *, local: bool = False) -> str:
    """Return the scheme of a url that git may fetch from: https, ssh, and file where `local` asks for it."""
    _plain("url", text)
    if is_short(text):
        return "ssh"
    if "::" in text:
        raise FetchError(f"git url {text!r} names a helper program before '::'; give a url of {_or(SCHEMES)}")
    try:
        parts = urlsplit(text)
        host = parts.hostname or ""
    except ValueError as error:
        raise FetchError(f"git url {text!r} is no url: {error}") from None
    if parts.scheme == "file" or (not parts.scheme and text.startswith("/")):
        return _file(text, parts.path, local)
    if parts.scheme not in SCHEMES:
        raise FetchError(f"git url {text!r} must be one of {_or(SCHEMES)}, or a repository here with local: true")
    if not host or host.startswith("-") or (parts.username or "").startswith("-"):
        raise FetchError(f"git url {text!r} has no host that git may be given")
    if parts.password or (parts.username and parts.scheme == "https"):
        raise FetchError(
            f"the git url of {host} holds a login: a deployment keeps no secrets; give token: NAME of the "
            "environment variable that holds it where the driver runs"
        )
    _inside("url", text, parts.path)
    return parts.scheme


def ref(text: str) -> None:
    """Check the name of a branch or a tag."""
    _plain("ref", text)
    bad = ".." in text or "@{" in text or "//" in text or text.endswith((".lock", "/", "."))
    if bad or not _REF.fullmatch(text):
        raise FetchError(f"git ref {text!r} is no name of a branch or a tag")


def folder(text: str) -> None:
    """Check a folder within a repository."""
    _plain("folder", text)
    if text.startswith("/") or "\\" in text:
        raise FetchError(f"folder {text!r} must be one of the repository, from its top")
    _inside("folder", text, text)


def _file(text: str, path: str, local: bool) -> str:
    if not local:
        raise FetchError(f"git url {text!r} is a repository of the machine of the driver: say local: true to allow it")
    _inside("url", text, path)
    return "file"


def _plain(what: str, text: str) -> None:
    if not text:
        raise FetchError(f"git {what} must not be empty")
    if text.startswith("-"):
        raise FetchError(f"git {what} {text!r} begins with '-': git would read it as an option")
    if any(ord(letter) < 32 or ord(letter) == 127 for letter in text):
        raise FetchError(f"git {what} {text!r} holds control characters")


def _inside(what: str, text: str, path: str) -> None:
    if ".." in PurePosixPath(path).parts:
        raise FetchError(f"git {what} {text!r} goes up by '..'; give it without")


def _or(words: tuple[str, ...]) -> str:
    return " or ".join(words)
