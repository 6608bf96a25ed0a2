"""A flow from ``FILE[:FLOW]`` and its parameters from ``NAME=VALUE``; errors list the names that exist."""

from __future__ import annotations

import difflib
import importlib.util
import inspect
import json
import sys
import traceback
import zlib
from pathlib import Path
from typing import Any

import click

from anabranch.core import own_code
from anabranch.flows import Flow


def flow_of(target: str) -> Flow[..., Any]:
    """Return the flow of ``FILE[:FLOW]``."""
    file, name = split(target)
    if not file.exists():
        near = difflib.get_close_matches(file.name, _names_beside(file), n=1)
        raise click.UsageError(f"there is no file {str(file)!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
    if file.is_dir():
        raise click.UsageError(f"{str(file)!r} is a folder; give the file in it that holds the flow")
    module = load(file)
    found = {key: value for key, value in vars(module).items() if isinstance(value, Flow)}
    own = {key: flow for key, flow in found.items() if getattr(flow.fn, "__module__", None) == module.__name__}
    if name:
        return _named(file, name, vars(module), found)
    choice = {id(flow): (key, flow) for key, flow in (own or found).items()}
    if not choice:
        raise click.UsageError(f"there is no flow in {str(file)!r}: a flow is a function under @flow")
    if len(choice) > 1:
        listed = "\n".join(f"  {file}:{key}" for key, _ in choice.values())
        raise click.UsageError(f"{str(file)!r} holds several flows; say which one:\n{listed}")
    return next(iter(choice.values()))[1]


def _named(file: Path, name: str, everything: dict[str, Any], found: dict[str, Flow[..., Any]]) -> Flow[..., Any]:
    by_flow_name = {flow.name: flow for flow in found.values()}
    flow = found.get(name) or by_flow_name.get(name) or _in_class(name, everything)
    if flow is not None:
        return flow
    if name in everything:
        raise click.UsageError(f"{name!r} in {str(file)!r} is no flow but a {type(everything[name]).__name__}")
    if not found:
        raise click.UsageError(f"there is no flow in {str(file)!r}: a flow is a function under @flow")
    raise click.UsageError(f"there is no flow {name!r} in {str(file)!r}; {_hint(name, list(found))}")


def _in_class(name: str, everything: dict[str, Any]) -> Flow[..., Any] | None:
    """Return a flow that is a method: ``Class.flow``."""
    owner, *steps = name.split(".")
    found = everything.get(owner)
    for step in steps:
        found = getattr(found, step, None)
    return found if isinstance(found, Flow) else None


def split(target: str) -> tuple[Path, str]:
    """Split into file and name; a colon within the file's own name does not split."""
    file, colon, name = target.rpartition(":")
    if colon and name.isidentifier() and not Path(target).exists():
        return Path(file), name
    if colon and not Path(target).exists() and file.endswith(".py"):
        return Path(file), name
    return Path(target), ""


def load(file: Path) -> Any:
    """Import a file with the search path of `python FILE`, but not as __main__."""
    path = file.resolve()
    name = path.stem
    if name in sys.modules or not name.isidentifier():
        name = f"anabranch_run_{zlib.crc32(str(path).encode()):08x}"  # equal in each program: stored values contain it
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise click.UsageError(f"{str(file)!r} is no Python file")
    sys.path.insert(0, str(path.parent))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        # The trace begins in the user's file, without the frames of anabranch and the importer.
        shown = error.__traceback__
        while shown is not None and shown.tb_frame.f_code.co_filename != str(path):
            shown = shown.tb_next
        text = "".join(traceback.format_exception(type(error), error, shown)).rstrip()
        raise click.ClickException(f"{str(file)!r} could not be loaded:\n{text}") from None
    own_code.roles.stand_in = module  # values that `python FILE` stored are of its classes
    return module


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
            raise click.UsageError(f"-p wants NAME=VALUE, got {text!r}")
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


def _names_beside(file: Path) -> list[str]:
    return [f.name for f in file.parent.glob("*.py")] if file.parent.is_dir() else []
