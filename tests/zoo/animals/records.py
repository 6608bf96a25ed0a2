"""Records of all kinds, and exceptions as values."""

from __future__ import annotations

import dataclasses
import enum
from typing import TYPE_CHECKING, Any, NamedTuple

import attrs
import pydantic

from tests.zoo.animals.keeper import Keeper, kind, text

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclasses.dataclass(slots=True)
class Slotted:
    x: int
    y: list[int] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(slots=True, frozen=True)
class Frozen:
    x: int


@attrs.define
class Defined:
    x: int
    y: dict[str, int]


@attrs.frozen(slots=False)
class DefinedFrozen:
    x: int


class Model(pydantic.BaseModel):
    x: int
    _hidden: list[int] = pydantic.PrivateAttr(default_factory=lambda: [7])


class Colour(enum.Enum):
    RED = "r"
    BLUE = "b"


class Access(enum.Flag):
    READ = 1
    WRITE = 2


class Point(NamedTuple):
    x: int
    y: int = 2


class OldSlots:
    __slots__ = ("missing", "x")

    def __init__(self) -> None:
        self.x = 3


class Counted(list[int]):
    """A list with an attribute of its own."""

    label = "none"


class Coded(Exception):
    def __init__(self, text: str, *, code: int) -> None:
        super().__init__(text)
        self.code = code


class Wordless(Exception):
    def __str__(self) -> str:
        raise ValueError("no words")

    __repr__ = __str__


class Reduced(Exception):
    def __init__(self, a: int, b: int) -> None:
        self.a, self.b = a, b

    def __reduce__(self) -> Any:
        return Reduced, (self.a, self.b)


def _raising(error: BaseException) -> Callable[[], BaseException]:
    return lambda: error


def _counted() -> Counted:
    one = Counted([1, 2])
    one.label = "mine"
    return one


ANIMALS: dict[str, Keeper] = {
    # records
    "slotted": Keeper(lambda: Slotted(1, [2]), text),
    "frozen": Keeper(lambda: Frozen(1), text),
    "attrs": Keeper(lambda: Defined(1, {"a": 2}), text),
    "attrs frozen": Keeper(lambda: DefinedFrozen(1), text),
    "model": Keeper(lambda: Model(x=1), lambda one: f"{text(one)} {one._hidden}"),
    "enum": Keeper(lambda: Colour.RED, lambda one: f"{text(one)} {one is Colour.RED}"),
    "flag": Keeper(lambda: Access.READ | Access.WRITE, text),
    "enum as a key": Keeper(lambda: {Colour.RED: 1}, lambda one: str(one[Colour.RED])),
    "named tuple": Keeper(lambda: Point(1), text),
    "slots, one empty": Keeper(OldSlots, lambda one: f"{kind(one)} {one.x} {hasattr(one, 'missing')}"),
    "list with a label": Keeper(_counted, lambda one: f"{text(one)} {one.label}"),
    # exceptions, as values
    "exception of two arguments": Keeper(lambda: Coded("bad", code=5), lambda one: f"{text(one)} {one.code}", False),
    "wordless exception": Keeper(Wordless, kind),
    "reduced exception": Keeper(lambda: Reduced(1, 2), lambda one: f"{kind(one)} {one.a} {one.b}"),
    "group": Keeper(lambda: ExceptionGroup("two", [ValueError("a"), KeyError("b")]), text),
    "exception": Keeper(_raising(ValueError("a value, not a failure")), text),
}
