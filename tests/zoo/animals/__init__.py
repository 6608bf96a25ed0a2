"""Awkward objects, and what is right for each: how to make one, how to know it again, whether it can leave its process.

A keeper is data: tests put what it makes into every position that a value can have. `tell` says what is seen of an
object in plain text; a run is right when the text is the same wherever it is said.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.zoo.animals import answers, attributes, code, plain, records, structures, tables

if TYPE_CHECKING:
    from tests.zoo.animals.keeper import Keeper

ZOO: dict[str, Keeper] = {
    **attributes.ANIMALS,
    **answers.ANIMALS,
    **tables.ANIMALS,
    **records.ANIMALS,
    **code.ANIMALS,
    **structures.ANIMALS,
    **plain.ANIMALS,
}
