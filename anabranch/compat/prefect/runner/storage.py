"""Prefect's storage of flows' code: each gives the reference that a deployment keeps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from anabranch.core.secrets import Secret

__all__ = ["GitRepository", "LocalStorage", "RemoteStorage"]


class GitRepository:
    """Code of a git repository; a token travels by its name, as `Secret("NAME")`.

    Args:
        directories: the first is the folder of the code.
        name, pull_interval: are taken, and change nothing.
    """

    def __init__(
        self, url: str, credentials: Any = None, name: str | None = None, branch: str | None = None,
        commit_sha: str | None = None, include_submodules: bool = False, pull_interval: int | None = 60,
        directories: list[str] | None = None,
    ) -> None:  # fmt: skip
        self.url, self.branch, self.commit_sha, self.directories = url, branch, commit_sha, directories
        self.include_submodules = include_submodules
        self._token = _token(credentials)

    def reference(self) -> dict[str, Any]:
        """Return it as a deployment has it."""
        found = {
            "git": self.url, "ref": self.branch, "commit": self.commit_sha, "token": self._token,
            "submodules": self.include_submodules or None, "folder": next(iter(self.directories or ()), None),
            "local": True if self.url.startswith("file://") else None,
        }  # fmt: skip
        return {name: value for name, value in found.items() if value is not None}


class RemoteStorage:
    """Code at an address of fsspec, with the options of its file system."""

    def __init__(self, url: str, pull_interval: int | None = 60, **settings: Any) -> None:
        self.url, self.settings = url, settings

    def reference(self) -> dict[str, Any]:
        """Return it as a deployment has it."""
        return {"url": self.url, **({"options": self.settings} if self.settings else {})}


class LocalStorage:
    """Code in a folder."""

    def __init__(self, path: str | Path, pull_interval: int | None = None) -> None:
        self.path = str(Path(path).expanduser().resolve())

    def reference(self) -> dict[str, Any]:
        """Return it as a deployment has it."""
        return {"path": self.path}


def _token(credentials: Any) -> str | None:
    if credentials is None:
        return None
    found = credentials.get("access_token") if isinstance(credentials, dict) else getattr(credentials, "token", None)
    if found is None:
        return None
    if not isinstance(found, Secret):
        raise ValueError(
            "a deployment keeps no secrets: give credentials={'access_token': anabranch.Secret('NAME')}, and have the "
            "environment variable NAME where the flow runs"
        )
    return found.name
