"""Numbers with names and labels in the text format that Prometheus reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterable

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
Labels = tuple[tuple[str, str], ...]


def family(name: str, kind: str, help: str, values: Counter[Labels]) -> Iterable[str]:
    """Yield the lines of one family; none without values."""
    if not values:
        return
    yield f"# HELP anabranch_{name} {help}\n# TYPE anabranch_{name} {kind}\n"
    for labels, value in sorted(values.items()):
        told = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels)
        yield f"anabranch_{name}{{{told}}} {value if isinstance(value, int) else format(value, '.6f')}\n"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
