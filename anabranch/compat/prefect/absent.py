"""Placeholders for those names of Prefect's that anabranch does not have."""

from __future__ import annotations

import copyreg
import functools
from typing import Any, NoReturn


class Absent:
    """A name that is imported without harm, and says at its first use what to use in its place.

    Args:
        name: such as "Flow.visualize"; its last part is the function's own name.
    """

    def __init__(self, name: str, advice: str) -> None:
        self.__dict__.update(_name=name, _advice=advice, __name__=name.rpartition(".")[2])

    def _refuse(self) -> NoReturn:
        raise NotImplementedError(f"anabranch has no {self._name}: {self._advice}")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self._refuse()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # asked by copy, pickle and inspect, which take a missing one
            raise AttributeError(name)
        return self._refuse()

    def __mro_entries__(self, bases: Any) -> Any:  # as a base class
        self._refuse()

    def __instancecheck__(self, instance: object) -> bool:
        return False

    def __get__(self, instance: object, kind: type | None = None) -> Absent:
        return self

    def __repr__(self) -> str:
        return f"<anabranch has no {self._name}>"


class AbsentKind(type):
    """The class of placeholders for classes: they stand in `except`, in `isinstance` and in annotations as types do.

    Nothing is ever an instance of one, and nothing raises it. A call, a subclass and an attribute say what to use.
    """

    _name = _advice = ""

    def __new__(cls, word: str, bases: tuple[type, ...], members: dict[str, Any]) -> Any:
        for base in bases:
            if isinstance(base, AbsentKind):
                base._refuse()
        return super().__new__(cls, word, bases, members)

    def _refuse(cls) -> NoReturn:
        raise NotImplementedError(f"anabranch has no {cls._name}: {cls._advice}")

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        cls._refuse()

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):  # as of `Absent`
            raise AttributeError(name)
        return cls._refuse()

    def __instancecheck__(cls, instance: object) -> bool:
        return False

    def __repr__(cls) -> str:
        return f"<anabranch has no {cls._name}>"


@functools.cache
def absent(name: str, advice: str) -> Any:
    """Return a placeholder: for a name that is written as a class an `AbsentKind`, else an `Absent`."""
    word = name.rpartition(".")[2]
    if not word[:1].isupper() or word.isupper():
        return Absent(name, advice)
    return AbsentKind(word, (Exception,), {"_name": name, "_advice": advice})


copyreg.pickle(AbsentKind, lambda kind: (absent, (kind._name, kind._advice)))
