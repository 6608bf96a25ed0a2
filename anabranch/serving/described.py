"""The document of a flow of this program."""

from __future__ import annotations

import dataclasses
import inspect
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anabranch.core.errors import DeploymentError
from anabranch.documents import schema
from anabranch.documents.document import ALIASES
from anabranch.documents.parameters import plain
from anabranch.runs.resumed import entry_of

if TYPE_CHECKING:
    from collections.abc import Mapping

# Fields that people set elsewhere than in the flow's program.
PERSONS = ("description", "version", "tags", "parameters", "work_pool_name", "work_queue_name", "job_variables")
_TOLD = ("description", "version")
_PARTS = {"work_pool": ("work_pool_name", "work_queue_name", "job_variables"), "schedule": ("schedules",),
          "concurrency_limit": ("concurrency_limit", "collision_strategy")}  # fmt: skip


def of_flow(flow: Any, **fields: Any) -> dict[str, Any]:
    """Return the fields of a flow's deployment: those given, and what the flow says of itself.

    Raises:
        DeploymentError: nothing says where the flow is.
    """
    given = {name: value for name, value in fields.items() if value is not None}
    said: dict[str, Any] = {
        "flow_name": flow.name,
        "description": getattr(flow.options, "description", None) or inspect.getdoc(flow.plain_fn),
        "version": getattr(flow.options, "version", None) or None,
        "tags": list(getattr(flow.options, "tags", ())),
        "parameter_schema": schema.of(flow.plain_fn),
        "written_for": getattr(flow, "written_for", None),
    }
    if "entrypoint" not in given:
        said["entrypoint"], said["path"] = place_of(flow)
        if "path" in given and Path(given["path"]).is_absolute():
            said["entrypoint"], _ = place_of(flow, Path(given["path"]))
    return {**{name: value for name, value in said.items() if value not in (None, [])}, **given}


def definition(flow: Any) -> dict[str, Any]:
    """Return what a flow says of itself, as JSON has it.

    Options that are as by default, or that are no JSON, such as functions, are left out.
    """
    own, usual = flow.options, type(flow.options)()
    given = {one.name: getattr(own, one.name) for one in dataclasses.fields(own)}
    options = {name: value for name, value in given.items() if value != getattr(usual, name) and _is_json(value)}
    entry = entry_of(flow.plain_fn)
    return {
        "name": flow.name,
        "description": own.description or inspect.getdoc(flow.plain_fn),
        "version": own.version,
        "entrypoint": entry or None,
        "parameters": schema.of(flow.plain_fn),
        "options": plain({name: value for name, value in options.items() if name not in ("name", *_TOLD)}),
    }


def _is_json(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_json, value))
    return value is None or isinstance(value, str | bool | int | float)


def named(fields: Mapping[str, Any]) -> set[str]:
    """Return the names of a document's fields that some spelling of them sets."""
    return {part for name in fields for part in _PARTS.get(name, (ALIASES.get(name, name),))}


def place_of(flow: Any, folder: Path | None = None) -> tuple[str, str]:
    """Return the entrypoint of a flow, and the folder that it is read from.

    Args:
        folder: None: the working folder, where the flow's file is below it, else that of the file.

    Raises:
        DeploymentError: it was not defined in a file.
    """
    entry = entry_of(flow.plain_fn)
    if not entry:
        raise DeploymentError(
            f"flow {flow.name!r} was defined in no file that another program can read: write it to a file, or give "
            "entrypoint='file.py:flow' and path='/its/folder'"
        )
    place, _, name = entry.rpartition(":")
    if not place.endswith(".py"):  # folder/package.module
        above, _, module = place.rpartition(os.sep)
        return f"{module}:{name}", above
    file = Path(place)
    top = Path.cwd() if folder is None else folder.resolve()
    if not file.is_relative_to(top):
        top = file.parent
    return f"{file.relative_to(top).as_posix()}:{name}", str(top)
