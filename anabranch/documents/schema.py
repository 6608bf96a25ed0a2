"""The parameters of a flow as a JSON schema, which its deployment keeps; `core.parameter_schema` checks by it.

    def f(n: int, day: date = ...)  --of()-->  schema
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from pydantic import ConfigDict, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from anabranch.core.errors import DeploymentError
from anabranch.documents.parameters import plain

if TYPE_CHECKING:
    from collections.abc import Callable


def of(fn: Callable[..., Any]) -> dict[str, Any]:
    """Return the schema of a function's parameters; one of a type without a schema takes anything."""
    properties: dict[str, Any] = {}
    required: list[str] = []
    definitions: dict[str, Any] = {}
    further = False
    for parameter in _signature(fn).parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            further = True
        elif parameter.kind is not parameter.VAR_POSITIONAL and parameter.name not in ("self", "cls"):
            found = _schema(parameter.annotation)
            definitions.update(found.pop("$defs", {}))
            properties[parameter.name] = found
            if parameter.default is parameter.empty:
                required.append(parameter.name)
            else:
                found.update(_default(parameter.default))
    schema: dict[str, Any] = {"type": "object", "properties": properties, "additionalProperties": further}
    return {**schema, **({"required": required} if required else {}), **({"$defs": definitions} if definitions else {})}


def _signature(fn: Callable[..., Any]) -> inspect.Signature:
    try:
        return inspect.signature(fn, eval_str=True)
    except Exception:  # a name that only type checkers know
        return inspect.signature(fn)


class _Schema(GenerateJsonSchema):
    """Writes a class that pydantic does not know as one without a rule."""

    def is_instance_schema(self, schema: Any) -> dict[str, Any]:
        return {}


def _schema(annotation: Any) -> dict[str, Any]:
    if annotation is inspect.Parameter.empty or isinstance(annotation, str):
        return {}
    for config in (ConfigDict(arbitrary_types_allowed=True), None):
        try:
            return TypeAdapter(annotation, config=config).json_schema(schema_generator=_Schema)
        except Exception:  # models and dataclasses bring a config of their own; others have no schema
            continue
    return {}


def _default(value: Any) -> dict[str, Any]:
    try:
        return {"default": plain(value)}
    except DeploymentError:
        return {}
