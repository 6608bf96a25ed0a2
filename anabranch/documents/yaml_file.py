"""Deployments in files, YAML or JSON: ours, and those of three generations of Prefect.

    name: ... flow_name: ...           one document, as `Document.document` writes it
    ###  ### DO NOT EDIT ... ###       Prefect 2's two halves: one document, with names of its own
    deployments: [...]                 prefect.yaml: several, with `pull` steps for all

Only plain data is read: a YAML tag that makes objects is refused.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from anabranch.core.errors import DeploymentError
from anabranch.documents import project_file
from anabranch.documents.document import Document

if TYPE_CHECKING:
    import os

_BREAKS = re.compile("[\x85\u2028\u2029\ufeff]")  # PyYAML writes them as they are, and reads the ends of lines
LARGEST = 1 << 20  # bytes
# What Prefect 2 writes besides; each says nothing that is done otherwise here.
_UNREAD = ("infrastructure", "infra_overrides_schema", "is_schedule_active", "manifest_path", "timestamp", "triggers")


def read(file: str | os.PathLike[str]) -> list[Document]:
    """Return the deployments of a file.

    Raises:
        DeploymentError: the file is gone, is no YAML or JSON, or a document in it is refused; names file, line or key.
    """
    path = Path(file)
    content = parsed(_text(path), str(path))
    if "deployments" in content:
        return project_file.read(content, str(path), path.parent)
    return [Document.read(_plain(content), str(path))]


def parsed(text: str, place: str) -> dict[str, Any]:
    """Return the dict that a text of YAML or JSON stands for; raises DeploymentError with the line."""
    try:
        content = yaml.load(text, Loader=_Loader)  # a safe one
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark is not None else ""
        raise DeploymentError(f"{place}{line}: {error.problem or error}") from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise DeploymentError(f"{place} is no YAML: {error}") from None
    if not isinstance(content, dict):
        raise DeploymentError(f"{place} must hold the keys of a deployment, got {type(content).__name__}")
    return content


def written(document: Document) -> str:
    """Return a deployment as YAML."""
    found = document.document()
    readable = not _BREAKS.search(json.dumps(found, ensure_ascii=False))
    text: str = yaml.safe_dump(found, sort_keys=False, allow_unicode=readable, width=120)
    return text


def write(document: Document, file: str | os.PathLike[str]) -> None:
    """Write a deployment to a file: as JSON where its name ends in .json, else as YAML."""
    path = Path(file)
    as_json = path.suffix == ".json"
    path.write_text(json.dumps(document.document(), indent=2) + "\n" if as_json else written(document), "utf-8")


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > LARGEST:
            raise DeploymentError(f"{path} has more than {LARGEST >> 20} MB: it is no deployment")
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = "is a folder" if path.is_dir() else getattr(error, "strerror", None) or "is no text"
        raise DeploymentError(f"the deployment's file {str(path)!r} cannot be read: {why}") from None


def _plain(content: dict[str, Any]) -> dict[str, Any]:
    """Return one document with what only Prefect 2 writes taken out, or said in our words."""
    found = {key: value for key, value in content.items() if key not in _UNREAD}
    infrastructure = content.get("infrastructure")
    if isinstance(infrastructure, dict) and infrastructure.get("env") and not content.get("infra_overrides"):
        found["infra_overrides"] = {"env": infrastructure["env"]}
    if content.get("is_schedule_active") is False:
        for key in ("schedule", "schedules"):
            for one in [found[key]] if isinstance(found.get(key), dict) else found.get(key) or []:
                one.setdefault("active", False)
    storage = content.get("storage")
    if isinstance(storage, dict) and ("_block_type_slug" in storage or "basepath" in storage):
        found["storage"] = project_file.block(storage)
    return found


class _Loader(yaml.SafeLoader):
    """Reads plain data; a key that is given twice is an error."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            word = key.value if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge" else None
            if word is not None and word in seen:
                raise yaml.constructor.ConstructorError(None, None, f"the key {word!r} is given twice", key.start_mark)
            seen.add(word)
        return super().construct_mapping(node, deep)
