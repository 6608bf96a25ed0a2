"""From a mapped item to a call's arguments, as `chunks.Binding` says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from anabranch.core.chunks import Binding


def binder(binding: Binding, constants: Sequence[Any]) -> Callable[[Any], tuple[tuple[Any, ...], dict[str, Any]]]:
    """Return a function from an item to (args, kwargs)."""
    if binding.star:
        return lambda item: item
    if binding.width == 1:

        def one(item: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
            args = tuple(item if kind == "item" else constants[k] for kind, k in binding.args)
            return args, {name: item if kind == "item" else constants[k] for name, (kind, k) in binding.kwargs}

        return one

    def several(item: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        args = tuple((item if kind == "item" else constants)[k] for kind, k in binding.args)
        return args, {name: (item if kind == "item" else constants)[k] for name, (kind, k) in binding.kwargs}

    return several
