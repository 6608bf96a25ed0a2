"""The known word that a misspelt one is most like, and how messages say it."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

ALIKE = 0.6  # of two words, as of `difflib`; below that a hint would mislead


def nearest(word: object, known: Iterable[str]) -> str:
    """Return the known word that is most like this one; "" where none is like it."""
    return next(iter(difflib.get_close_matches(str(word), list(known), n=1, cutoff=ALIKE)), "")


def meant(word: object, known: Iterable[str]) -> str:
    """Return the end of a sentence that names the nearest word; "" where none is like it."""
    near = nearest(word, known)
    return f"; did you mean {near!r}?" if near else ""


def hint(word: object, known: Iterable[str]) -> str:
    """Return a clause that names the nearest word, or all that there are."""
    there = list(known)
    near = nearest(word, there)
    if near:
        return f"did you mean {near!r}?"
    return f"there are: {', '.join(there)}" if there else "there is none"
