"""The first pass of a walk: finds futures, or holes, at any depth, and the containers on the way to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anabranch.core.annotations import allow_failure, quote
from anabranch.core.containers import (
    EXACT,
    LEAVES,
    MARK,
    OTHER,
    kind_of,
    parts_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


ROOT = -1


class Hole:
    """Stands in an argument for the value of the n-th future that `lift` found there."""

    __slots__ = ("allow_failure", "n")

    def __init__(self, n: int, allow_failure: bool = False) -> None:
        self.n = n
        self.allow_failure = allow_failure

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Hole) and (self.n, self.allow_failure) == (other.n, other.allow_failure)

    def __hash__(self) -> int:
        return hash((Hole, self.n, self.allow_failure))

    def __reduce__(self) -> tuple[type[Hole], tuple[int, bool]]:
        return (Hole, (self.n, self.allow_failure))

    def __repr__(self) -> str:
        return f"Hole({self.n}, allow_failure=True)" if self.allow_failure else f"Hole({self.n})"


def is_hole(value: object) -> bool:
    return type(value) is Hole


def search(
    values: Iterable[Any], is_future: Callable[[object], bool], *, marks: bool, allow: int = 0
) -> tuple[set[int], list[Any]]:
    """Return keys of the containers to build anew, and the objects that must stay alive while the keys are used.

    A key is an object's id and whether it was reached through `allow_failure`: an argument may contain one list both
    ways.
    """
    parents: dict[int, list[int]] = {}
    alive: list[Any] = []
    hits: list[int] = []
    pending: list[tuple[Iterable[Any], int, int]] = [(values, ROOT, allow)]
    while pending:
        parts, parent, allow = pending.pop()
        for part in parts:
            cls: Any = type(part)
            if cls in LEAVES:
                continue
            kind = kind_of(cls)
            if cls in EXACT:
                if LEAVES.issuperset(map(type, parts_of(kind, part))):
                    continue
            elif kind == MARK:
                if not marks:
                    continue
                hits.append(parent)  # an annotation is taken off, with or without a future inside
                if issubclass(cls, quote):
                    continue
            elif is_future(part):
                hits.append(parent)
                continue
            elif kind == OTHER:
                continue
            inner = 1 if kind == MARK and issubclass(cls, allow_failure) else allow
            key = id(part) << 1 | inner
            known = parents.get(key)
            if known is not None:
                known.append(parent)
                continue
            parents[key] = [parent]
            alive.append(part)
            pending.append((parts_of(kind, part), key, inner))
    return _ancestors(hits, parents), alive


def _ancestors(hits: list[int], parents: dict[int, list[int]]) -> set[int]:
    touched = set(hits)
    pending = list(touched)
    while pending:
        for key in parents.get(pending.pop(), ()):
            if key not in touched:
                touched.add(key)
                pending.append(key)
    return touched
