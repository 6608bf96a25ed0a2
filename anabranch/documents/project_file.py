"""prefect.yaml: several deployments, and the steps that bring their code to where it runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from anabranch.core.errors import DeploymentError
from anabranch.documents.document import Document

_OF_THE_FILE = ("name", "prefect-version", "build", "push", "pull", "deployments", "definitions", "actions")
_UNREAD = ("build", "push", "triggers", "version_type", "entrypoint_type")
_VARIABLE = re.compile(r"\{\{\s*\$(\w+)\s*\}\}")
_SECRET = re.compile(r"\{\{\s*prefect\.blocks\.secret\.([\w-]+)(?:\.\w+)?\s*\}\}")


def read(content: dict[str, Any], place: str, folder: Path) -> list[Document]:
    """Return the deployments of a parsed file.

    Args:
        folder: of the file: the working folder of deployments without a pull step.

    Raises:
        DeploymentError: a document or a step is refused.
    """
    unknown = [key for key in content if key not in _OF_THE_FILE]
    if unknown:
        raise DeploymentError(f"{place}: there is no key {unknown[0]!r} beside deployments")
    if not isinstance(content["deployments"], list):
        raise DeploymentError(f"{place}: deployments must be a list")
    found = []
    for number, one in enumerate(content["deployments"]):
        where = f"{place}: deployments[{number}]"
        if not isinstance(one, dict):
            raise DeploymentError(f"{where} must hold the keys of a deployment, got {one!r}")
        steps = one.get("pull") or content.get("pull") or []
        given = {key: value for key, value in one.items() if key not in (*_UNREAD, "pull")}
        given = {**_pulled(steps, where, folder), **given}
        found.append(Document.read(given, where))
    return found


def _pulled(steps: Any, where: str, folder: Path) -> dict[str, Any]:
    """Return path and storage for the steps of `pull`."""
    found: dict[str, Any] = {}
    for step in steps:
        for name, given in (step or {}).items():
            kind = str(name).rpartition(".")[2]
            given = {key: _filled(value, where) for key, value in (given or {}).items()}
            if kind == "set_working_directory":
                found["path"] = given.get("directory")
            elif kind == "git_clone":
                found["storage"] = git_of(given, where)
            elif kind == "pull_from_remote_storage":
                url, options = given.pop("url", None), given.pop("settings", given)
                found["storage"] = {"url": url, **({"options": options} if options else {})}
            else:
                raise DeploymentError(
                    f"{where}: there is no pull step {name!r}; there are set_working_directory, git_clone and "
                    "pull_from_remote_storage"
                )
    if "storage" in found and Path(found.get("path") or "").is_absolute():
        del found["path"]  # where Prefect would clone to
    return found if "storage" in found or "path" in found else {"path": str(folder.resolve())}


def git_of(given: dict[str, Any], where: str) -> dict[str, Any]:
    """Return the reference of a `git_clone` step, or of a GitRepository's arguments."""
    names = {"repository": "git", "url": "git", "branch": "ref", "tag": "ref", "commit_sha": "commit",
             "include_submodules": "submodules", "access_token": "token"}  # fmt: skip
    found = {names[key]: value for key, value in given.items() if key in names and value not in (None, False)}
    credentials = given.get("credentials")
    if isinstance(credentials, dict):
        found["token"] = credentials.get("access_token")
    if "token" in found and not (isinstance(found["token"], dict) and "$secret" in found["token"]):
        raise DeploymentError(
            f"{where}: a deployment keeps no secrets: give the token by its name, as Secret('NAME') or "
            "'{{ prefect.blocks.secret.name }}', and have the variable NAME where the driver runs"
        )
    if "token" in found:
        found["token"] = found["token"]["$secret"]
    directories = given.get("directories")
    if directories:
        found["folder"] = directories[0]
    return found


def block(storage: dict[str, Any]) -> dict[str, Any]:
    """Return the reference of one of Prefect 2's storage blocks, as its YAML has it."""
    if storage.get("repository"):
        return {"git": storage["repository"], **({"ref": storage["reference"]} if storage.get("reference") else {})}
    base = storage.get("basepath") or storage.get("bucket_path")
    if base is None:
        raise DeploymentError(f"storage of the kind {storage.get('_block_type_slug')!r} is not known; give a reference")
    kinds = {"s3": "s3://", "gcs": "gs://", "azure": "az://", "s3-bucket": "s3://"}
    prefix = kinds.get(str(storage.get("_block_type_slug")), "")
    return {"url": base if "://" in base else f"{prefix}{base}"} if prefix or "://" in base else {"path": base}


def _filled(value: Any, where: str) -> Any:
    """Return a value of a step: a secret by its name; other templates would be filled in by Prefect's own blocks."""
    if not isinstance(value, str):
        return value
    secret = _SECRET.fullmatch(value.strip())
    if secret:
        return {"$secret": secret[1].upper().replace("-", "_")}
    variable = _VARIABLE.fullmatch(value.strip())
    if variable:
        return {"$secret": variable[1]}
    if "{{" in value:
        raise DeploymentError(f"{where}: {value!r} is filled in by Prefect's blocks; write the value itself")
    return value
