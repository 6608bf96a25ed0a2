"""What the values of one map weigh: bytes, as estimated where they were made."""

from __future__ import annotations


class Footprint:
    """Counted by the ledger.

    Attributes:
        held: bytes of values that are held somewhere now.
        most: the most of them so far.
        released: bytes of values let go so far.
        spilled: bytes moved from memory to disk so far.
    """

    __slots__ = ("held", "most", "released", "spilled")

    def __init__(self) -> None:
        self.held = self.most = self.released = self.spilled = 0
