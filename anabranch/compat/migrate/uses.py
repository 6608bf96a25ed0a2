"""Which names of Prefect a source file uses, and where. Nothing is imported or run.

    from prefect import flow as f      -> use  prefect.flow
    @f(retries=2)                      -> use  prefect.flow(retries=)
    def etl(): ...                        etl is a flow from here on
    etl.serve(name="x")                -> use  prefect.flow().serve
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGES = ("prefect", "prefect_")  # `prefect` and its companions, as prefect_dask
MADE = "()"  # behind a name: what a call of it gives


class Use(NamedTuple):
    """A name of Prefect in a line.

    Attributes:
        name: with its module, `prefect.tasks.task`; `prefect.flow().serve` is a method of what `flow` gives.
        option: a keyword argument of a call of it, "" for the name itself.
    """

    line: int
    name: str
    option: str = ""

    def __str__(self) -> str:
        return f"{self.name}({self.option}=)" if self.option else self.name


def uses(source: str) -> list[Use]:
    """Return the names of Prefect that a source uses, by lines, each once a line.

    Raises:
        SyntaxError: it is no Python.
    """
    reader = _Reader()
    reader.visit(ast.parse(source))
    return sorted(set(reader.found))


def is_prefects(name: str) -> bool:
    return name.partition(".")[0] == "prefect" or name.startswith("prefect_")


class _Reader(ast.NodeVisitor):
    """Follows names from their imports; a name means what its last binding above says."""

    def __init__(self) -> None:
        self.found: list[Use] = []
        self._names: dict[str, str] = {}  # in the file -> Prefect's

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            if is_prefects(alias.name):
                self.found.append(Use(node.lineno, alias.name))
                self._names[alias.asname or alias.name.partition(".")[0]] = (
                    alias.name if alias.asname else alias.name.partition(".")[0]
                )

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        if node.level or not is_prefects(node.module or ""):
            return
        for alias in node.names:
            name = f"{node.module}.{alias.name}"
            self.found.append(Use(alias.lineno, name))
            self._names[alias.asname or alias.name] = name

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._decorated(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self._decorated(node)

    def _decorated(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        for decorator in node.decorator_list:
            self.visit(decorator)
            made = self._named(decorator.func if isinstance(decorator, ast.Call) else decorator)
            if made:
                self._names[node.name] = made + MADE
        outer = dict(self._names)  # what is bound inside is not known outside
        for default in (*node.args.defaults, *node.args.kw_defaults):
            if default is not None:
                self.visit(default)
        for argument in ast.walk(node.args):
            if isinstance(argument, ast.arg):
                self._names.pop(argument.arg, None)
        for inner in node.body:
            self.visit(inner)
        self._names = outer

    def visit_Assign(self, node: ast.Assign) -> None:
        self.generic_visit(node)
        made = self._named(node.value)
        for target in node.targets:
            self._bind(target, made)

    def visit_With(self, node: ast.With) -> None:
        for item in node.items:
            self.visit(item.context_expr)
            if item.optional_vars is not None:
                self._bind(item.optional_vars, self._named(item.context_expr))
        for inner in node.body:
            self.visit(inner)

    def _bind(self, target: ast.AST, name: str | None) -> None:
        if isinstance(target, ast.Name) and name:
            self._names[target.id] = name

    def visit_Call(self, node: ast.Call) -> None:
        name = self._named(node.func)
        if name and MADE not in name:
            self.found.extend(Use(node.lineno, name, one.arg) for one in node.keywords if one.arg)
        self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> None:
        name = self._names.get(node.id)
        if name and not name.endswith(MADE):
            self.found.append(Use(node.lineno, name))

    def visit_Attribute(self, node: ast.Attribute) -> None:
        name = self._named(node)
        if name:
            self.found.append(Use(node.lineno, name))
        for inner in _below(node):
            self.visit(inner)

    def _named(self, node: ast.AST) -> str | None:
        """Return the name of Prefect's that an expression stands for."""
        if isinstance(node, ast.Name):
            return self._names.get(node.id)
        if isinstance(node, ast.Attribute):
            outer = self._named(node.value)
            return f"{outer}.{node.attr}" if outer else None
        if isinstance(node, ast.Call):
            called = self._named(node.func)
            return called + MADE if called else None
        return None


def _below(node: ast.Attribute) -> Iterator[ast.AST]:
    """Yield what an attribute's chain of names hangs on, where that is no chain itself."""
    inner: ast.AST = node.value
    while isinstance(inner, ast.Attribute):
        inner = inner.value
    if not isinstance(inner, ast.Name):
        yield inner
