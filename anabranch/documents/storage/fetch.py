"""Reference -> folder, on the side of the driver."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from anabranch.core.errors import FetchError
from anabranch.documents.storage import git, references, remote
from anabranch.documents.storage.cache import Cache

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping


CACHE = "code"  # the cache's name in the home folder


class Fetched(NamedTuple):
    """Code that is there.

    Attributes:
        folder: to work in; None: the driver's own, for the code is where Python looks, or in its image.
        digest: "git:COMMIT" or "sha256:...", to be recorded; "" of code that has none.
    """

    folder: Path | None
    digest: str = ""


def fetch(reference: Mapping[str, Any] | None, cache: str | os.PathLike[str], *, path: str | None = None) -> Fetched:
    """Return the folder of a deployment's code, fetched unless it is there.

    Args:
        reference: as `references.checked` returns it; None: nothing is fetched.
        cache: a folder for fetched code.
        path: the deployment's: the working folder; within fetched code, a folder of it.

    Raises:
        FetchError: the code cannot be had; says what is gone, or what is refused.
        MissingExtraError: a package that the address needs is not installed here.
    """
    found = _fetched(reference, Cache(cache))
    if path is None or path in ("", "."):
        return found
    if found.digest:
        return Fetched(_within(found.folder or Path(), path), found.digest)
    return Fetched(_there((found.folder or Path.cwd()) / Path(path).expanduser()))


def _fetched(reference: Mapping[str, Any] | None, cache: Cache) -> Fetched:
    checked = references.checked(reference) if reference else None
    kind = references.kind_of(checked) if checked else ""
    if checked and kind == "git":
        folder, commit = git.fetch(checked, cache)
        return Fetched(folder, f"git:{commit}")
    if checked and kind == "url":
        folder, digest = remote.fetch(checked, cache)
        return Fetched(folder, f"sha256:{digest}")
    if checked and kind == "path":
        return Fetched(_there(Path(checked["path"]).expanduser()))
    if checked and kind == "image" and "folder" in checked:
        return Fetched(_there(Path(checked["folder"])))
    return Fetched(None)


def _there(folder: Path) -> Path:
    if not folder.is_dir():
        raise FetchError(f"there is no folder {str(folder)!r} here, where the deployment's code was to be")
    return folder.resolve()


def _within(folder: Path, path: str) -> Path:
    """Return a folder of fetched code; an absolute path, as of the author's machine, is none of it."""
    found = (folder / path).resolve()
    if Path(path).is_absolute() or not found.is_relative_to(folder.resolve()):
        raise FetchError(f"path {path!r} of the deployment must be a folder within its fetched code")
    if not found.is_dir():
        raise FetchError(f"there is no folder {path!r} in the deployment's code")
    return found
