"""Code at an address of any file system that fsspec knows."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, TypeVar

from anabranch.core import secrets
from anabranch.core.errors import AnabranchError, FetchError, MissingExtraError
from anabranch.core.secrets import restored
from anabranch.documents.storage.away import FetchAway, is_away
from anabranch.documents.storage.cache import digest_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from anabranch.documents.storage.cache import Cache

_T = TypeVar("_T")
# What tells two contents of one file apart, where a file system has it.
_MARKS = ("ETag", "etag", "md5", "md5Hash", "sha", "checksum", "LastModified", "last_modified", "mtime", "created")


def fetch(reference: Mapping[str, Any], cache: Cache) -> tuple[Path, str]:
    """Return the folder of the code and the digest of its listing.

    Raises:
        FetchAway: the address does not answer.
        FetchError: there are no files, or they cannot be read; names the address.
        MissingExtraError: a package that the address needs is not installed here.
    """
    url: str = reference["url"].rstrip("/")
    return _asked(url, lambda: _fetch(url, reference.get("options") or {}, cache))


def put(folder: Path, url: str, options: Mapping[str, Any] | None = None, *, ignored: Callable[[str], bool]) -> int:
    """Write the files of a folder to an address; returns their number.

    Args:
        ignored: whether a file, by its path from the folder, is left out.

    Raises:
        FetchError, MissingExtraError: as of `fetch`.
    """
    return _asked(url, lambda: _put(folder, url.rstrip("/"), options or {}, ignored))


def put_file(file: Path, url: str) -> None:
    """Write one file to an address.

    Raises:
        FetchError, MissingExtraError: as of `fetch`.
    """

    def put() -> None:
        fs, target = _opened(url, {})
        fs.makedirs(fs._parent(target), exist_ok=True)
        fs.put_file(str(file), target)

    _asked(url, put)


def _fetch(url: str, options: Mapping[str, Any], cache: Cache) -> tuple[Path, str]:
    fs, root = _opened(url, options)
    fs.invalidate_cache()
    files = _files(fs, root)
    if not files:
        raise FetchError(f"there is no code at {url}: no such folder, or it is empty")
    listing = [f"{name} {info.get('size')} {_mark(info)}" for name, info in sorted(files.items())]
    digest = digest_of(url, *listing)

    def fill(place: Path) -> None:
        for name, info in files.items():
            target = place / name
            target.parent.mkdir(parents=True, exist_ok=True)
            fs.get_file(info["name"], str(target))

    return cache.folder(f"url-{digest}", fill), digest


def _put(folder: Path, url: str, options: Mapping[str, Any], ignored: Callable[[str], bool]) -> int:
    fs, root = _opened(url, options)
    names = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]
    sent = [name for name in names if not ignored(name)]
    for name in sent:
        target = f"{root}/{name}"
        fs.makedirs(fs._parent(target), exist_ok=True)
        fs.put_file(str(folder / name), target)
    return len(sent)


def _files(fs: Any, root: str) -> dict[str, dict[str, Any]]:
    """Return what the file system says of each file, by its path from the folder; an address of one file is that."""
    try:
        found = fs.find(root, detail=True)
    except FileNotFoundError:
        return {}
    files = {}
    for place, info in found.items():
        if info.get("type") == "directory" or place.endswith("/"):
            continue
        name = place.removeprefix(root).lstrip("/") or PurePosixPath(place).name
        if ".." in PurePosixPath(name).parts or "\\" in name:
            raise FetchError(f"the file {name!r} below {root} would be written outside of its folder")
        files[name] = info
    return files


def _mark(info: Mapping[str, Any]) -> str:
    return next((str(info[name]) for name in _MARKS if info.get(name)), "")


def _opened(url: str, options: Mapping[str, Any]) -> tuple[Any, str]:
    import fsspec

    given = restored(dict(options))
    read = {name: one.get() if isinstance(one, secrets.Secret) else one for name, one in given.items()}
    fs, root = fsspec.core.url_to_fs(url, **read)
    return fs, root.rstrip("/")


def _asked(url: str, ask: Callable[[], _T]) -> _T:
    if find_spec("fsspec") is None:
        raise MissingExtraError(f"the code at {url} needs fsspec: pip install 'anabranch[remote]'")
    try:
        return ask()
    except AnabranchError:
        raise
    except ImportError as error:
        raise MissingExtraError(f"the code at {url} needs a package that is not installed here: {error}") from None
    except Exception as error:
        told = secrets.mask(str(error)) or type(error).__name__
        kind = FetchAway if is_away(error) else FetchError
        raise kind(f"the code at {url} cannot be had: {told}") from error
