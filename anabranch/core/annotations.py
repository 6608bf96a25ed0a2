"""Marks round an argument that change how it is mapped, resolved or admitted."""

from __future__ import annotations

from typing import Any


class Annotation:
    """Base of the marks: holds one value, may be nested, is equal to nothing but itself."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value: Any = value

    def unwrap(self) -> Any:
        """The value inside, one layer down."""
        return self.value

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.value!r})"


class unmapped(Annotation):
    """In `map`: give this value whole to every item, though it could be iterated."""

    __slots__ = ()


class allow_failure(Annotation):
    """Let futures inside be admitted in any terminal state; a failed one's value is its exception."""

    __slots__ = ()


class quote(Annotation):
    """Hand this value over as it is: not searched for futures, no dependency made."""

    __slots__ = ()


def unwrap_all(value: Any) -> Any:
    """The bare value under any number of annotations."""
    while issubclass(type(value), Annotation):
        value = value.value
    return value
