"""A user's script, run as `__main__`: its own classes in every position; prints a line for each that is not right.

Called with the name of a runner; run twice with one home, the second start reads what the first one stored.
"""

from __future__ import annotations

import collections
import dataclasses
import enum
import sys
from typing import Any, NamedTuple

from pydantic import BaseModel

from anabranch import flow, task, unmapped


class Colour(enum.Enum):
    RED = "r"


class Access(enum.Flag):
    READ = 1
    WRITE = 2


class Level(enum.IntEnum):
    HIGH = 2


@dataclasses.dataclass(frozen=True, slots=True)
class Spot:
    x: int
    tone: Colour = Colour.RED


class Point(NamedTuple):
    x: int


Pair = collections.namedtuple("Pair", "a b")


class Model(BaseModel):
    tone: Colour


class Outer:
    class Inner:
        def __eq__(self, other: object) -> bool:
            return isinstance(other, Outer.Inner)

        __hash__ = None  # type: ignore[assignment]


class Trouble(Exception):
    def __init__(self, where: str, why: str) -> None:
        super().__init__(f"{where}: {why}")
        self.why = why


class Slotted:
    __slots__ = ("x",)

    def __init__(self) -> None:
        self.x = 1

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Slotted) and other.x == self.x

    __hash__ = None  # type: ignore[assignment]


def double(x: int) -> int:
    return 2 * x


OWN: dict[str, Any] = {
    "enum": Colour.RED,
    "flag": Access.READ | Access.WRITE,
    "int enum": Level.HIGH,
    "dataclass": Spot(1),
    "named tuple": Point(2),
    "named tuple of the old kind": Pair(1, Colour.RED),
    "model": Model(tone=Colour.RED),
    "inner class": Outer.Inner(),
    "slots": Slotted(),
    "class": Spot,
    "function": double,
    "key": {Colour.RED: 1},
    "list": [Spot(1), Point(2)],
}


def same(one: Any, name: str) -> bool:
    """Whether it is what the script has under this name, of the script's own class."""
    own = OWN[name]
    if isinstance(own, (type, enum.Enum)):
        return one is own
    if callable(own):
        return bool(one(4) == own(4))
    return type(one) is type(own) and one == own


@task
def there(one: Any, name: str) -> tuple[bool, Any]:
    return same(one, name), one


@task
def made(name: str) -> Any:
    return OWN[name]


@task(cache_key_fn=lambda context, parameters: "own-" + parameters["name"])
def cached(name: str) -> Any:
    return OWN[name]


@task
def raises() -> None:
    raise Trouble("here", "for a reason")


@flow(runner=sys.argv[1])
def main() -> None:
    wrong: list[str] = []
    for name in OWN:
        seen, back = there.submit(OWN[name], name).result()
        mapped = there.map([OWN[name]], unmapped(name)).result()[0]
        constant = there.map(unmapped(OWN[name]), [name]).result()[0]
        rows = {
            "argument": seen,
            "given back": same(back, name),
            "mapped": mapped[0],
            "mapped, given back": same(mapped[1], name),
            "constant": constant[0],
            "made there": same(made.submit(name).result(), name),
            "cached": same(cached.submit(name).result(), name),
        }
        wrong += [f"{name}: {row}" for row, right in rows.items() if not right]
    try:
        raises.submit().result()
    except Trouble as error:
        if error.why != "for a reason":
            wrong.append("error: its attributes")
    print("WRONG" if wrong else "RIGHT", *wrong, sep="\n")


if __name__ == "__main__":
    main()
