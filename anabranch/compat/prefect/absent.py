"""Placeholders for those names of Prefect's that anabranch does not have."""

from __future__ import annotations

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


def absent(name: str, advice: str) -> Any:
    """Return a placeholder, see `Absent`."""
    return Absent(name, advice)
