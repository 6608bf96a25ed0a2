"""Chunks on their way through a `RayRunner`, and what they need on a worker."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from anabranch.runners.placing.jobs import Job, W, named_by, needed
from anabranch.runners.ray.nodes import kind_of
from anabranch.runners.transport.payloads import Payload
from anabranch.runners.transport.refusals import unserializable
from anabranch.runners.transport.user_modules import UserModules

if TYPE_CHECKING:
    from collections.abc import Callable

    from anabranch.core.chunks import BlockHandle, Chunk
    from anabranch.core.events import ChunkLost
    from anabranch.core.surroundings import Surroundings

STORE_BYTES = 256 << 10  # a larger shared value goes to its workers through Ray's store, once


@dataclass(slots=True, eq=False)
class RayJob(Job[W]):
    """A chunk: queued, or with an actor."""

    payload: Payload = field(default_factory=Payload)
    reads: tuple[BlockHandle, ...] = ()
    inputs: list[tuple[BlockHandle, Any]] = field(default_factory=list)  # blocks that it reads, with their references
    call: int = 0  # its number among those of its worker
    ref: Any = None  # of the call that runs it
    asked: bool = False  # back, should it not have begun


@dataclass(slots=True)
class SharedValue:
    """A value that was put."""

    payload: Any  # a `Payload`, or the reference of one
    names: tuple[int, ...]  # other shared values that it names


class Outgoing:
    """Pickles what is sent: from any thread."""

    def __init__(self) -> None:
        self.shared: dict[int, SharedValue] = {}
        self.store: Callable[[Any], Any] | None = None  # `ray.put`, once there is a Ray
        self._modules = UserModules()

    def put(self, shared_id: int, value: Any) -> None:
        """Raises SerializationError with the path to the culprit."""
        payload: Any = self._modules.shared(value)
        if self.store is not None and payload.nbytes > STORE_BYTES:
            payload = self.store(payload)
        self.shared[shared_id] = SharedValue(payload, named_by(value))

    def job(self, chunk: Chunk, around: Surroundings | None = None) -> RayJob[Any] | ChunkLost:
        """The chunk pickled, or how it ended because it cannot be."""
        try:
            payload = self._modules.dumps((chunk, around if around is not None and around.number else None))
        except Exception as error:
            return unserializable(chunk, error)
        needs = needed(chunk.stages, self.shared)
        reads = tuple(dict.fromkeys(handle for handle, _ in chunk.inputs))
        return RayJob(
            chunk.id, len(chunk), b"", needs, chunk.priority, chunk.resources, payload=payload, reads=reads,
            kind=kind_of(chunk.resources),
        )  # fmt: skip
