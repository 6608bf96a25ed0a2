"""Secrets that were seen in parameters, and their texts taken out of whatever is shown or recorded.

The text itself is what is looked for, so it stays hidden also after the user's code took it out of
its `SecretStr`. Known is what the driver saw as a parameter of a flow or task, at the top or one
container deep; texts under four characters are left alone, for they are parts of other words.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anabranch.core.runs import FlowRunRow, ItemRow, LogRow, TransitionRow

if TYPE_CHECKING:
    from anabranch.core.runs import Row

SHORTEST = 4
MASK = "**********"
_known: set[str] = set()


def remember(*values: Any) -> None:
    """Note the secrets (objects with `get_secret_value`, as pydantic's) among parameters."""
    for value in values:
        if isinstance(value, dict):
            inner: Any = value.values()
        else:
            inner = value if isinstance(value, (list, tuple)) else ()
        for one in (value, *inner):
            text = getattr(type(one), "get_secret_value", None) and one.get_secret_value()
            if isinstance(text, bytes):
                text = text.decode("utf-8", "replace")
            if isinstance(text, str) and len(text) >= SHORTEST:
                _known.add(text)


def mask(text: str) -> str:
    """The text without any secret that was remembered."""
    for secret in _known:
        if secret in text:
            text = text.replace(secret, MASK)
    return text


def mask_rows(rows: list[Row]) -> None:
    """The same for what goes into the record."""
    for row in rows:
        if isinstance(row, (FlowRunRow, ItemRow, TransitionRow, LogRow)):
            row.message = mask(row.message)
        if isinstance(row, ItemRow):
            row.error_text = mask(row.error_text)


def any_known() -> bool:
    return bool(_known)
