"""The parameters of a function as a schema of OpenAPI, by its annotations, defaults and docstring."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass
class ParameterSchema:
    """The schema of a function's parameters."""

    title: str = "Parameters"
    type: str = "object"
    properties: dict[str, Any] = field(default_factory=dict)
    required: list[str] = field(default_factory=list)
    definitions: dict[str, Any] = field(default_factory=dict)

    def model_dump(self, **_: Any) -> dict[str, Any]:
        """Return the schema as a dict."""
        return dict(vars(self))

    def model_dump_for_openapi(self) -> dict[str, Any]:
        """Return the schema as OpenAPI has it: without an empty list of required parameters."""
        found = self.model_dump()
        if not self.required:
            del found["required"]
        return found


def parameter_schema(fn: Callable[..., Any]) -> ParameterSchema:
    """Return the schema of a function's parameters."""
    try:
        signature = inspect.signature(fn, eval_str=True)
    except (NameError, TypeError):
        signature = inspect.signature(fn)
    return generate_parameter_schema(signature, parameter_docstrings(inspect.getdoc(fn)))


def generate_parameter_schema(signature: inspect.Signature, docstrings: dict[str, str]) -> ParameterSchema:
    """Return the schema of a signature; parameters of types without a schema take anything."""
    import pydantic

    fields: dict[str, Any] = {}
    for position, parameter in enumerate(signature.parameters.values()):
        if parameter.name in ("self", "cls"):
            continue
        name = parameter.name + "__" if hasattr(pydantic.BaseModel, parameter.name) else parameter.name
        one = (_annotation(parameter), _field(parameter, position, docstrings.get(parameter.name), name))
        try:
            _schema("CheckParameter", {name: one})
        except Exception:  # pydantic has many for a type that it cannot describe
            one = (Any, one[1])
        fields[name] = one
    found = _schema("Parameters", fields)
    definitions = found.pop("$defs", {})
    found = {name: value for name, value in found.items() if name in ("properties", "required")}
    return ParameterSchema(**found, definitions=definitions)


def _annotation(parameter: inspect.Parameter) -> Any:
    import pydantic

    given = parameter.annotation
    if given is parameter.empty:
        return Any
    if getattr(given, "__module__", "") == "pydantic.v1.types" and given.__name__ == "SecretStr":
        return pydantic.SecretStr
    return given


def _field(parameter: inspect.Parameter, position: int, said: str | None, name: str) -> Any:
    import pydantic
    from pydantic.fields import FieldInfo

    given = parameter.default if isinstance(parameter.default, FieldInfo) else None
    default = parameter.default if given is None else given.default
    extra: dict[str, Any] = {"position": position}
    if given is not None and isinstance(given.json_schema_extra, dict):
        extra = {**extra, **given.json_schema_extra}
    return pydantic.Field(
        default=... if default is parameter.empty else default,
        title=parameter.name,
        description=(given.description if given is not None else None) or said,
        alias=parameter.name if name != parameter.name else None,
        json_schema_extra=extra,
    )


def _schema(name: str, fields: dict[str, Any]) -> dict[str, Any]:
    import pydantic
    from pydantic.json_schema import GenerateJsonSchema

    class Generator(GenerateJsonSchema):
        """Writes any class that pydantic does not know as one without a schema."""

        def is_instance_schema(self, schema: Any) -> dict[str, Any]:
            return {}

    config = pydantic.ConfigDict(arbitrary_types_allowed=True)
    model = pydantic.create_model(name, __config__=config, **fields)
    make = partial(pydantic.TypeAdapter(model).json_schema, by_alias=True, ref_template="#/definitions/{model}")
    return make(schema_generator=Generator)


_SECTION = re.compile(r"^(\w[\w ]*):\s*$")
_ARGUMENT = re.compile(r"^\*{0,2}(\w+)(?: *\([^)]*\))?: *(.*)$")


def parameter_docstrings(docstring: str | None) -> dict[str, str]:
    """Return what a docstring in Google's style says of each parameter."""
    found: dict[str, list[str]] = {}
    inside, indent, name = False, 0, ""
    for line in (docstring or "").splitlines():
        text = line.strip()
        section = _SECTION.match(line)
        if section:
            inside = section[1].lower() in ("args", "arguments", "params", "parameters")
            indent = 0
            continue
        if not inside or not text:
            continue
        depth = len(line) - len(line.lstrip())
        indent = indent or depth
        argument = _ARGUMENT.match(text) if depth == indent else None
        if argument:
            name = argument[1]
            found[name] = [argument[2]] if argument[2] else []
        elif depth > indent and name:
            found[name].append(text)
        elif depth == 0:
            inside = False
    return {name: "\n".join(lines) for name, lines in found.items()}
