"""Flows by their entrypoints, FILE:FLOW, FILE:CLASS.FLOW and MODULE.FLOW, as Prefect's functions load them.

    import_object --ScriptError--> as much of the file as can be executed here
                                     --> the flow as it is written
                                     --> else without the annotations and defaults that cannot be evaluated
"""

from __future__ import annotations

import ast
import importlib.util
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from anabranch.compat.prefect.exceptions import MissingFlowError, ScriptError
from anabranch.compat.prefect.flows import Flow
from anabranch.compat.prefect.utilities import importtools

if TYPE_CHECKING:
    from collections.abc import Collection

_PLAIN = frozenset({
    "name", "version", "retries", "retry_delay_seconds", "description", "timeout_seconds", "validate_parameters",
    "persist_result", "cache_result_in_memory", "log_prints",
})  # fmt: skip
_logger = logging.getLogger("prefect.flows")
_Function = ast.FunctionDef | ast.AsyncFunctionDef


def load_flow_from_entrypoint(entrypoint: str, use_placeholder_flow: bool = True) -> Any:
    """Return the flow of an entrypoint.

    Args:
        use_placeholder_flow: whether a file that cannot be imported here gives its flow all the same, as far as it can
            be executed.

    Raises:
        MissingFlowError: there is no such flow.
        ScriptError: the file's code raised.
    """
    place, name = _split(entrypoint)
    flows = sys.modules[Flow.__module__]
    try:
        found = flows.import_object(entrypoint)
    except AttributeError as error:
        raise MissingFlowError(f"Flow function with name {name!r} not found in {place!r}. ") from error
    except ScriptError:
        found = safe_load_flow_from_entrypoint(entrypoint) if use_placeholder_flow else None
        if found is None:
            raise
    if not isinstance(found, Flow):
        raise MissingFlowError(
            f"Function with name {name!r} is not a flow. Make sure that it is decorated with '@flow'."
        )
    return found


def load_function_and_convert_to_flow(entrypoint: str) -> Any:
    """Return the flow of an entrypoint, or a flow made of its function; raises RuntimeError where there is none."""
    place, name = _split(entrypoint)
    try:
        found = importtools.import_object(entrypoint)
    except AttributeError as error:
        raise RuntimeError(f"Function with name {name!r} not found in {place!r}.") from error
    return found if isinstance(found, Flow) else Flow(found, log_prints=True)


def safe_load_flow_from_entrypoint(entrypoint: str) -> Any:
    """Return the flow of an entrypoint in a file that may import what is not here; None where that does not do.

    Raises ValueError where the file has no such name.
    """
    source = _source(entrypoint)
    names = importtools.safe_load_namespace(source.text, source.file)
    found = names.get(source.path[0])
    if found is None and source.function is not None:
        return _without_what_is_missing(source.function, names)
    for name in source.path[1:]:
        found = getattr(found, name, None)
    return found


def load_flow_arguments_from_entrypoint(entrypoint: str, arguments: Collection[str] | None = None) -> dict[str, Any]:
    """Return what the decorator of an entrypoint's flow is given, as texts; the name always.

    Args:
        arguments: the wanted ones; None: those of plain types.
    """
    source, wanted = _source(entrypoint), _PLAIN if arguments is None else arguments
    found: dict[str, Any] = {}
    decorators = [] if source.function is None else source.function.decorator_list
    calls = [one for one in decorators if isinstance(one, ast.Call) and getattr(one.func, "id", "") == "flow"]
    words = [word for call in calls for word in call.keywords if word.arg in wanted]
    names = importtools.safe_load_namespace(source.text, source.file) if words else {}  # this executes the file
    for word in words:
        assert word.arg is not None
        try:
            value = eval(compile(ast.Expression(word.value), source.file, "eval"), names)
        except Exception:  # their code
            written = ast.get_source_segment(source.text, word.value)
            _logger.info("Failed to parse @flow argument: `%s=%s`. It is left out.", word.arg, written, exc_info=True)
        else:
            found[word.arg] = str(value)
    if "name" in wanted:
        found.setdefault("name", source.path[-1].replace("_", "-"))
    return found


def is_entrypoint_async(entrypoint: str) -> bool:
    """Return whether the function of an entrypoint is a coroutine function."""
    return isinstance(_source(entrypoint).function, ast.AsyncFunctionDef)


class _Source(NamedTuple):
    text: str
    file: str
    path: list[str]  # the names behind the colon
    function: _Function | None  # the definition that they name


def _split(entrypoint: str) -> tuple[str, str]:
    place, _, name = entrypoint.rpartition(":" if ":" in entrypoint else ".")
    return place, name


def _source(entrypoint: str) -> _Source:
    place, name = _split(entrypoint)
    if ":" not in entrypoint:
        spec = importlib.util.find_spec(place)
        if spec is None or not spec.origin:
            raise ValueError(f"Could not find module {place!r}")
        place = spec.origin
    text, path = Path(place).read_text(encoding="utf-8"), name.split(".")
    body: list[ast.stmt] = ast.parse(text).body
    found: Any = None
    for part in path:
        known = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
        found = next((one for one in body if isinstance(one, known) and one.name == part), None)
        if found is None:
            raise ValueError(f"Could not find object {name!r} in {place!r}.")
        body = found.body
    return _Source(text, place, path, found if isinstance(found, (ast.FunctionDef, ast.AsyncFunctionDef)) else None)


def _without_what_is_missing(function: _Function, names: dict[str, Any]) -> Any:
    """Return the flow of a definition, without annotations and defaults that cannot be evaluated; else None."""
    given = function.args
    more = [one for one in (given.vararg, given.kwarg) if one is not None]
    for argument in [*given.posonlyargs, *given.args, *given.kwonlyargs, *more]:
        argument.annotation = _known(argument.annotation, names)
    function.returns = _known(function.returns, names)
    nothing = ast.copy_location(ast.Constant(None), function)
    given.defaults = [_known(default, names) or nothing for default in given.defaults]
    given.kw_defaults = [_known(default, names) or nothing for default in given.kw_defaults]
    try:
        exec(compile(ast.Module([function], []), names["__file__"], "exec", 0, True), names)
    except Exception as error:  # its decorators
        _logger.debug("%s cannot be loaded: %s", function.name, error)
        return None
    return names.get(function.name)


def _known(written: ast.expr | None, names: dict[str, Any]) -> ast.expr | None:
    """Return an expression where it can be evaluated here."""
    try:
        eval(compile(ast.Expression(written), "<entrypoint>", "eval"), names)  # type: ignore[arg-type]
    except Exception:  # their code
        return None
    return written
