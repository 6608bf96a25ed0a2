"""A folder of fetched code, shared by any number of drivers: what is there is whole."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os
    from collections.abc import Callable


class Cache:
    """Folders by the digest of what is in them.

    Args:
        place: a folder; made with its first entry, readable to its user alone.
    """

    def __init__(self, place: str | os.PathLike[str]) -> None:
        self.place = Path(place)

    def folder(self, name: str, fill: Callable[[Path], None]) -> Path:
        """Return the folder of a name; `fill` fills an empty one where it is not there.

        Two that fill at once do the work twice, and one of the results stays. What `fill` raises is raised, and
        leaves nothing.
        """
        found = self.place / name
        if found.is_dir():
            return found
        self.place.mkdir(parents=True, exist_ok=True, mode=0o700)
        made = Path(tempfile.mkdtemp(prefix=".", dir=self.place))
        try:
            fill(made)
            try:
                made.rename(found)
            except OSError:  # another one was first
                if not found.is_dir():
                    raise
        finally:
            shutil.rmtree(made, ignore_errors=True)
        return found


def digest_of(*parts: str) -> str:
    """Return the SHA-256 of some texts."""
    found = hashlib.sha256()
    for part in parts:
        found.update(f"{len(part)}:{part}".encode())
    return found.hexdigest()
