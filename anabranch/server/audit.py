"""What is noted of a person's write: its names, and none of its values."""

from __future__ import annotations

from typing import Any

_TELLING = ("deployment", "flow", "name", "slug", "run", "role", "pool", "paused", "active")
_LONGEST = 300  # characters


def told(query: str, body: Any) -> str:
    """Return in one line what a request is about, by its query and its JSON."""
    parts = [query] if query else []
    rows = [body, *body.values(), *_listed(body.get("orders"))] if isinstance(body, dict) else []
    for row in rows:
        if isinstance(row, dict):
            named = ((key, row.get(key)) for key in _TELLING)
            parts += [f"{key}={value}" for key, value in named if isinstance(value, (str, bool)) and value != ""]
    line = " ".join(parts)
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 3]}..."


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
