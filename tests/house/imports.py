"""The import graph of a package, read from its sources."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


PACKAGE = "anabranch"
ROOT = Path(__file__).resolve().parents[2] / PACKAGE


@dataclass(frozen=True)
class Import:
    target: str  # dotted, absolute
    line: int
    in_function: bool
    typing_only: bool


@dataclass
class Module:
    path: str  # relative to the package, with slashes
    name: str  # dotted, absolute
    imports: list[Import] = field(default_factory=list)

    @property
    def room(self) -> str:
        return room_of(self.name)


def room_of(name: str) -> str:
    parts = name.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def read(root: Path) -> dict[str, Module]:
    """Parse every module below `root`, which is the package's folder."""
    modules: dict[str, Module] = {}
    sources: dict[str, ast.Module] = {}
    for file in sorted(root.rglob("*.py")):
        relative = file.relative_to(root)
        parts = [root.name, *relative.with_suffix("").parts]
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        modules[name] = Module(relative.as_posix(), name)
        sources[name] = ast.parse(file.read_bytes(), filename=str(file))
    for name, module in modules.items():
        module.imports = list(walk(sources[name], module, modules))
    return modules


def walk(
    node: ast.AST, module: Module, modules: dict[str, Module], in_function: bool = False, typing_only: bool = False
) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield Import(alias.name, child.lineno, in_function, typing_only)
        elif isinstance(child, ast.ImportFrom):
            base = absolute(child, module)
            for alias in child.names:
                below = f"{base}.{alias.name}"
                yield Import(below if below in modules else base, child.lineno, in_function, typing_only)
        elif isinstance(child, ast.If) and ast.unparse(child.test).split(".")[-1] == "TYPE_CHECKING":
            yield from walk(ast.Module(child.body, []), module, modules, in_function, True)
            yield from walk(ast.Module(child.orelse, []), module, modules, in_function, typing_only)
        else:
            inside = in_function or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from walk(child, module, modules, inside, typing_only)


def absolute(node: ast.ImportFrom, module: Module) -> str:
    if not node.level:
        return node.module or ""
    package = module.name.split(".")
    if not module.path.endswith("__init__.py"):
        package = package[:-1]
    package = package[: len(package) - node.level + 1]
    return ".".join([*package, node.module] if node.module else package)


def cycles(modules: dict[str, Module], all_imports: bool = False) -> list[list[str]]:
    """Rings of modules that import each other while they are being imported, or for any reason (Tarjan)."""
    graph = {
        name: {
            entry.target
            for entry in module.imports
            if entry.target in modules and (all_imports or not (entry.in_function or entry.typing_only))
        }
        for name, module in modules.items()
    }
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    rings: list[list[str]] = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for target in sorted(graph[name]):
            if target not in index:
                visit(target)
                low[name] = min(low[name], low[target])
            elif target in stack:
                low[name] = min(low[name], index[target])
        if low[name] == index[name]:
            ring = stack[stack.index(name) :]
            del stack[stack.index(name) :]
            if len(ring) > 1 or name in graph[name]:
                rings.append(sorted(ring))

    for name in graph:
        if name not in index:
            visit(name)
    return rings


def arrows(modules: dict[str, Module]) -> set[tuple[str, str]]:
    """Every pair of rooms of which the first imports something of the second."""
    return {
        (module.room, room_of(entry.target))
        for module in modules.values()
        for entry in module.imports
        if entry.target.partition(".")[0] == PACKAGE and room_of(entry.target) != module.room
    }
