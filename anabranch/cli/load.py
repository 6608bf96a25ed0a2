"""A flow from ``FILE|MODULE[:FLOW]`` and its parameters from ``NAME=VALUE``; errors list the names that exist."""

from __future__ import annotations

import difflib
import inspect
import json
from typing import TYPE_CHECKING, Any

import click

from anabranch.cli import loading
from anabranch.cli.target import target_of
from anabranch.flows import Flow

if TYPE_CHECKING:
    from anabranch.cli.target import Target


def flow_of(text: str) -> Flow[..., Any]:
    """Return the flow of a target; see `cli.target`.

    Raises:
        click.ClickException: there is no such file, module or flow, or it does not load.
    """
    target = target_of(text)
    module = loading.of_target(target)
    found = {key: value for key, value in vars(module).items() if isinstance(value, Flow)}
    own = {key: flow for key, flow in found.items() if getattr(flow.fn, "__module__", None) == module.__name__}
    if target.flow:
        return _named(target, vars(module), found)
    choice = {id(flow): (key, flow) for key, flow in (own or found).items()}
    if not choice:
        raise click.UsageError(f"there is no flow in {target}: a flow is a function under @flow")
    if len(choice) > 1:
        listed = "\n".join(f"  {target.with_flow(key)}" for key, _ in choice.values())
        raise click.UsageError(f"{target} holds several flows; say which one:\n{listed}")
    return next(iter(choice.values()))[1]


def _named(target: Target, everything: dict[str, Any], found: dict[str, Flow[..., Any]]) -> Flow[..., Any]:
    name = target.flow
    by_flow_name = {flow.name: flow for flow in found.values()}
    flow = found.get(name) or by_flow_name.get(name) or _in_class(name, everything)
    if flow is not None:
        return flow
    if name in everything:
        raise click.UsageError(f"{name!r} in {target} is not a flow but a {type(everything[name]).__name__}")
    if not found:
        raise click.UsageError(f"there is no flow in {target}: a flow is a function under @flow")
    raise click.UsageError(f"there is no flow {name!r} in {target}; {_hint(name, list(found))}")


def _in_class(name: str, everything: dict[str, Any]) -> Flow[..., Any] | None:
    """Return a flow that is a method: ``Class.flow``."""
    owner, *steps = name.split(".")
    found = everything.get(owner)
    for step in steps:
        found = getattr(found, step, None)
    return found if isinstance(found, Flow) else None


def parameters(flow: Flow[..., Any], given: tuple[str, ...]) -> dict[str, Any]:
    """Return parameters from ``NAME=VALUE``; a value is JSON if it parses as JSON, else text."""
    signature = inspect.signature(flow.fn)
    kinds = {p.kind for p in signature.parameters.values()}
    known = [
        name
        for name, p in signature.parameters.items()
        if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL, p.POSITIONAL_ONLY)
    ]
    found: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise click.UsageError(f"-p must be NAME=VALUE, got {text!r}")
        if name not in known and inspect.Parameter.VAR_KEYWORD not in kinds:
            raise click.UsageError(f"flow {flow.name!r} has no parameter {name!r}; {_hint(name, known)}")
        if name in found:
            raise click.UsageError(f"parameter {name!r} is given twice")
        found[name] = _value(value)
    missing = [
        name for name in known if signature.parameters[name].default is inspect.Parameter.empty and name not in found
    ]
    if missing:
        wanted = " ".join(f"-p {name}=..." for name in missing)
        raise click.UsageError(f"flow {flow.name!r} needs {wanted}")
    return found


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _hint(word: str, known: list[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"there are: {', '.join(known)}" if known else "it takes none"
