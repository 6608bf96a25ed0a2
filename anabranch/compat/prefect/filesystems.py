"""Prefect's file systems: where results are kept by path."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any, ClassVar, Self

from anabranch.compat.prefect.utilities.asyncutils import awaited, either


class WritableFileSystem:
    """Base of the file systems."""

    saved: ClassVar[dict[str, Any]] = {}  # by "kind/name", for the life of the program
    kind: ClassVar[str] = ""
    _block_document_id: uuid.UUID | None = None

    def _saved(self, name: str | None = None, overwrite: bool = False) -> uuid.UUID:
        """Make it known under a name, for the life of the program."""
        self._block_document_id = self._block_document_id or uuid.uuid4()
        WritableFileSystem.saved[f"{self.kind}/{name}"] = self
        return self._block_document_id

    save = either(_saved)

    def _anonymous(self, name: str | None = None, is_anonymous: bool = False, overwrite: bool = False) -> uuid.UUID:
        return self._saved(name or uuid.uuid4().hex, overwrite)

    _save = either(_anonymous)

    @classmethod
    def load(cls, name: str) -> Any:
        """Return the one that was saved under a name; raises ValueError."""
        return saved(f"{cls.kind}/{name}")


def saved(reference: str) -> Any:
    """Return a file system by "kind/name"; raises ValueError where there is none."""
    if reference not in WritableFileSystem.saved:
        raise ValueError(f"Unable to find block document {reference!r}: this program has saved none of that name")
    return WritableFileSystem.saved[reference]


class LocalFileSystem(WritableFileSystem):
    """Files below a folder."""

    kind = "local-file-system"

    def __init__(self, basepath: str | Path | None = None, **_: Any) -> None:
        self.basepath = None if basepath is None else str(basepath)

    def _resolve_path(self, path: str | Path, validate: bool = False) -> Path:
        base = Path(self.basepath).expanduser().resolve() if self.basepath else Path.cwd()
        found = (base / path).resolve()
        if not found.is_relative_to(base):
            raise ValueError(f"Provided path {found} is outside of the base path {base}.")
        return found

    def _read(self, path: str | Path) -> bytes:
        found = self._resolve_path(path)
        if not found.exists():
            raise ValueError(f"Path {found} does not exist.")
        if not found.is_file():
            raise ValueError(f"Path {found} is not a file.")
        return found.read_bytes()

    def _write(self, path: str | Path, content: bytes) -> str:
        found = self._resolve_path(path)
        found.parent.mkdir(parents=True, exist_ok=True)
        beside = found.with_name(f".{found.name}.{uuid.uuid4().hex}")
        beside.write_bytes(content)
        beside.replace(found)
        return str(found)

    read_path, aread_path = either(_read), awaited(_read)
    write_path, awrite_path = either(_write), awaited(_write)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LocalFileSystem) and other.basepath == self.basepath

    def __hash__(self) -> int:
        return hash(self.basepath)


class NullFileSystem(WritableFileSystem):
    """Keeps nothing."""

    kind = "null-file-system"

    def _read(self, path: str) -> None:
        return None

    def _write(self, path: str, content: bytes) -> None:
        return None

    read_path, aread_path = either(_read), awaited(_read)
    write_path, awrite_path = either(_write), awaited(_write)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, NullFileSystem)

    def __hash__(self) -> int:
        return 0

    def model_copy(self) -> Self:
        """Return itself."""
        return self
