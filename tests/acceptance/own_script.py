"""A script with classes, functions and tasks of its own, for test_own_script.py: prints what is wrong."""

from __future__ import annotations

import dataclasses
import enum
import multiprocessing
import pickle
import sys
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel

from anabranch import cache_policies, flow, task

HERE = Path(sys.argv[2])


class Colour(enum.Enum):
    RED = "r"
    BLUE = "b"


class Right(enum.Flag):
    READ = 1
    WRITE = 2


class Level(enum.IntEnum):
    LOW = 1


@dataclasses.dataclass(slots=True)
class Row:
    a: int
    tone: Colour = Colour.RED


@dataclasses.dataclass(slots=True)
class More(Row):
    b: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    a: int


@dataclasses.dataclass
class Usual:
    a: int


class Slotted:
    __slots__ = ("a",)

    def __init__(self, a: int) -> None:
        self.a = a

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Slotted) and other.a == self.a

    __hash__ = None  # type: ignore[assignment]


class Weak(Slotted):
    __slots__ = ("__dict__", "__weakref__", "b")


class Pair(NamedTuple):
    a: int
    b: int


class Model(BaseModel):
    n: int
    tone: Colour = Colour.BLUE


class Outer:
    class Inner(Usual):
        pass


class Trouble(Exception):
    def __init__(self, a: int, why: str) -> None:
        super().__init__(a, why)
        self.a = a


class Counter:
    seen = 0


FUNCTION = 13  # where in what `build` makes


def square(x: int) -> int:
    return x * x


def build(n: int) -> list[Any]:
    return [
        Colour.RED, Right.READ | Right.WRITE, Level.LOW, Row(n), More(n), Frozen(n), Usual(n), Slotted(n), Weak(n),
        Pair(n, 2), Model(n=n), Outer.Inner(n), {Colour.BLUE: n}, square, Row, [Row(1), Row(2)],
    ]  # fmt: skip


def strange(found: list[Any], n: int) -> list[str]:
    """Which of these are no values of this script's own classes, or not equal to them."""
    if square is not found[FUNCTION] and found[FUNCTION](4) == 16:
        found = [*found[:FUNCTION], square, *found[FUNCTION + 1 :]]  # on workers a function may be a copy
    pairs = zip(found, build(n), strict=True)
    odd = [repr(one) for one, own in pairs if type(one) is not type(own) or one != own]
    return odd + [repr(one) for one in (found[0], found[2]) if one is not Colour.RED and one is not Level.LOW]


@task
def make(n: int) -> list[Any]:
    return build(n)


@task
def look(found: list[Any], n: int) -> list[str]:
    return strange(found, n)


@task(cache_policy=cache_policies.INPUTS)
def cached(n: int) -> list[Any]:
    return build(n)


@task
def row(n: int) -> Row:
    return Row(n)


@task
def fail(n: int) -> None:
    raise Trouble(n, "on purpose")


@task
def write(n: int) -> str:
    path = HERE / f"{n}.pickle"
    path.write_bytes(pickle.dumps(Row(n)))
    return str(path)


@task
def read(path: str) -> Any:
    with open(path, "rb") as file:
        return pickle.load(file).a  # its class stands nowhere in this function


@task
def around() -> bool:
    value = (Usual(1), Colour.RED, Outer.Inner(2), square)
    return bool(pickle.loads(pickle.dumps(value)) == value)


@task
def pooled() -> list[int]:
    with multiprocessing.get_context("fork").Pool(2) as pool:
        return pool.map_async(square, range(4)).get(60)


@task
def pooled_by_default() -> str:
    return multiprocessing.get_start_method()


@task
def told(kind: type[Counter]) -> int:
    return kind.seen


@task
def give(kind: type[Counter]) -> Counter:
    return kind()


def check(what: str, found: Any, wanted: Any) -> None:
    if found != wanted:
        print("WRONG", what, found)


@flow(runner=sys.argv[1])
def main() -> None:
    check("results", strange(make.submit(3).result(), 3), [])
    check("a function", make.submit(3).result()[FUNCTION] is square, True)
    check("arguments", look.submit(build(3), 3).result(), [])
    check("from task to task", look.submit(make.submit(3), 3).result(), [])
    check("mapped", [one.a for one in row.map(range(300)).result()], list(range(300)))
    check("mapped on", look.map([build(3)] * 3, 3).result(), [[]] * 3)
    first = cached.submit(4)
    check("cached", strange(first.result(), 4), [])
    check("a cached function", first.result()[FUNCTION] is square, True)
    check("cached, to a task", look.submit(first, 4).result(), [])
    check("the state of the cached one", first.state.name, sys.argv[3])
    error = fail.submit(5).exception()
    check("an exception", (type(error), getattr(error, "a", None)), (Trouble, 5))
    check("pickled there, read here", pickle.loads(Path(write.submit(6).result()).read_bytes()), Row(6))
    (HERE / "mine").write_bytes(pickle.dumps(Row(7)))
    check("pickled here, read there", read.submit(str(HERE / "mine")).result(), 7)
    check("pickled and read there", around.submit().result(), True)
    if sys.argv[1] != "thread":  # a fork of the driver is another story
        check("a pool of processes", pooled.submit().result(), [0, 1, 4, 9])
    check("the way of processes", pooled_by_default.submit().result(), multiprocessing.get_start_method())
    given = give.submit(Counter)
    Counter.seen = 8
    check("an object of a class", given.result().seen, 8)
    check("the class that it came home to", Counter.seen, 8)


if __name__ == "__main__":
    main()
    print("DONE")
