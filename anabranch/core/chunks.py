"""Downwards: what a worker is asked to do; see `contracts.py`.

A **chunk** is a small program: items x stages. Stage 0 gets the chunk's items, each later stage the value of the one
before it, depth first.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextvars import Context

    from anabranch.core.draws import Source
    from anabranch.core.log_lines import Wanted
    from anabranch.core.stores import ResultStore, StoreProbe


class BlockHandle(NamedTuple):
    """Names the block of values that one report made for one stage."""

    chunk: int
    stage: int
    first: int  # position in the chunk of the block's slot 0


@dataclass(slots=True, frozen=True)
class Binding:
    """How an item becomes a call's arguments.

    `args` and `kwargs` values are either ``("item", k)`` - the k-th mapped element, or the item
    itself when `width` is 1 - or ``("const", k)``, the k-th constant of the stage. With `star`
    the item is a ready ``(args, kwargs)`` pair, as single submits send.
    """

    args: tuple[tuple[str, int], ...] = ()
    kwargs: tuple[tuple[str, tuple[str, int]], ...] = ()
    width: int = 1
    star: bool = False


class ItemContexts(Protocol):
    """The context variables that the items of a map carry, see `core.carried`."""

    def at(self, index: int) -> Context: ...
    def of_all(self, items: Any) -> Context | None: ...


class Surroundings(Protocol):
    """What an observer enters around items on their worker; it travels, and so pickles by reference to its class."""

    def enter(self) -> Any: ...
    def leave(self, entered: Any, /) -> None: ...


@dataclass(slots=True)
class Stage:
    """One task over one map, as a worker needs it: put once per worker and map."""

    spec: int  # shared id of the TaskSpec
    constants: int | None  # shared id of the tuple of constants, None when there are none
    binding: Binding
    map_id: str
    flow_run_id: str = ""
    flow_run_name: str = ""
    parent_id: str = ""  # the task run that submitted this map from its worker
    tags: tuple[str, ...] = ()
    run_name: str = ""  # template of the items' names
    parameters: dict[str, Any] | None = None  # the flow's, only where the cache policy asks for them
    log_prints: bool = False  # the flow's; the task's own option wins
    kind: str = "map"  # "map" or "submit"
    level: int = 20  # log level below which lines stay on the worker
    store: ResultStore | None = None  # of a resumable run: for its values, and for inputs from an earlier driver
    probe: StoreProbe | None = None
    bare: bool = False  # values are not stored: they will not be read
    hashed: tuple[int, ...] | None = None  # columns of an item to digest; (): the item itself; None: no digest
    wanted: Wanted | None = None  # levels of the program's own loggers that the worker forwards
    draws: Source | None = None  # of the random numbers of its items
    around: tuple[Surroundings, ...] = ()  # what observers enter around its items
    carried: ItemContexts | None = None  # in the driver's process: the contexts of its items
    plan: Any = None  # `worker.stages.StagePlan`: made by a worker at first use, for all its chunks


@dataclass(slots=True)
class Chunk:
    """Items x stages in one engine call.

    Attributes:
        id: unique in the program, never used again.
        stages: shared ids of `Stage`s, run depth first.
        items: the index in its map of each position.
        args: one argument item per position; positions may hold `core.search.Hole`s.
        attempts: attempt number per position (stage 0); later stages begin at 1.
        uncounted_attempts: per position, earlier attempts not counted against the user's retries; None: all count.
        inputs: blocks that the items read; ``Hole(n)`` in position p stands for
            ``inputs[wants[p][n]]``, where that is negative for ``saved[-1 - wants[p][n]]``.
        saved: for inputs that no runner holds any more, block of the result store and slot.
        keep: for each stage, whether its values are to be kept (False: dropped on the worker).
        inline_limit: values of at most this many bytes may come home inside the report.
        close_bytes, close_seconds: the worker ends the chunk at that size of kept values, or that age (0: at none).
        report_seconds: at least so much time lies between two reports of the running chunk.
        resources: what one position needs while it runs; empty for one slot.
        stage_items: `items` for each stage, where they differ; empty where all are alike.
    """

    id: int
    stages: tuple[int, ...]
    items: Sequence[int]
    args: Sequence[Any]
    attempts: Sequence[int] | None = None
    uncounted_attempts: Sequence[int] | None = None
    inputs: tuple[tuple[BlockHandle, int], ...] = ()
    wants: dict[int, tuple[int, ...]] = field(default_factory=dict)
    keep: tuple[bool, ...] = (True,)
    inline_limit: int = 1024
    close_bytes: int = 4 << 20
    close_seconds: float = 0.0
    priority: int = 0
    resources: dict[str, float] = field(default_factory=dict)
    timeout: float | None = None  # the longest `timeout_seconds` of its stages
    flow_run_id: str = ""
    stage_items: tuple[Sequence[int], ...] = ()
    saved: tuple[tuple[str, int], ...] = ()
    report_seconds: float = 0.1

    def __len__(self) -> int:
        return len(self.items)
