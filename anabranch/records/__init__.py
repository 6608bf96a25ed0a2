"""The records of runs: in a SQLite file, in files of a shared folder, in PostgreSQL, behind a server, in memory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from anabranch.core.errors import ConfigurationError
from anabranch.core.network_files import locks
from anabranch.core.network_files import shared as on_network
from anabranch.core.secrets import without_login

if TYPE_CHECKING:
    import os

    from anabranch.core.service import Service
    from anabranch.records.recorder import Recorder
    from anabranch.records.remote import RemoteRecords
    from anabranch.records.union import UnionRecords

_POSTGRES = ("postgresql", "postgres")
_SERVERS = ("http", "https")
FILE, FOLDER, NODE = "file", "folder", "node"


def open_records(
    where: str | os.PathLike[str], *, shared: str = "auto", retention_days: float = 0.0,
    home: str | os.PathLike[str] = "~/.anabranch", api_key: str = "",
) -> Recorder | UnionRecords | RemoteRecords:  # fmt: skip
    """The records at a path, at a PostgreSQL address or behind a server, made where there are none.

    Args:
        where: the path of a SQLite file, or an address such as "postgresql://user@host/database" or "https://server".
        shared: whether the path lies on a network file system: "auto" (look), "true" or "false"; "node": it does, and
            this driver's own file is to lie on its node, with a copy there.
        retention_days: runs that ended longer ago are deleted now and then; 0 keeps all. A server has its own.
        home: the folder where rows wait for a server that is away.
        api_key: of this program, for a server.

    Raises:
        ConfigurationError: the address is of a kind that is not known.
        MissingExtraError: the address needs a package that is not installed; says which.
        RecordsError: the records are damaged, out of reach, or need a newer anabranch.
    """
    scheme = _scheme(where)
    if scheme in _POSTGRES:
        from anabranch.records.postgres import PostgresRecords

        return PostgresRecords(str(where), retention_days=retention_days)
    if scheme in _SERVERS:
        from anabranch.records.remote import RemoteRecords

        return RemoteRecords(str(where), Path(home).expanduser(), key=api_key)
    if scheme:
        raise ConfigurationError(
            f"records = {without_login(str(where))!r} is not a place for records: give a path, "
            "postgresql://user@host/database, or https://server"
        )
    path = Path(where).expanduser().absolute()
    kind = kind_of(path, shared)
    if kind != FILE:
        from anabranch.records.union import UnionRecords

        return UnionRecords(folder_of(path), node=kind == NODE, retention_days=retention_days)
    from anabranch.records.sqlite import SqliteRecords

    return SqliteRecords(path, retention_days=retention_days)


def open_service(where: str | os.PathLike[str], *, shared: str = "auto") -> Service:
    """The service in the records at a path or at a PostgreSQL address, made where there are none.

    Args:
        where, shared: as of `open_records`.

    Raises:
        ConfigurationError: the address is of a kind that is not known, or the records are a folder of files.
        MissingExtraError, RecordsError: as of `open_records`.
    """
    from anabranch.records.service.direct import DirectService

    scheme = _scheme(where)
    if scheme in _POSTGRES:
        from anabranch.records.postgres import Server

        server = Server(str(where))
        server.prepare()
        server.close()  # the connection of that; the service keeps its own
        return DirectService(server)
    if scheme:
        raise ConfigurationError(
            f"records = {without_login(str(where))!r} is not a place for the service: give a path, or "
            "postgresql://user@host/database"
        )
    path = Path(where).expanduser().absolute()
    if kind_of(path, shared) != FILE:
        raise ConfigurationError(
            f"the service needs one file or PostgreSQL, and the records at {path} are a folder of files, since it is "
            "on a network file system: set records to postgresql://user@host/database, or to a path on a local disk"
        )
    from anabranch.records.sqlite_file import SqliteFile, prepare

    prepare(path)
    return DirectService(SqliteFile(path))


def recorded(where: str | os.PathLike[str], *, shared: str = "auto") -> bool:
    """Whether there may be records at a path or an address: False for a path where nothing was ever recorded."""
    if _scheme(where):
        return True
    path = Path(where).expanduser().absolute()
    return (path if kind_of(path, shared) == FILE else folder_of(path)).exists()


def place_said(where: str | os.PathLike[str], *, shared: str = "auto") -> str:
    """Return in words where records at a path or an address lie, without a login."""
    if _scheme(where):
        return without_login(str(where))
    path = Path(where).expanduser().absolute()
    return {
        FILE: f"{path} (on this machine alone)",
        FOLDER: f"{folder_of(path)} (a network file system: a file for each driver)",
        NODE: f"{folder_of(path)} (copies, every few seconds, of the files that drivers have on their nodes)",
    }[kind_of(path, shared)]


def folder_of(path: Path) -> Path:
    """Where the files of all drivers lie, when `path` is on a network file system."""
    return path.with_name(f"{path.name}.d")


def _scheme(where: str | os.PathLike[str]) -> str:
    return str(where).partition("://")[0].lower() if "://" in str(where) else ""


def kind_of(path: Path, shared: str) -> str:
    """Return how the record at a path is kept: FILE, FOLDER or NODE. Where files cannot be locked, only NODE works."""
    if shared == "auto":
        return FILE if not on_network(path.parent) else FOLDER if locks(path.parent) else NODE
    return {"true": FOLDER, "node": NODE}.get(shared, FILE)
