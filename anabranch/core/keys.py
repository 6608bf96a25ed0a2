"""Hashes of values that are the same in every process, under every hash seed, on every day."""

from __future__ import annotations

import pickle
import threading
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from anabranch.core.asking import text
from anabranch.core.computation import class_code
from anabranch.core.culprits import culprit_path
from anabranch.core.encode import PLAIN, SCALARS, Culprit, Tangle, Walk, digest
from anabranch.core.errors import SerializationError
from anabranch.core.identity import encoded as encoded_code

if TYPE_CHECKING:
    from collections.abc import Iterable

    from anabranch.core.encode import Dumps

__all__ = ["ConstantHasher", "culprit_path", "digest_of", "hash_value"]

DIGEST_BYTES = 12  # enough for a thousand million inputs without a collision
_PERSON = b"anabranch-1"  # change it when an encoding changes, so that old keys match nothing


def hash_value(value: Any, dumps: Dumps | None = None, where: str = "value", code: bool = False) -> str:
    """Return 32 hexadecimal digits that equal values share, in every process and under every hash seed.

    Values of different types differ: 1, 1.0 and True have three hashes. Functions and classes count by their identity
    (`core/identity.py`), the class of an instance by its name.

    Args:
        dumps: pickles objects without parts of their own (such as ``cloudpickle.dumps``).
        where: the value's name in an error.
        code: the class of an instance counts by its code too.

    Raises:
        SerializationError: something in it cannot be pickled; names the path, such as ``inputs['config'].lock``.
    """
    plain = PLAIN.get(type(value))
    if plain is not None:
        return blake2b(plain(value), digest_size=16, person=_PERSON).hexdigest()
    try:
        encoded = Walk(dumps, encoded_code, class_code if code else None).encode(value)
    except Culprit as culprit:
        path = where + "".join(reversed(culprit.steps))
        raise SerializationError(f"cannot hash {path}: {culprit.error}") from culprit.error
    except (RecursionError, Tangle):
        encoded = _whole(value, dumps, where)
    return blake2b(encoded, digest_size=16, person=_PERSON).hexdigest()


NO_DIGEST = bytes(DIGEST_BYTES)  # stands for values that cannot be hashed: equal to nothing, not even itself


def digest_of(value: Any) -> bytes:
    """Return `DIGEST_BYTES` that equal values share, as `hash_value`; `NO_DIGEST` for one that cannot be pickled."""
    plain = PLAIN.get(type(value))
    if plain is not None:
        return blake2b(plain(value), digest_size=16, person=_PERSON).digest()[:DIGEST_BYTES]
    try:
        return bytes.fromhex(hash_value(value))[:DIGEST_BYTES]
    except SerializationError:
        return NO_DIGEST


class ConstantHasher:
    """Hashes like `hash_value` with `code`, but each of the values it was made with only once.

    It recognises these by identity, and so keeps them alive: it must live no longer than they do. The hash of the first
    use stays, even when the value is changed later. Threads may share one.
    """

    __slots__ = ("_hashes", "_hashing", "_values")

    def __init__(self, values: Iterable[Any]) -> None:
        # Scalars are cheaper to hash than to remember.
        self._values = {id(value): value for value in values if type(value) not in SCALARS}
        self._hashes: dict[int, str | SerializationError] = {}
        self._hashing = threading.Lock()

    def __call__(self, value: Any, where: str = "value") -> str:
        mark = id(value)
        if mark not in self._values:
            return hash_value(value, None, where, True)
        found = self._hashes.get(mark)
        if found is None:
            with self._hashing:  # threads begin together: all but the first wait for its hash
                found = self._hashes.get(mark) or self._first(mark, where)
        if isinstance(found, SerializationError):
            raise SerializationError(str(found))
        return found

    def _first(self, mark: int, where: str) -> str | SerializationError:
        found: str | SerializationError
        try:
            found = hash_value(self._values[mark], None, where, True)
        except SerializationError as error:
            found = SerializationError(str(error))  # a new error, without frames
        self._hashes[mark] = found
        return found


def _whole(value: Any, dumps: Dumps | None, where: str) -> bytes:
    """Return the pickle of a value that is too deep or too tangled to walk."""
    try:
        return b"W" + digest((dumps or pickle.dumps)(value))
    except Exception as error:  # the object's own code may raise anything
        raise SerializationError(f"cannot hash {where}: nested too deeply, and {text(error)}") from error
