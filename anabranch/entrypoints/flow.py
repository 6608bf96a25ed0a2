"""A flow from ``FILE|MODULE[:FLOW]``; errors list the names that exist."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anabranch.core.decorated import AnyFlow
from anabranch.core.errors import EntrypointError
from anabranch.core.nearest import hint
from anabranch.entrypoints import loading
from anabranch.entrypoints.target import target_of

if TYPE_CHECKING:
    from anabranch.entrypoints.target import Target


def flow_of(text: str) -> Any:
    """Return the flow of a target; see `entrypoints.target`.

    Raises:
        EntrypointError: there is no such file, module or flow.
        LoadError: the file or the module does not load.
    """
    target = target_of(text)
    module = loading.of_target(target)
    found = {key: flow for key, value in vars(module).items() if (flow := _as_flow(value)) is not None}
    own = {key: flow for key, flow in found.items() if getattr(flow.fn, "__module__", None) == module.__name__}
    if target.flow:
        return _named(target, vars(module), found)
    choice = {id(flow): (key, flow) for key, flow in (own or found).items()}
    if not choice:
        raise EntrypointError(f"there is no flow in {target}: a flow is a function under @flow")
    if len(choice) > 1:
        listed = "\n".join(f"  {target.with_flow(key)}" for key, _ in choice.values())
        raise EntrypointError(f"{target} holds several flows; say which one:\n{listed}")
    return next(iter(choice.values()))[1]


def _named(target: Target, everything: dict[str, Any], found: dict[str, AnyFlow]) -> Any:
    name = target.flow
    by_flow_name = {flow.name: flow for flow in found.values()}
    flow = found.get(name) or by_flow_name.get(name) or _in_class(name, everything)
    if flow is not None:
        return flow
    if name in everything:
        raise EntrypointError(f"{name!r} in {target} is not a flow but a {type(everything[name]).__name__}")
    if not found:
        raise EntrypointError(f"there is no flow in {target}: a flow is a function under @flow")
    near = f"; {hint(name, found)}"
    raise EntrypointError(f"there is no flow {name!r} in {target}{near}")


def _as_flow(value: Any) -> Any:
    """Return a flow, or the flow of ours that another library's flow says it is; None for what is none."""
    if isinstance(value, AnyFlow):
        return value
    made = getattr(type(value), "anabranch_flow", None)
    return None if made is None else made(value)


def _in_class(name: str, everything: dict[str, Any]) -> Any:
    """Return a flow that is a method: ``Class.flow``."""
    owner, *steps = name.split(".")
    found = everything.get(owner)
    for step in steps:
        found = getattr(found, step, None)
    return found if isinstance(found, AnyFlow) else None
