"""Plain values, and odd ones."""

from __future__ import annotations

import datetime
import decimal
import io
import math

from tests.zoo.animals.keeper import Keeper, kind, text

ANIMALS: dict[str, Keeper] = {
    "none": Keeper(lambda: None, text),
    "ellipsis": Keeper(lambda: ..., text),
    "not implemented": Keeper(lambda: NotImplemented, text),
    "huge number": Keeper(lambda: 1 << 40_000, lambda one: f"{one.bit_length()} {one & 1}"),
    "not a number": Keeper(lambda: math.nan, text),
    "minus zero": Keeper(lambda: -0.0, text),
    "surrogates": Keeper(lambda: "a\ud800b", ascii),
    "zero bytes": Keeper(lambda: "a\0b", ascii),
    "text of another kind": Keeper(lambda: type("Text", (str,), {})("x"), lambda one: f"{kind(one)} {one}"),
    "bytes": Keeper(lambda: b"\xff\0", text),
    "byte array": Keeper(lambda: bytearray(b"ab"), text),
    "memory view": Keeper(lambda: memoryview(b"ab"), lambda one: str(bytes(one))),
    "buffer": Keeper(lambda: io.BytesIO(b"ab"), lambda one: str(one.getvalue())),
    "decimal": Keeper(lambda: decimal.Decimal("NaN"), text),
    "a time, folded": Keeper(lambda: datetime.datetime(2026, 10, 25, 2, 30, fold=1), text),
    "a time in a zone": Keeper(lambda: datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC), text),
}
