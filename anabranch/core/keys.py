"""Hashes of values that are equal wherever they are computed: other process, other hash seed, other day."""

from __future__ import annotations

import pickle
import weakref
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from anabranch.core.culprits import culprit_path
from anabranch.core.encode import PLAIN, SCALARS, Culprit, Tangle, Walk, digest
from anabranch.core.errors import SerializationError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from anabranch.core.encode import Dumps

__all__ = ["ConstantHasher", "culprit_path", "hash_value"]

_PERSON = b"anabranch-1"  # change it when an encoding changes: old keys then match nothing


def hash_value(value: Any, dumps: Dumps | None = None, where: str = "value") -> str:
    """32 hexadecimal digits that equal values share, in every process and under every hash seed.

    Values of different types differ: 1, 1.0 and True have three hashes. Classes count by name,
    functions by code, defaults and closure.

    Args:
        dumps: pickles what has no parts of its own to be hashed by (such as ``cloudpickle.dumps``).
        where: what the value is called in an error.

    Raises:
        SerializationError: something in it cannot be pickled; names the path, such as ``inputs['config'].lock``.
    """
    plain = PLAIN.get(type(value))
    if plain is not None:
        return blake2b(plain(value), digest_size=16, person=_PERSON).hexdigest()
    try:
        encoded = Walk(dumps).encode(value)
    except Culprit as culprit:
        path = where + "".join(reversed(culprit.steps))
        raise SerializationError(f"cannot hash {path}: {culprit.error}") from culprit.error
    except (RecursionError, Tangle):
        encoded = _whole(value, dumps, where)
    return blake2b(encoded, digest_size=16, person=_PERSON).hexdigest()


class ConstantHasher:
    """Hashes like `hash_value`, but values it was told to `hold` only once.

    A held value is known again by its identity and keeps the hash of its first use, even if
    somebody changes it later. It is held weakly where its type allows, else strongly until
    `forget` has been called as often as `hold`.
    """

    __slots__ = ("_dumps", "_held")

    def __init__(self, dumps: Dumps | None = None) -> None:
        self._dumps = dumps
        self._held: dict[int, _Held] = {}

    def __call__(self, value: Any, where: str = "value") -> str:
        held = self._held.get(id(value))
        if held is None:
            return hash_value(value, self._dumps, where)
        if held.error is not None:
            raise SerializationError(held.error)
        if held.digest is None:
            try:
                held.digest = hash_value(value, self._dumps, where)
            except SerializationError as error:
                held.error = str(error)
                raise
        return held.digest

    def __len__(self) -> int:
        return len(self._held)

    def hold(self, values: Iterable[Any]) -> None:
        """Hash each of these at most once from now on; scalars are cheaper to hash than to remember."""
        for value in values:
            if type(value) in SCALARS:
                continue
            mark = id(value)
            held = self._held.get(mark)
            if held is None:
                self._held[mark] = _Held(self._anchor(value, mark))
            else:
                held.count += 1

    def forget(self, values: Iterable[Any]) -> None:
        """Undo one `hold` of each of these; unknown ones are let pass."""
        for value in values:
            held = self._held.get(id(value))
            if held is not None:
                held.count -= 1
                if not held.count:
                    del self._held[id(value)]

    def _anchor(self, value: Any, mark: int) -> Any:
        memo = self._held
        try:
            return weakref.ref(value, lambda _: memo.pop(mark, None))
        except TypeError:
            return value


class _Held:
    __slots__ = ("anchor", "count", "digest", "error")

    def __init__(self, anchor: Any) -> None:
        self.anchor = anchor  # keeps the value alive, or its weak reference
        self.count = 1
        self.digest: str | None = None
        self.error: str | None = None


def _whole(value: Any, dumps: Dumps | None, where: str) -> bytes:
    """The pickle of a value too deep or too tangled to walk."""
    try:
        return b"W" + digest((dumps or pickle.dumps)(value))
    except Exception as error:  # whatever the object's own code raises
        raise SerializationError(f"cannot hash {where}: nested too deeply, and {error}") from error
