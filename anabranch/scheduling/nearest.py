"""The known word that a misspelt one comes nearest to, for messages."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def nearest(given: object, known: Iterable[str]) -> str:
    """Return the end of a message: "; did you mean ...?", or nothing."""
    near = difflib.get_close_matches(str(given), list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
