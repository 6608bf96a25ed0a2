"""The code and data that a task's runs are computed with, followed over time: function, hooks, all they read."""

from __future__ import annotations

import dataclasses
import threading
import weakref
from typing import TYPE_CHECKING, Any

from anabranch.core.encode import class_name
from anabranch.core.identity import Identity, encoded, identity_of
from anabranch.core.reads import is_own_class
from anabranch.core.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from anabranch.core.options import TaskOptions


class Computation:
    """The computation of one task; a pickle of it is a `Fixed`, like the function that is pickled beside it.

    Attributes:
        edition: goes up with each change that `look` has found.
        moved: tells whether a name that the function reads is bound to another object than at the last look; it is
            asked at each submit, so it is the watch's own method.
    """

    __slots__ = ("_fn", "_identities", "_lock", "_options", "_run", "_watch", "edition", "moved")

    def __init__(self, fn: Callable[..., Any], options: TaskOptions) -> None:
        self._fn = fn
        self._options = options
        self._watch: Watch | None = None
        self._identities: dict[bool, Identity] = {}
        self._run: str | None = None
        self._lock = threading.Lock()
        self.edition: int = 0
        self.moved: Callable[[], bool] = bool  # nothing was looked at

    @property
    def watch(self) -> Watch | None:
        """The watch over everything that the last edition reads."""
        return self._watch

    def look(self, run: str | None = None) -> int:
        """Compare with the last look; returns the edition.

        Args:
            run: the flow run that looks. Its first look, and one without a run, also read values that are slow to read.
        """
        with self._lock:
            through = run is None or run != self._run
            if run is not None:
                self._run = run
            if self._watch is None or not self._watch.same(through=through):
                self._watch = Watch((self._fn, *_hooks(self._options)))
                self.moved = self._watch.moved
                self._identities.clear()
                self.edition += 1
            return self.edition

    def identity(self, *, working: bool = True) -> Identity:
        """Return the identity of the function as of now, with or without its working state."""
        self.look()
        found = self._identities.get(working)
        if found is None:
            found = self._identities[working] = identity_of(self._fn, working=working)
        return found

    def __reduce__(self) -> Any:
        return Fixed, (self.identity() if self._options.cached else None,)


class Fixed:
    """The identity of a function at the moment it was sent; see `Computation`."""

    __slots__ = ("_identity",)

    def __init__(self, identity: Identity | None) -> None:
        self._identity = identity

    def identity(self, *, working: bool = True) -> Identity:
        return self._identity or Identity("", "", "what it was is not known here")

    def __reduce__(self) -> Any:
        return Fixed, (self._identity,)


def _hooks(options: TaskOptions) -> Iterator[Any]:
    """Yield all functions among the options: they travel with the task's own."""
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if field.name == "cache_policy":
            for part in getattr(value, "policies", (value,)):
                yield getattr(part, "cache_key_fn", part)
        elif callable(value):
            yield value
        elif isinstance(value, tuple):
            yield from filter(callable, value)


# -- classes ---------------------------------------------------------------------------------------

_classes: weakref.WeakKeyDictionary[type, tuple[Watch, bytes]] = weakref.WeakKeyDictionary()


def class_code(kind: type) -> bytes:
    """Return a class as part of an instance's hash, with its code if it is the user's; raises Culprit."""
    if not is_own_class(kind):
        return class_name(kind)
    found = _classes.get(kind)
    if found is None or not found[0].same():
        watch = Watch((kind,))
        found = _classes[kind] = (watch, encoded(kind))
    return found[1]
