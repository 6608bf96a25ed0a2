"""What of a map is stored beside the inputs of its failed items: enough to call them again, anywhere."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from anabranch.core.binding import binder

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Self

    from anabranch.core.contracts import Binding


@dataclass(slots=True)
class KeptCall:
    """How items of a map become calls, kept in the driver for those whose end no worker tells of."""

    binding: Binding
    constants: tuple[Any, ...] = ()
    told: bool = False  # it was stored


@dataclass(slots=True)
class StoredCall:
    """A task and what all items of one map share; the value of a stored block of kind "call".

    Attributes:
        fn: the plain function, pickled by value where it is the user's.
        module, file, qualname: where the function stands in the user's code.
    """

    task: str
    fn: bytes
    binding: Binding
    constants: tuple[Any, ...] = ()
    module: str = ""
    file: str = ""
    qualname: str = ""

    @classmethod
    def of(
        cls, task: str, fn: Callable[..., Any], pickled: bytes, binding: Binding, constants: tuple[Any, ...]
    ) -> Self:
        """The call of a function that was pickled already."""
        inner = inspect.unwrap(fn)
        code = getattr(inner, "__code__", None)
        if code is None:  # a partial or a callable object: what it holds is in no file
            return cls(task, pickled, binding, tuple(constants))
        return cls(
            task, pickled, binding, tuple(constants), inner.__module__ or "", code.co_filename, inner.__qualname__
        )

    @classmethod
    def read(cls, stored: Mapping[str, Any]) -> Self:
        """From a block's value; what a newer version has stored besides is left out."""
        names = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in stored.items() if name in names})

    def value(self) -> dict[str, Any]:
        """What a block keeps of it."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def call(self, item: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments, by position and by name, of the call that this mapped item makes."""
        return binder(self.binding, self.constants)(item)
