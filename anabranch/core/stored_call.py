"""The stored call of a map: with the inputs of its failed items it is enough to call them again, anywhere."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from anabranch.core.binding import binder

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Self

    from anabranch.core.chunks import Binding
    from anabranch.core.draws import Path


@dataclass(slots=True)
class KeptCall:
    """A map's binding and constants, kept in the driver for items that end without a worker's report."""

    binding: Binding
    constants: tuple[Any, ...] = ()
    told: bool = False  # it was stored


@dataclass(slots=True)
class StoredCall:
    """A task and the arguments that all items of one map share; the value of a stored block of kind "call".

    Attributes:
        fn: the plain function, pickled by value where it is the user's.
        module, file, qualname: the function's place in the user's code.
        draws: the parts of the `Source` of its random numbers; the seed is None where nobody had asked for one.
    """

    task: str
    fn: bytes
    binding: Binding
    constants: tuple[Any, ...] = ()
    module: str = ""
    file: str = ""
    qualname: str = ""
    draws: tuple[int | None, Path, int] | None = None

    @classmethod
    def of(
        cls, task: str, fn: Callable[..., Any], pickled: bytes, binding: Binding, constants: tuple[Any, ...]
    ) -> Self:
        """Make the call of a function that was pickled already."""
        inner = inspect.unwrap(fn)
        code = getattr(inner, "__code__", None)
        if code is None:  # a partial or a callable object: its content is in no file
            return cls(task, pickled, binding, tuple(constants))
        return cls(
            task, pickled, binding, tuple(constants), inner.__module__ or "", code.co_filename, inner.__qualname__
        )

    @classmethod
    def read(cls, stored: Mapping[str, Any]) -> Self:
        """Read it from a block's value; fields of a newer version are left out."""
        names = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in stored.items() if name in names})

    def value(self) -> dict[str, Any]:
        """Return the form that a block stores."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def call(self, item: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the (args, kwargs) of the call that this mapped item makes."""
        return binder(self.binding, self.constants)(item)
