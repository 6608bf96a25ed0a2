"""Files that are not sent along with a flow's code."""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ALWAYS = (".git", "__pycache__", ".venv", "node_modules", ".mypy_cache", ".pytest_cache", ".ruff_cache")


def rules(folder: Path, file: str | None) -> Callable[[str], bool]:
    """Return whether a file, by its path from the folder, is left out.

    Args:
        file: of patterns, a line each, in the folder; None, or one that is not there: the usual folders alone.
    """
    lines = (folder / file).read_text("utf-8").splitlines() if file and (folder / file).is_file() else []
    patterns = [line.strip().rstrip("/") for line in lines if line.strip() and not line.startswith("#")]

    def ignored(name: str) -> bool:
        parts = PurePosixPath(name).parts
        above = ["/".join(parts[: n + 1]) for n in range(len(parts))]
        return any(
            fnmatch(one, pattern.lstrip("/")) or ("/" not in pattern and fnmatch(part, pattern))
            for pattern in (*ALWAYS, *patterns)
            for one, part in zip(above, parts, strict=True)
        )

    return ignored
