"""Drivers get a key of their run alone, with the claim that starts them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from anabranch.core.access import Access, Keys
    from anabranch.core.orders import Claim


def with_keys(claims: Iterable[Claim], keys: Keys | None, access: Access) -> list[Claim]:
    """Return the claims with the keys of their runs; without one where the agent needed none."""
    if keys is None or not access.name:
        return list(claims)
    return [replace(one, key=keys.of_run(one.order.run, one.order.token)) for one in claims]
