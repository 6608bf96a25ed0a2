"""Owners of methods: classes of all kinds with tasks in them."""

from __future__ import annotations

import enum
import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import pydantic

from anabranch import Task, flow, task

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


class Job:
    kind = "job"

    def __init__(self, k: int) -> None:
        self.k = k

    @task
    def scale(self, x: int) -> int:
        return x * self.k

    @task
    @classmethod
    def label(cls, x: int) -> str:
        return f"{cls.kind}-{x}"

    @task
    @staticmethod
    def plus(x: int) -> int:
        return x + 1

    @staticmethod
    @task
    def plus_too(x: int) -> int:
        return x + 1

    @task
    async def wait(self, x: int) -> int:
        return x * self.k

    @task
    def items(self, n: int) -> Iterator[int]:
        yield from (i * self.k for i in range(n))

    @task
    async def items_too(self, n: int) -> AsyncIterator[int]:
        for i in range(n):
            yield i * self.k

    def pair(self, a: int, b: int) -> list[int]:
        return [self.k, a, b]

    five = task(functools.partialmethod(pair, 5))

    @flow
    def all_scaled(self, n: int) -> Any:
        return self.scale.map(range(n))

    @flow
    @classmethod
    def labelled(cls, x: int) -> Any:
        return cls.label.submit(x)

    @flow
    @staticmethod
    def increased(x: int) -> Any:
        return Job.plus.submit(x)

    @flow
    async def waited(self, x: int) -> Any:
        return await self.wait(x)


class Sub(Job):
    kind = "sub"

    @task
    def scale(self, x: int) -> Any:
        return -Job.scale(self, x)

    def scaled_as_job(self, x: int) -> Any:
        return super().scale.submit(x)


class Slotted:
    __slots__ = ("k",)

    def __init__(self, k: int) -> None:
        self.k = k

    @task
    def scale(self, x: int) -> int:
        return x * self.k


@dataclass
class Record:
    k: int

    @task
    def scale(self, x: int) -> int:
        return x * self.k


class Level(enum.Enum):
    THREE = 3

    @task
    def scale(self, x: int) -> int:
        return int(x * self.value)


class Named(NamedTuple):
    k: int

    @task
    def scale(self, x: int) -> int:
        return x * self.k


class Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(ignored_types=(Task,))
    k: int

    @task
    def scale(self, x: int) -> int:
        return x * self.k


class Several(list[int]):
    """Could be mapped over by itself."""

    @task
    def scale(self, x: int) -> int:
        return x * len(self)


class Aloof:
    """Answers no question about itself."""

    def __getattr__(self, name: str) -> Any:
        raise KeyError(name)

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("not comparable")

    __hash__ = None  # type: ignore[assignment]

    def __call__(self) -> None: ...

    @task
    def scale(self, x: int) -> int:
        return x * 3


class Meta(type):
    @task
    def scale(cls, x: int) -> int:
        return int(x * cls.k)  # type: ignore[attr-defined]


class OfMeta(metaclass=Meta):
    k = 3


OWNERS = [
    Job(3), Slotted(3), Record(3), Level.THREE, Named(3), Model(k=3), Several([1, 2, 3]), OfMeta,
]  # fmt: skip
