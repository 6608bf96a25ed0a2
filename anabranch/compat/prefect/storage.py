"""Prefect 1's `prefect.storage`: where a registered flow's file is. A flow is always read from its file again."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

from anabranch.documents.storage import remote

__all__ = ["GCS", "S3", "Docker", "Git", "GitHub", "GitLab", "Local", "Module", "Storage"]


class Storage:
    """Base of the storages.

    Args:
        labels: an agent must have all of them.
        secrets, add_default_labels, result, stored_as_script: are taken, and change nothing.
    """

    def __init__(
        self, result: Any = None, secrets: Any = None, labels: Any = None, add_default_labels: bool | None = None,
        stored_as_script: bool = True,
    ) -> None:  # fmt: skip
        self.labels = set(labels or ())

    def place(self, variable: str) -> dict[str, Any]:
        """Return entrypoint, path and storage of a deployment.

        Args:
            variable: of the flow, in its file; "": it is the only one there.
        """
        return {}


def _named(file: str, variable: str) -> str:
    return f"{file}:{variable}" if variable else file


class Local(Storage):
    """A file of the machine of the agent; without a path that in which the flow is defined."""

    def __init__(
        self, directory: str | None = None, validate: bool = True, path: str | None = None,
        stored_as_script: bool = False, **given: Any,
    ) -> None:  # fmt: skip
        super().__init__(**given)
        self.path = path

    def place(self, variable: str) -> dict[str, Any]:
        if self.path is None:
            return {}
        file = Path(self.path).expanduser().resolve()
        return {"entrypoint": _named(file.name, variable), "path": str(file.parent)}


class Module(Storage):
    """An installed module."""

    def __init__(self, module: str, **given: Any) -> None:
        super().__init__(**given)
        self.module = module

    def place(self, variable: str) -> dict[str, Any]:
        return {"entrypoint": _named(self.module, variable), "storage": {"module": self.module}}


class _Bucket(Storage):
    """A file of an object store."""

    scheme = ""

    def __init__(
        self, bucket: str, key: str | None = None, stored_as_script: bool = False, local_script_path: str | None = None,
        client_options: dict[str, Any] | None = None, **given: Any,
    ) -> None:  # fmt: skip
        super().__init__(**{name: value for name, value in given.items() if name in _OF_ALL})
        self.bucket, self.key, self.local_script_path = bucket, key, local_script_path

    def place(self, variable: str) -> dict[str, Any]:
        key = self._key()
        return {"entrypoint": _named(key.name, variable), "storage": {"url": self._folder(key)}}

    def sent(self) -> None:
        """Send the script, where there is one here."""
        if self.local_script_path is not None:
            file, name = Path(self.local_script_path), self._key().name
            remote.put_file(file, f"{self._folder(self._key())}/{name}")

    def _key(self) -> PurePosixPath:
        key = self.key or (self.local_script_path and Path(self.local_script_path).name)
        if not key:
            raise ValueError("give key=, the name of the flow's file in the bucket, or local_script_path=")
        return PurePosixPath(key)

    def _folder(self, key: PurePosixPath) -> str:
        return f"{self.scheme}://{self.bucket}" + (f"/{key.parent}" if str(key.parent) != "." else "")


class S3(_Bucket):
    """A file on S3."""

    scheme = "s3"


class GCS(_Bucket):
    """A file on Google's storage."""

    scheme = "gs"


class Git(Storage):
    """A file of a git repository.

    Args:
        repo: "team/name" at `repo_host`.
        git_token_secret_name: the environment variable with the token, where the flow runs.
    """

    def __init__(
        self, flow_path: str, repo: str | None = None, repo_host: str = "github.com",
        git_clone_url_secret_name: Any = None, branch_name: str | None = None, tag: str | None = None,
        commit: str | None = None, git_token_secret_name: str | None = None, use_ssh: bool = False, **given: Any,
    ) -> None:  # fmt: skip
        super().__init__(**{name: value for name, value in given.items() if name in _OF_ALL})
        if repo is None:
            raise NotImplementedError("anabranch keeps the url of a repository with the deployment: give repo=")
        url = f"git@{repo_host}:{repo}.git" if use_ssh else f"https://{repo_host}/{repo}.git"
        found = {"git": url, "ref": branch_name or tag, "commit": commit, "token": git_token_secret_name}
        self.flow_path = flow_path
        self._reference = {name: value for name, value in found.items() if value is not None}

    def place(self, variable: str) -> dict[str, Any]:
        return {"entrypoint": _named(self.flow_path, variable), "storage": self._reference}


class GitHub(Git):
    """A file of a repository of GitHub."""

    def __init__(
        self, repo: str, path: str, ref: str | None = None, access_token_secret: str | None = None, **given: Any
    ) -> None:
        super().__init__(path, repo, "github.com", branch_name=ref, git_token_secret_name=access_token_secret, **given)


class GitLab(Git):
    """A file of a repository of GitLab."""

    def __init__(
        self, repo: str, path: str, host: str | None = None, ref: str | None = None,
        access_token_secret: str | None = None, **given: Any,
    ) -> None:  # fmt: skip
        host = (host or "gitlab.com").removeprefix("https://")
        super().__init__(path, repo, host, branch_name=ref, git_token_secret_name=access_token_secret, **given)


class Docker(Storage):
    """An image that has the flow's file; anabranch builds none."""

    def __init__(
        self, registry_url: str | None = None, image_name: str | None = None, image_tag: str | None = None,
        path: str | None = None, **given: Any,
    ) -> None:  # fmt: skip
        super().__init__(**{name: value for name, value in given.items() if name in _OF_ALL})
        if image_name is None or path is None:
            raise NotImplementedError(
                "anabranch builds no images: build one with the flow's file, and give image_name=, image_tag= and "
                "path= of the file in it"
            )
        name = f"{registry_url}/{image_name}" if registry_url else image_name
        self.image, self.path = f"{name}:{image_tag or 'latest'}", PurePosixPath(path)

    def place(self, variable: str) -> dict[str, Any]:
        folder = {"image": self.image, "folder": str(self.path.parent)}
        return {"entrypoint": _named(self.path.name, variable), "storage": folder}


_OF_ALL = frozenset({"result", "secrets", "labels", "add_default_labels", "stored_as_script"})
