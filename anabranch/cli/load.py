"""The flow that a command is about, and its parameters from ``NAME=VALUE``; errors list the names that exist."""

from __future__ import annotations

import inspect
import json
from typing import TYPE_CHECKING, Any

import click

from anabranch.core.errors import EntrypointError, LoadError
from anabranch.core.nearest import hint
from anabranch.entrypoints import flow as entrypoints

if TYPE_CHECKING:
    from anabranch.flows import Flow


def flow_of(text: str) -> Flow[..., Any]:
    """Return the flow of a target; see `entrypoints.target`.

    Raises:
        click.ClickException: there is no such file, module or flow, or it does not load.
    """
    try:
        flow: Flow[..., Any] = entrypoints.flow_of(text)
        return flow
    except LoadError as error:
        raise click.ClickException(str(error)) from None
    except EntrypointError as error:
        raise click.UsageError(str(error)) from None


def parameters(flow: Flow[..., Any], given: tuple[str, ...]) -> dict[str, Any]:
    """Return parameters from ``NAME=VALUE``; a value is JSON if it parses as JSON, else text."""
    signature = inspect.signature(flow.fn)
    kinds = {p.kind for p in signature.parameters.values()}
    known = [
        name
        for name, p in signature.parameters.items()
        if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL, p.POSITIONAL_ONLY)
    ]
    found = values(given)
    for name in found:
        if name not in known and inspect.Parameter.VAR_KEYWORD not in kinds:
            raise click.UsageError(f"flow {flow.name!r} has no parameter {name!r}; {hint(name, known)}")
    missing = [
        name for name in known if signature.parameters[name].default is inspect.Parameter.empty and name not in found
    ]
    if missing:
        wanted = " ".join(f"-p {name}=..." for name in missing)
        raise click.UsageError(f"flow {flow.name!r} needs {wanted}")
    return found


def values(given: tuple[str, ...]) -> dict[str, Any]:
    """Return values by name from ``NAME=VALUE``, whatever their names."""
    found: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise click.UsageError(f"-p must be NAME=VALUE, got {text!r}")
        if name in found:
            raise click.UsageError(f"parameter {name!r} is given twice")
        found[name] = _value(value)
    return found


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
