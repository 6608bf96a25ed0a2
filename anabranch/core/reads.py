"""The outside names that a function reads, by its bytecode: globals, closure variables, and attributes of these.

A name that the code only adds to (``log.append(x)``, nothing else) is a by-product and not read. A name that it both
reads and changes (a memo, a counter, a client made at first use) is its working state.
"""

from __future__ import annotations

import dis
import sys
import weakref
from types import CodeType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from anabranch.core.asking import is_a
from anabranch.core.user_code import is_local

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_LOADS = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS", "LOAD_DEREF", "LOAD_CLASSDEREF"})
_ATTRIBUTES = frozenset({"LOAD_ATTR", "LOAD_METHOD"})
_PADDING = frozenset({"EXTENDED_ARG", "CACHE"})
_ADDS = frozenset({"add", "append", "appendleft", "extend", "insert", "put", "put_nowait"})
_CHANGES = _ADDS | {"clear", "discard", "pop", "popitem", "popleft", "remove", "setdefault", "update"}
_STORES = frozenset({"STORE_GLOBAL", "DELETE_GLOBAL", "STORE_DEREF"})
_PACKAGE = __name__.partition(".")[0]
_LOOKS = 1000  # remembered modules: notebooks and tests make them without end

MISSING: Any = object()  # stands for a global that does not exist
Chain = tuple[str, ...]


class Reads(NamedTuple):
    """The names that one code object reads, and the code objects inside it."""

    globals: dict[str, frozenset[Chain]]  # by name: chains of attributes read of it; (): the object itself
    closed: dict[str, frozenset[Chain]]  # the same for variables of the functions around it
    added_to: frozenset[str]  # names among these that are by-products
    changed: frozenset[str]  # names among these that are working state
    imports: dict[str, frozenset[str]]  # modules imported while it runs: names taken from them; "": the module itself


_known: weakref.WeakKeyDictionary[CodeType, Reads] = weakref.WeakKeyDictionary()


def reads_of(code: CodeType) -> Reads:
    """Return the reads of a code object; found once for each."""
    found = _known.get(code)
    if found is None:
        found = _known[code] = _looked(code)
    return found


def _looked(code: CodeType) -> Reads:
    names: dict[str, set[Chain]] = {}
    closed: dict[str, set[Chain]] = {}
    added: set[str] = set()
    changed: set[str] = set()
    imports: dict[str, set[str]] = {}
    steps = [step for step in dis.get_instructions(code) if step.opname not in _PADDING]
    for at, step in enumerate(steps):
        if step.opname in _LOADS:
            if _only_added_to(steps, at):
                added.add(step.argval)
                changed.add(step.argval)
                continue
            if _changed(steps, at):
                changed.add(step.argval)
            known = closed if step.argval in code.co_freevars or step.argval in code.co_cellvars else names
            known.setdefault(step.argval, set()).add(_chain(steps, at))
        elif step.opname in _STORES:
            changed.add(step.argval)
        elif step.opname == "IMPORT_NAME":
            taken = _taken(steps, at)
            imports.setdefault(step.argval, set()).update(taken or {""})
    for inner in code.co_consts:
        if not is_a(inner, CodeType):
            continue
        found = reads_of(inner)
        added.update(found.added_to)
        changed.update(found.changed)
        for known, more in ((names, found.globals), (closed, found.closed)):
            for name, chains in more.items():
                known.setdefault(name, set()).update(chains)
        for name, parts in found.imports.items():
            imports.setdefault(name, set()).update(parts)
    only_added = frozenset(added - closed.keys())
    return Reads(_frozen(names), _frozen(closed), only_added, frozenset(changed), _frozen(imports))


def _frozen(found: dict[str, set[Any]]) -> dict[str, frozenset[Any]]:
    return {name: frozenset(found[name]) for name in sorted(found)}


def _chain(steps: list[dis.Instruction], at: int) -> Chain:
    found = []
    for step in steps[at + 1 :]:
        if step.opname not in _ATTRIBUTES:
            break
        found.append(step.argval)
    return tuple(found)


def _taken(steps: list[dis.Instruction], at: int) -> set[str]:
    """Return the names of ``from module import a, b``."""
    return {step.argval for step in steps[at + 1 : at + 64] if step.opname == "IMPORT_FROM"}


def _only_added_to(steps: list[dis.Instruction], at: int) -> bool:
    """Return whether this load is that of ``name.append(...)`` with its result unused."""
    if at + 1 >= len(steps) or steps[at + 1].opname not in _ATTRIBUTES or steps[at + 1].argval not in _ADDS:
        return False
    depth = 2  # on the stack: the method and its object
    for n, step in enumerate(steps[at + 2 :], at + 2):
        if step.is_jump_target or step.opcode in dis.hasjrel or step.opcode in dis.hasjabs:
            return False
        depth += dis.stack_effect(step.opcode, step.arg, jump=False)
        if depth <= 1:
            return step.opname.startswith("CALL") and n + 1 < len(steps) and steps[n + 1].opname == "POP_TOP"
    return False


def _changed(steps: list[dis.Instruction], at: int) -> bool:
    """Return whether this load is that of ``name.update(...)`` or the like, or of ``name[key] = value`` or ``+=``."""
    if at + 1 < len(steps) and steps[at + 1].opname in _ATTRIBUTES:
        return steps[at + 1].argval in _CHANGES
    depth, swapped = 1, False  # the stack from the container on
    for step in steps[at + 1 : at + 64]:
        if step.opname in ("STORE_SUBSCR", "DELETE_SUBSCR"):
            return depth == (3 if swapped else 2)
        if step.is_jump_target or step.opcode in dis.hasjrel or step.opcode in dis.hasjabs:
            return False
        swapped = step.opname == "SWAP"
        depth += dis.stack_effect(step.opcode, step.arg, jump=False)
        if depth < 1:
            return False
    return False


# -- the user's own code ---------------------------------------------------------------------------

_own: dict[tuple[str, int], bool] = {}


def is_own(name: Any) -> bool:
    """Return whether the module of this name is the user's: a script, a cell, or a module that is not installed."""
    if not is_a(name, str):
        return True
    module = sys.modules.get(name)
    key = (name, id(module))
    found = _own.get(key)
    if found is None:
        if len(_own) > _LOOKS:
            _own.clear()
        found = _own[key] = _is_own(name, module)
    return found


def _is_own(name: str, module: Any) -> bool:
    root = name.partition(".")[0]
    if root == _PACKAGE:
        return False
    if name == "__main__" or not is_a(module, ModuleType):
        return name == "__main__" or (module is None and root not in sys.stdlib_module_names)
    if not vars(module).get("__file__"):
        return root not in sys.stdlib_module_names and getattr(vars(module).get("__spec__"), "origin", None) is None
    return is_local(module)


def is_own_function(fn: FunctionType) -> bool:
    return is_own(fn.__globals__.get("__name__"))


def is_own_class(kind: type) -> bool:
    return is_own(type.__getattribute__(kind, "__module__"))


# -- what is there ---------------------------------------------------------------------------------


class Place(NamedTuple):
    """A value that a function reads, and its place: the name in a namespace."""

    path: str
    space: dict[str, Any]
    name: str
    value: Any


def places_of(fn: FunctionType) -> Iterator[Place]:
    """Return the values that a user's function reads, by name; an attribute of a module counts, not the module."""
    reads = reads_of(fn.__code__)
    for name, chains in reads.globals.items():
        value = fn.__globals__.get(name, MISSING)
        yield Place(name, fn.__globals__, name, value)
        if is_a(value, ModuleType):
            yield from _in_module(name, value, sorted(chains))
    for name, cell in zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=False):
        value = content_of(cell)
        if is_a(value, ModuleType):
            yield from _in_module(name, value, sorted(reads.closed.get(name, ())))
    for name, parts in reads.imports.items():
        module = sys.modules.get(name)
        if isinstance(module, ModuleType):
            yield from _in_module(name, module, sorted((part,) if part else () for part in parts))


def _in_module(path: str, module: ModuleType, chains: Iterable[Chain]) -> Iterator[Place]:
    if not is_own(module.__name__):
        return
    space = vars(module)
    for chain in chains:
        for name in chain[:1] or [n for n in sorted(space) if not n.startswith("__")]:
            value = space.get(name, MISSING)
            where = f"{path}.{name}"
            yield Place(where, space, name, value)
            if is_a(value, ModuleType) and len(chain) > 1:
                yield from _in_module(where, value, [chain[1:]])


def content_of(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # a cell that is not filled yet
        return MISSING


def owner_of(fn: FunctionType) -> type | None:
    """Return the class that defines a function, where its module has that class under its name."""
    *way, name = fn.__qualname__.split(".")
    if not way or "<locals>" in way:
        return None
    found: Any = fn.__globals__.get(way[0])
    for step in way[1:]:
        found = vars(found).get(step) if is_a(found, type) else None
    return found if is_a(found, type) and name in vars(found) else None
