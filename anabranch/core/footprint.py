"""What the values of one map weigh: bytes, as estimated where they were made."""

from __future__ import annotations


class Footprint:
    """Counted by the ledger.

    Attributes:
        held: bytes of values that are held somewhere now.
        released: bytes of values let go so far.
        spilled: bytes moved from memory to disk so far.
    """

    __slots__ = ("held", "released", "spilled")

    def __init__(self) -> None:
        self.held = self.released = self.spilled = 0
