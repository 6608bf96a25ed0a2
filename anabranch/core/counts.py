"""How many items of a map are in each state."""

from __future__ import annotations

from typing import ClassVar

from anabranch.core.states import ITEM_CODES, NAMES


class Counts:
    """The number of items in each state, from a column of codes."""

    __slots__ = ("by_code",)
    order: ClassVar[tuple[str, ...]] = tuple(name for name, _ in NAMES[:ITEM_CODES])

    def __init__(self, codes: bytes | bytearray) -> None:
        self.by_code: tuple[int, ...] = tuple(codes.count(code) for code in range(ITEM_CODES))

    def __getitem__(self, name: str) -> int:
        return self.by_code[self.order.index(name)]

    def as_dict(self) -> dict[str, int]:
        return {name: n for name, n in zip(self.order, self.by_code, strict=True) if n}
