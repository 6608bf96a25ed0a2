"""The messages between a task in another process, which submits, and the driver.

    worker/nested_scope  --a request below, pickled-->  driver/nested_requests
                         <--its answer, or an error---

The type of a request names the type of its answer. `Note`s travel with the next request and have no answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NamedTuple, TypeVar

from anabranch.core.events import ASK, WAIT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from anabranch.core.options import MapOptions
    from anabranch.core.reports import ErrorInfo

SLICE = 4096  # items in one answer, when one of them was asked for
MOST = 1024  # elements of an iterator in one request
AT_ONCE = -1  # in place of a request's turn: it waits for no other one

Key = tuple[str, int | None]  # a map's id, and an item of it or None for the whole map
Note = tuple[str, str, int | None]  # one of the words below, and the key of its future
TAKEN, DROPPED, HANDLED = "taken", "dropped", "handled"

A = TypeVar("A")


class RemoteIterator(NamedTuple):
    """Stands for an iterator of the worker in the arguments that travel to the driver."""

    number: int


class MapNews(NamedTuple):
    """The state of a map in the driver: the requested items from `lo` on."""

    length: int
    done: int
    closed: bool
    lo: int
    codes: bytes
    errors: dict[int, ErrorInfo]
    messages: dict[int, str]
    names: dict[int, str]
    attempts: dict[int, int]
    error: BaseException | None


class Request(Generic[A]):
    """A request of a task to the driver; `A` is the type of the answer.

    Attributes:
        kind: the part of it that its runner needs, see `WorkerRequest`.
    """

    __slots__ = ()
    kind: ClassVar[str] = ASK

    def parts(self) -> tuple[Any, ...]:
        """Its name and its fields, as they travel: the pickle of a tuple takes a third of the time of an object's."""
        return type(self).__name__, *(getattr(self, name) for name in self.__match_args__)  # type: ignore[attr-defined]


# -- submitting ------------------------------------------------------------------------------------


@dataclass(slots=True)
class Submission(Request[A]):
    """A call or a map to submit; the answer None means that the driver does not know the task and needs its pickle.

    Attributes:
        digest: of the task's pickle, by which the driver recognises it.
        data: the task's pickle, if it is sent.
        parent: the submitting task run: the first fields of a `TaskRun`.
    """

    digest: bytes
    data: bytes | None
    parent: tuple[Any, ...]
    tags: tuple[str, ...]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    wait_for: Any


@dataclass(slots=True)
class Submit(Submission["tuple[str, int] | None"]):
    """Submit a call; answered with its future."""


@dataclass(slots=True)
class SubmitMap(Submission["tuple[str, MapNews] | None"]):
    """Submit a map; answered with its id and its state."""

    options: MapOptions


@dataclass(slots=True)
class Reduce(Request["tuple[str, int, Any, Any]"]):
    """Combine a map's values; answered with the map, item, spec and options of the run that makes the last step."""

    map_id: str
    fn: Callable[[Any, Any], Any]
    fan_in: int


@dataclass(slots=True)
class Cancel(Request[None]):
    """Cancel items of a map (None: all)."""

    map_id: str
    indices: Sequence[int] | None


@dataclass(slots=True)
class GiveElements(Request[int]):
    """Elements of an iterator; answered, once the map wants more, with how many (0: none ever again)."""

    number: int
    items: list[Any]
    ended: bool
    error: BaseException | None


@dataclass(slots=True)
class AwaitFed(Request[None]):
    """Wait until an iterator that its task has left behind is not pulled any more."""

    kind: ClassVar[str] = WAIT
    number: int


# -- reading ---------------------------------------------------------------------------------------


@dataclass(slots=True)
class Look(Request[MapNews]):
    """Read the state of a map: the items from this one on (None: all)."""

    map_id: str
    index: int | None


@dataclass(slots=True)
class ReadValues(Request["list[Any]"]):
    """Read the values of completed items."""

    map_id: str
    lo: int
    hi: int


@dataclass(slots=True)
class ReadScript(Request["bytes | None"]):
    """Read the pickle of a class or function of the driver's script; None: there is none of this name."""

    name: str


@dataclass(slots=True)
class ReadSeed(Request[int]):
    """Read the seed that a task run's random numbers come from; made now if there is none yet."""

    flow_run_id: str
    map_id: str


@dataclass(slots=True)
class MoveStream(Request[None]):
    """Make a move of a map's stream, see `Port.stream`."""

    map_id: str
    move: str
    args: tuple[Any, ...]


@dataclass(slots=True)
class CloseStream(Request[None]):
    """Close a map's stream, at its end or before."""

    map_id: str
    finished: bool


# -- waiting: answered later, and the task's slot is lent meanwhile -----------------------------------


@dataclass(slots=True)
class AwaitEnd(Request["tuple[bool, MapNews]"]):
    """Wait for an item (None: the map), or the time; answered with whether it has ended, and the map's state."""

    kind: ClassVar[str] = WAIT
    map_id: str
    index: int | None
    timeout: float | None


@dataclass(slots=True)
class AwaitAny(Request["list[tuple[Key, MapNews]]"]):
    """Wait until one of these has ended; answered with all that have."""

    kind: ClassVar[str] = WAIT
    keys: list[Key]


@dataclass(slots=True)
class AwaitItems(Request["tuple[list[int], MapNews]"]):
    """Wait for further items of a map to end; answered with those."""

    kind: ClassVar[str] = WAIT
    map_id: str
    told: int


@dataclass(slots=True)
class AskAgain(Request[None]):
    """Answer the waiting `AwaitAny` and `AwaitItems` of this chunk now: their askers wait for more."""


# -- slots of limits --------------------------------------------------------------------------------


@dataclass(slots=True)
class QueueUp(Request["tuple[bool, int | None]"]):
    """Queue up for slots of a limit; answered with whether the record has it, and the number of a ticket."""

    name: str
    count: int
    hold: bool


@dataclass(slots=True)
class AwaitSlots(Request[bool]):
    """Wait until a ticket has its slots, or the time is over."""

    number: int
    timeout: float | None


@dataclass(slots=True)
class GiveSlotsBack(Request[None]):
    """Give the slots of this ticket back."""

    number: int
