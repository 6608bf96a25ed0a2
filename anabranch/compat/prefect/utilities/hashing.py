"""Prefect's hashes of texts, files and objects."""

from __future__ import annotations

import functools
import hashlib
import importlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anabranch.compat.prefect.exceptions import HashError

if TYPE_CHECKING:
    from collections.abc import Callable

_md5 = functools.partial(hashlib.md5, usedforsecurity=False)


def stable_hash(*args: str | bytes, hash_algo: Callable[..., Any] = _md5) -> str:
    """Return the hash of texts and bytes, one after the other, in hexadecimal digits."""
    digest = hash_algo()
    for one in args:
        digest.update(one.encode() if isinstance(one, str) else one)
    return str(digest.hexdigest())


def file_hash(path: str | Path, hash_algo: Callable[..., Any] = _md5) -> str:
    """Return the hash of a file's content; raises FileNotFoundError."""
    return stable_hash(Path(path).read_bytes(), hash_algo=hash_algo)


def hash_objects(
    *args: Any, hash_algo: Callable[..., Any] = _md5, raise_on_failure: bool = False, **kwargs: Any
) -> str | None:
    """Return the hash of objects, by their JSON, else by their pickle; None where neither can be made.

    Raises HashError in place of None with `raise_on_failure`.
    """
    reasons = []
    for name, dumps in (("JSON", _json), ("Pickle", _pickle)):
        try:
            return stable_hash(dumps((args, kwargs)), hash_algo=hash_algo)
        except Exception as error:
            reasons.append(f"  {name} error: {error}")
    if raise_on_failure:
        raise HashError("\n".join(["Unable to create hash - objects could not be serialized.", *reasons]))
    return None


def _pickle(value: Any) -> bytes:
    made: bytes = importlib.import_module("cloudpickle").dumps(value)  # few values need it, and it is dear to load
    return made


def _json(value: Any) -> bytes:
    """Return JSON with sorted keys; refuses what it has no own form for."""
    return json.dumps(value, sort_keys=True, allow_nan=False).encode()
