"""What a `DaskRunner` sends: shared values once a worker, chunks many at a time, user code by value."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from anabranch.core.culprits import unpicklable
from anabranch.runners.dask import worker as worker_half
from anabranch.runners.dask.blocks import Scattered
from anabranch.runners.placing.jobs import named_by, needed
from anabranch.runners.transport.user_modules import UserModules
from anabranch.runners.transport.value_files import refused

if TYPE_CHECKING:
    from collections.abc import Iterable

    from anabranch.core.chunks import BlockHandle, Chunk
    from anabranch.core.events import ChunkLost
    from anabranch.core.reports import Report
    from anabranch.core.surroundings import Surroundings
    from anabranch.runners.transport.payloads import Payload

log = logging.getLogger("anabranch.runners")

MAP_CHUNKS = 256  # per call of the client
MAP_BYTES = 8 << 20  # Dask warns of larger graphs
SCATTER_BYTES = 4 << 20  # a larger payload goes to its worker beside the graph
INLINE_BYTES = 8 << 10  # a smaller shared value travels with the first chunks, instead of being asked for
INLINE_TIMES = 16
SHARED_BYTES = 512 << 10  # a larger shared value goes to one worker, from which the others take it
SCATTER_SECONDS = 30.0


class SentChunk:
    """One chunk on its way; `run` names the execution that is heard."""

    __slots__ = ("address", "again", "bound", "chunk", "final", "future", "held", "id", "key", "lost", "new", "pending",
                 "reported", "run")  # fmt: skip

    def __init__(self, chunk: Chunk, key: str) -> None:
        self.id = chunk.id
        self.chunk: Chunk | None = chunk  # until it is sent
        self.key = key
        self.future: Any = None
        self.run = ""
        self.bound = False  # to some workers
        self.reported = 0  # positions of which is known what became of them
        self.again = ""  # an execution that Dask repeats for the sake of its blocks
        self.address = ""
        self.lost: ChunkLost | None = None  # how it ended, where its worker lives but its child does not
        self.pending: Report | None = None  # a final report whose blocks are not yet in memory
        self.new: dict[BlockHandle, tuple[int, int]] = {}
        self.held: dict[BlockHandle, tuple[int, int]] = {}  # bytes and count of each block
        self.final = False


class _Shared:
    """A value that was put. A large one is the cluster's once it lies there: here is but the user's own object."""

    __slots__ = ("future", "inlined", "names", "payload", "travelled", "value")

    def __init__(self, value: Any, payload: Payload, names: tuple[int, ...]) -> None:
        self.value = value
        self.payload: Payload | None = payload
        self.names = names
        self.future: Any = None  # of a large one
        self.inlined = 0
        self.travelled = False

    @property
    def parcel(self) -> Payload | Scattered | None:
        """What a worker is given; None: it is large, and lies nowhere yet."""
        if self.future is not None:
            return Scattered(self.future.key)
        return self.payload if self.payload is not None and self.payload.nbytes < SHARED_BYTES else None


class Outgoing:
    """Makes Dask calls of chunks. `put` is called from any thread, everything else from the serve thread."""

    def __init__(
        self, client: Any, session: str, entry: str, resources: dict[str, float], *, direct: bool, pages: str
    ) -> None:
        self._client = client
        self._direct = direct or None  # whether workers can be reached from here (None: as the client thinks)
        self._scattered = 0
        self.reachable = False  # whether there is a worker
        self.only: list[str] | None = None  # the workers that may be sent to, where not all of them fit
        self._session = session
        self._prefix = f"ab-{session}-"
        self._common = {"session": session, "entry": entry, "driver": worker_half.versions(), "pages": pages}
        self.declared = resources
        self._shared: dict[int, _Shared] = {}
        self._modules = UserModules()
        self.around: dict[int, Surroundings] = {}  # of the driver, by chunk, where they are not those of its start

    # -- keys --------------------------------------------------------------------------------------

    def key(self, chunk: int) -> str:
        return f"{self._prefix}{chunk}"

    def chunk_of(self, key: Any) -> int | None:
        number = key[len(self._prefix) :] if isinstance(key, str) and key.startswith(self._prefix) else ""
        return int(number) if number.isdigit() else None

    # -- shared values -----------------------------------------------------------------------------

    def put(self, shared_id: int, value: Any) -> None:
        """Raises SerializationError with the path to the culprit."""
        payload = self._modules.shared(value)
        shared = _Shared(value if payload.nbytes >= SHARED_BYTES else None, payload, named_by(value))
        if shared.parcel is None and self.reachable:
            self._scatter(shared_id, shared)  # now: the caller may change an array afterwards
        self._shared[shared_id] = shared

    def given(self, shared_id: int, missed: str) -> Payload | Scattered | None:
        """For a worker that asks, and found nothing under the key `missed` if it was given one."""
        shared = self._shared.get(shared_id)
        if shared is None:
            return None
        if missed and shared.future is not None and shared.future.key == missed:
            shared.future = None  # it was lost with its worker
        shared.travelled = True
        return shared.parcel or self._scatter(shared_id, shared)

    def cut(self) -> None:
        """The scheduler has forgotten our keys; workers remember what they had, and others will ask."""
        for shared in list(self._shared.values()):
            shared.future = None

    def _scatter(self, shared_id: int, shared: _Shared) -> Scattered | None:
        """Bring a large value to one worker, past the scheduler where the workers are at hand."""
        payload = shared.payload or self._modules.again(shared.value)
        self._scattered += 1
        key = f"{self._prefix}s{shared_id}-{self._scattered}"
        try:
            found = self._client.scatter(
                {key: payload}, hash=False, direct=self._direct, timeout=SCATTER_SECONDS, workers=self.only
            )
        except Exception as error:  # no worker, or none that can be reached: asked for, it is tried again
            log.debug("dask: shared value %d was not sent: %s", shared_id, error)
            return None
        shared.future, shared.payload = found[key], None
        return Scattered(key)

    def drop(self, shared_ids: Iterable[int]) -> list[int]:
        """Forget; the ids that workers may know."""
        dropped = ((shared_id, self._shared.pop(shared_id, None)) for shared_id in shared_ids)
        return [shared_id for shared_id, shared in dropped if shared is not None and shared.travelled]

    def _inline(self, chunk: Chunk) -> dict[int, Payload | Scattered]:
        found: dict[int, Payload | Scattered] = {}
        for shared_id in needed(chunk.stages, self._shared):
            shared = self._shared.get(shared_id)
            parcel = shared.parcel if shared is not None and shared.inlined < INLINE_TIMES else None
            if parcel is not None and (isinstance(parcel, Scattered) or parcel.nbytes <= INLINE_BYTES):
                assert shared is not None
                shared.inlined += 1
                shared.travelled = True
                found[shared_id] = parcel
        return found

    # -- chunks ------------------------------------------------------------------------------------

    def send(self, records: list[SentChunk], known: dict[int, SentChunk]) -> list[tuple[SentChunk, str, str]]:
        """Hand chunks to Dask, in order; those that could not be sent come back with the reason."""
        lost: list[tuple[SentChunk, str, str]] = []
        group: list[tuple[SentChunk, Any, list[Any]]] = []
        group_kind: Any = None
        nbytes = 0
        for sent in records:
            chunk, sent.chunk = sent.chunk, None
            assert chunk is not None
            try:
                around = self.around.pop(chunk.id, None)
                payload: Any = self._modules.dumps((chunk, self._inline(chunk), around))
            except Exception as error:
                text = str(unpicklable(chunk.args, error, refused, "argument"))
                lost.append((sent, "unserializable", text))
                continue
            sources = [known.get(number) for number in dict.fromkeys(handle.chunk for handle, _ in chunk.inputs)]
            inputs = [source.future for source in sources if source is not None and source.future is not None]
            if len(inputs) < len(sources):
                lost.append((sent, "values-lost", "the values that it reads were released or lost"))
                continue
            size = payload.nbytes
            kind = (chunk.priority, tuple(sorted(chunk.resources.items())))
            if group and (kind != group_kind or nbytes + size > MAP_BYTES or len(group) >= MAP_CHUNKS):
                lost += self._map(group, group_kind)
                group, nbytes = [], 0
            if size > SCATTER_BYTES:
                try:
                    payload = self._client.scatter(payload, hash=False, direct=self._direct, workers=self.only)
                except Exception as error:
                    lost.append((sent, "engine-lost", f"its arguments could not be sent: {error}"))
                    continue
                size = 0
            group.append((sent, payload, inputs))
            group_kind = kind
            nbytes += size
        if group:
            lost += self._map(group, group_kind)
        return lost

    def _map(self, group: list[tuple[SentChunk, Any, list[Any]]], kind: Any) -> list[tuple[SentChunk, str, str]]:
        priority, wanted = kind
        # Dask waits for ever for what no worker declares; threads and memory every worker has all the same.
        resources = {name: amount for name, amount in wanted if name in self.declared or name not in ("cpus", "memory")}
        try:
            futures = self._client.map(
                worker_half.run,
                [payload for _, payload, _ in group],
                [inputs for _, _, inputs in group],
                key=[sent.key for sent, _, _ in group],
                pure=False, retries=0, priority=priority, resources=resources or None, workers=self.only,
                **self._common,
            )  # fmt: skip
        except Exception as error:
            text = f"Dask refused it: {type(error).__name__}: {error}"
            return [(sent, "engine-lost", text) for sent, _, _ in group]
        for (sent, _, _), future in zip(group, futures, strict=True):
            sent.future, sent.bound = future, self.only is not None
        return []
