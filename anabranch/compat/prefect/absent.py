"""Functions in the place of those of Prefect's that anabranch does not have."""

from __future__ import annotations

from typing import Any


def absent(name: str, advice: str) -> Any:
    """Return a function that says at its call what to use in its place.

    Args:
        name: such as "Flow.serve"; its last part is the function's own name.
    """

    def call(*args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"anabranch has no {name}: {advice}")

    call.__name__ = call.__qualname__ = name.rpartition(".")[2]
    return call
