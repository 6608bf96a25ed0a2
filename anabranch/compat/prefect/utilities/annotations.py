"""Marks round an argument, under Prefect's names; the engine knows those of ours that they extend."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from anabranch.core import annotations as ours

if TYPE_CHECKING:
    from collections.abc import Iterator

T = TypeVar("T")


class BaseAnnotation(ours.Annotation, Generic[T]):
    """Base of the marks; two of one kind round equal values are equal."""

    __slots__ = ()

    value: T

    def rewrap(self, value: Any) -> Self:
        """Return the same mark round another value."""
        return type(self)(value)

    def __getitem__(self, place: Any) -> Any:
        return (self.value,)[place]

    def __iter__(self) -> Iterator[Any]:
        return iter((self.value,))

    def __len__(self) -> int:
        return 1

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and bool(self.value == other.value)

    def __hash__(self) -> int:
        return hash((type(self), self.value))


class unmapped(BaseAnnotation[T], ours.unmapped):
    """In `map`: give this value whole to every item."""

    __slots__ = ()

    def __getitem__(self, _: Any) -> Any:
        return self.value


class allow_failure(BaseAnnotation[T], ours.allow_failure):
    """Let a run begin although the one inside failed; its value is the exception."""

    __slots__ = ()


class quote(BaseAnnotation[T], ours.quote):
    """Hand a value over as it is."""

    __slots__ = ()

    def unquote(self) -> T:
        """Return the value inside."""
        return self.value


class Quote(quote[T]):
    """The older name of `quote`."""

    __slots__ = ()

    def __init__(self, value: T) -> None:
        warnings.warn("Use of `Quote` is deprecated. Use `quote` instead.", DeprecationWarning, stacklevel=2)
        super().__init__(value)


class opaque(BaseAnnotation[T]):
    """Wait for a future and give its value, which is not searched. Ours never searches values."""

    __slots__ = ()


class freeze(BaseAnnotation[T]):
    """A parameter that a deployment does not let change; anything that JSON can carry.

    Raises ValueError for a value that JSON cannot carry.
    """

    __slots__ = ()

    def __init__(self, value: T) -> None:
        from pydantic_core import to_json

        try:
            to_json(value)
        except Exception:
            raise ValueError("Value must be JSON serializable") from None
        super().__init__(value)

    def unfreeze(self) -> T:
        """Return the value inside."""
        return self.value

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        plain = core_schema.plain_serializer_function_ser_schema(lambda mark: mark.unfreeze())
        return core_schema.no_info_after_validator_function(cls, core_schema.any_schema(), serialization=plain)


class NotSet:
    """The default of arguments for which None has a meaning."""
