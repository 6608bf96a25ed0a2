"""What runs on a worker in another process for an executor: the caller's function, after the worker's set-up."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from anabranch.core.errors import AnabranchError

if TYPE_CHECKING:
    from collections.abc import Callable

_ready: set[str] = set()  # tokens of executors for which this process was set up
_setting_up = threading.RLock()


class SetUpFailed(AnabranchError):
    """Raised on a worker when an executor's initializer raised there."""


def answer(fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call the function of one submit."""
    return fn(*args, **kwargs)


def answer_one(fn: Callable[[Any], Any], item: Any) -> Any:
    """Call the function of a map over one iterable."""
    return fn(item)


def answer_all(fn: Callable[..., Any], items: tuple[Any, ...]) -> Any:
    """Call the function of a map over several iterables."""
    return fn(*items)


class After:
    """A function for workers that were set up: the first call in each process runs the initializer."""

    def __init__(self, call: Callable[..., Any], setup: SetUp) -> None:
        self.__name__ = call.__name__
        self._call = call
        self._setup = setup

    def __call__(self, *args: Any) -> Any:
        if self._setup.token not in _ready:
            self._setup.run()
        return self._call(*args)


class SetUp:
    """An executor's initializer.

    Args:
        token: tells the executors of all programs apart.
    """

    def __init__(self, token: str, initializer: Callable[..., object], initargs: tuple[Any, ...]) -> None:
        self.token = token
        self._initializer = initializer
        self._initargs = initargs

    def run(self) -> None:
        """Set this process up, once; raises SetUpFailed."""
        with _setting_up:
            if self.token in _ready:
                return
            try:
                self._initializer(*self._initargs)
            except BaseException as error:
                raise SetUpFailed(f"{type(error).__name__}: {error}") from error
            _ready.add(self.token)
