"""The parameters of a function from its source text: its module is not imported, and may lack what it imports."""

from __future__ import annotations

import ast
import importlib.util
import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anabranch.compat.prefect.utilities.parameter_schemas import (
    ParameterSchema,
    generate_parameter_schema,
    parameter_docstrings,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

_P = inspect.Parameter


def parameter_schema_from_entrypoint(entrypoint: str) -> ParameterSchema:
    """Return the schema of the function that ``path/to/file.py:name`` or ``module.name`` names.

    The definitions and imports that run without an error are known to its annotations and defaults.

    Raises ValueError where there is no such module or function.
    """
    path, name, source = _located(entrypoint)
    tree = ast.parse(source)
    node = _function(tree, name)
    if node is None:
        raise ValueError(f"Function {name} not found in source code")
    names = _names(tree, node, path)
    return generate_parameter_schema(_signature(node.args, names), parameter_docstrings(ast.get_docstring(node)))


def _located(entrypoint: str) -> tuple[str, str, str]:
    if ":" in entrypoint:
        path, name = entrypoint.rsplit(":", maxsplit=1)
        return path, name, Path(path).read_text(encoding="utf-8")
    module, name = entrypoint.rsplit(".", maxsplit=1)
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise ValueError(f"Could not find module {module!r}")
    return spec.origin, name, Path(spec.origin).read_text(encoding="utf-8")


def _function(tree: ast.Module, name: str) -> ast.FunctionDef | ast.AsyncFunctionDef | None:
    body: list[ast.stmt] = tree.body
    *owners, last = name.split(".")
    for owner in owners:
        body = next((node.body for node in body if isinstance(node, ast.ClassDef) and node.name == owner), [])
    found = (node for node in body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == last)
    return next(found, None)


def _names(tree: ast.Module, wanted: ast.AST, path: str) -> dict[str, Any]:
    """Run what stands before the function, statement by statement; one that fails is left out."""
    names: dict[str, Any] = {"__name__": "prefect_entrypoint", "__file__": path}
    for node in tree.body:
        kept = (ast.Import, ast.ImportFrom, ast.ClassDef, ast.Assign, ast.AnnAssign, ast.FunctionDef)
        if node is wanted or not isinstance(node, kept):
            continue
        try:
            exec(compile(ast.Module([node], []), path, "exec"), names)
        except Exception:
            continue
    return names


def _signature(given: ast.arguments, names: dict[str, Any]) -> inspect.Signature:
    def value(node: ast.expr | None, otherwise: Any) -> Any:
        if node is None:
            return _P.empty
        try:
            return eval(compile(ast.Expression(node), "<annotation>", "eval"), names)
        except Exception:
            return otherwise

    def one(arg: ast.arg, kind: Any, default: ast.expr | None = None) -> inspect.Parameter:
        return _P(arg.arg, kind, default=value(default, None), annotation=value(arg.annotation, _P.empty))

    placed = [*given.posonlyargs, *given.args]
    defaults: Sequence[ast.expr | None] = [*[None] * (len(placed) - len(given.defaults)), *given.defaults]
    kinds = [*[_P.POSITIONAL_ONLY] * len(given.posonlyargs), *[_P.POSITIONAL_OR_KEYWORD] * len(given.args)]
    found = [one(arg, kind, default) for arg, kind, default in zip(placed, kinds, defaults, strict=True)]
    if given.vararg is not None:
        found.append(one(given.vararg, _P.VAR_POSITIONAL))
    found += [one(a, _P.KEYWORD_ONLY, d) for a, d in zip(given.kwonlyargs, given.kw_defaults, strict=True)]
    if given.kwarg is not None:
        found.append(one(given.kwarg, _P.VAR_KEYWORD))
    return inspect.Signature(found)
