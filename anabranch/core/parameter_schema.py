"""The check of given parameters against the JSON schema of a flow's.

It makes types of the schema again and asks pydantic, so that it takes what the flow's own validation would: "3" for an
int, a text for a date. It needs neither the flow's code nor its packages, so that an order is checked where it is made.
"""

from __future__ import annotations

import functools
import json
import typing
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union
from uuid import UUID

from anabranch.core.errors import ParametersRefused
from anabranch.core.nearest import meant
from anabranch.core.secrets import restored

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import TypeAdapter

_SIMPLE: dict[str, Any] = {"integer": int, "number": float, "boolean": bool, "null": None, "string": str}
_FORMATS: dict[str, Any] = {
    "date": date, "date-time": datetime, "duration": timedelta, "time": time, "uuid": UUID,
}  # fmt: skip
_BOUNDS = {
    "minimum": "ge", "maximum": "le", "exclusiveMinimum": "gt", "exclusiveMaximum": "lt", "minLength": "min_length",
    "maxLength": "max_length", "minItems": "min_length", "maxItems": "max_length", "pattern": "pattern",
    "multipleOf": "multiple_of",
}  # fmt: skip


def check(schema: Mapping[str, Any], parameters: Mapping[str, Any], what: str, *, whole: bool = True) -> None:
    """Check the parameters of an order.

    Args:
        schema: as of `of`; {} takes anything.
        what: is ordered, for errors: "deployment 'f/d'".
        whole: whether none may be missing, as in an order; those of a deployment may.

    Raises:
        ParametersRefused: a parameter is missing, is not known (the nearest is named), or does not fit; names each.
    """
    if not schema:
        return
    missing = schema.get("required", []) if whole else []
    faults = [f"{name}: is missing" for name in missing if name not in parameters] + _unknown(schema, parameters)
    for name, rule in schema.get("properties", {}).items():
        # A default of None always holds, as `n: int = None` in older code; the flow holds it so too.
        held = isinstance(rule, dict) and "default" in rule and rule["default"] is None
        if name in parameters and not (parameters[name] is None and held):
            faults += _faults(name, rule, schema, parameters[name])
    if faults:
        raise ParametersRefused("\n  ".join([f"{what}: the parameters do not fit:", *faults]))


def _unknown(schema: Mapping[str, Any], parameters: Mapping[str, Any]) -> list[str]:
    if schema.get("additionalProperties", True) is not False:
        return []
    known = list(schema.get("properties", {}))
    return [f"{name}: there is no such parameter{meant(name, known)}" for name in parameters if name not in known]


def _faults(name: str, rule: Any, schema: Mapping[str, Any], value: Any) -> list[str]:
    if restored(value) != value:  # its text is known to the driver alone
        return []
    from pydantic import ValidationError

    try:
        _adapter(_key(rule, schema)).validate_python(value)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)[:3]
        return [f"{'.'.join([name, *map(str, one['loc'])])}: {one['msg']}" for one in found]
    return []


# -- schema -> types -----------------------------------------------------------------------------


def _key(rule: Any, schema: Mapping[str, Any]) -> str:
    return json.dumps([rule, schema.get("$defs") or schema.get("definitions") or {}], sort_keys=True)


@functools.lru_cache(256)
def _adapter(key: str) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    rule, definitions = json.loads(key)
    try:
        return TypeAdapter(_Types(definitions).of(rule))
    except Exception:  # a schema of other people's making, with what pydantic does not know
        return TypeAdapter(Any)


class _Types:
    """Makes types for one schema."""

    def __init__(self, definitions: Mapping[str, Any]) -> None:
        self._definitions = definitions
        self._made: dict[str, Any] = {}  # by definition, each made once: nested ones are as many as there are paths

    def of(self, rule: Any) -> Any:
        if not isinstance(rule, dict):
            return Any
        if "$ref" in rule:
            return self._defined(str(rule["$ref"]).rpartition("/")[2])
        if "const" in rule or "enum" in rule:
            return Literal[tuple(rule.get("enum") or [rule["const"]])]
        for several in ("anyOf", "oneOf"):
            if several in rule:
                return Union[tuple(self.of(one) for one in rule[several])]  # noqa: UP007
        if "allOf" in rule:
            return self.of(rule["allOf"][0]) if len(rule["allOf"]) == 1 else Any
        kind = rule.get("type")
        if isinstance(kind, list):
            return Union[tuple(self.of({**rule, "type": one}) for one in kind)]  # noqa: UP007
        if kind == "array":
            return self._bounded(self._array(rule), rule)
        if kind == "object":
            return self._object(rule)
        if kind == "string" and rule.get("format") in _FORMATS:
            return _FORMATS[rule["format"]]
        return self._bounded(_SIMPLE[kind], rule) if kind in _SIMPLE else Any

    def _bounded(self, kind: Any, rule: Mapping[str, Any]) -> Any:
        from pydantic import Field

        bounds = {ours: rule[theirs] for theirs, ours in _BOUNDS.items() if theirs in rule}
        return Annotated[kind, Field(**bounds)] if bounds and kind is not Any else kind

    def _array(self, rule: Mapping[str, Any]) -> Any:
        if "prefixItems" in rule:
            return tuple[tuple(self.of(one) for one in rule["prefixItems"])]  # type: ignore[misc]
        inner = self.of(rule.get("items", {}))
        of = getattr(inner, "__value__", inner)  # what a definition stands for
        return set[inner] if rule.get("uniqueItems") and typing.get_origin(of) is None else list[inner]  # type: ignore[valid-type]

    def _object(self, rule: Mapping[str, Any]) -> Any:
        from pydantic import ConfigDict, Field, create_model

        if "properties" not in rule:
            return dict[str, self.of(rule.get("additionalProperties", {}))]  # type: ignore[misc]
        needed = rule.get("required", [])
        members = {
            f"f{number}": (self.of(one), Field(... if name in needed else None, alias=name))
            for number, (name, one) in enumerate(rule["properties"].items())
        }
        extra: Any = "forbid" if rule.get("additionalProperties") is False else "ignore"
        title = rule.get("title", "Object")
        return create_model(title, __config__=ConfigDict(extra=extra), **members)  # type: ignore[call-overload]

    def _defined(self, name: str) -> Any:
        from typing_extensions import TypeAliasType

        if name not in self._made:
            self._made[name] = Any  # while it is made: a type within itself is checked one level deep
            kind = self.of(self._definitions.get(name))
            # What is no class would be written out at each place that names it.
            self._made[name] = kind if isinstance(kind, type) or kind is Any else TypeAliasType(name, kind)
        return self._made[name]
