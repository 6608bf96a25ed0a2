"""Objects that answer questions wrongly, raise when they are asked, or never answer."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, NoReturn

from tests.zoo.animals.keeper import Keeper, kind

if TYPE_CHECKING:
    from collections.abc import Callable

FOREVER = 300.0  # seconds: longer than any test may take


def _no(what: str) -> Callable[..., NoReturn]:
    def refuse(self: Any, *args: Any, **kwargs: Any) -> NoReturn:
        raise RuntimeError(f"{what} is not to be asked")

    return refuse


def _block(self: Any, *args: Any, **kwargs: Any) -> NoReturn:
    threading.Event().wait(FOREVER)
    raise RuntimeError("asked, and waited for")


class NoEquality:
    __eq__ = _no("__eq__")
    __hash__ = object.__hash__


class NoTruth:
    __bool__ = _no("__bool__")


class NoHash:
    __hash__ = _no("__hash__")  # type: ignore[assignment]


class NoLength:
    __len__ = _no("__len__")


class NoItems:
    __iter__ = _no("__iter__")
    __len__ = _no("__len__")
    __getitem__ = _no("__getitem__")


class NoText:
    __repr__ = __str__ = __format__ = _no("__repr__")


class NoSize:
    __sizeof__ = _no("__sizeof__")
    nbytes = property(_no("nbytes"))
    size = property(_no("size"))


class NoEnd:
    __del__ = _no("__del__")


class StrangeSize:
    nbytes = -(10**12)

    def __sizeof__(self) -> int:
        return -5


class StrangeAnswers:
    """Each answer is of a type that nobody expects, or raises where Python checks it."""

    nbytes = float("nan")
    shape = "round"
    dtype = 7

    def __len__(self) -> int:
        return -1

    def __eq__(self, other: object) -> Any:
        return NoTruth()

    def __hash__(self) -> int:
        return hash("x")


class BlockingText:
    __repr__ = __str__ = _block


class BlockingEquality:
    __eq__ = _block
    __hash__ = object.__hash__


class BlockingTruth:
    __bool__ = __len__ = _block


ANIMALS: dict[str, Keeper] = {
    "no equality": Keeper(NoEquality, kind),
    "no truth": Keeper(NoTruth, kind),
    "no hash": Keeper(NoHash, kind),
    "no length": Keeper(NoLength, kind),
    "no items": Keeper(NoItems, kind),
    "no text": Keeper(NoText, kind),
    "no size": Keeper(NoSize, kind),
    "strange size": Keeper(StrangeSize, kind),
    "strange answers": Keeper(StrangeAnswers, kind),
    "blocking text": Keeper(BlockingText, kind, answers=False),
    "blocking equality": Keeper(BlockingEquality, kind),
    "blocking truth": Keeper(BlockingTruth, kind),
}
