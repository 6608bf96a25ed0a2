"""What a `DaskRunner` sends: shared values once a worker, chunks many at a time, user code by value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cloudpickle

from anabranch.core.culprits import unpicklable
from anabranch.runners import dask_worker as worker_half
from anabranch.runners.payloads import Payload, dumps, local_modules

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import ModuleType

    from anabranch.core.contracts import Chunk, ChunkLost, Handle, Report

MAP_CHUNKS = 256  # per call of the client
MAP_BYTES = 8 << 20  # Dask warns of larger graphs
SCATTER_BYTES = 4 << 20  # a larger payload goes to its worker beside the graph
INLINE_BYTES = 8 << 10  # a smaller shared value travels with the first chunks, instead of being asked for
INLINE_TIMES = 16


class Sent:
    """One chunk on its way; `run` names the execution that is heard."""

    __slots__ = ("address", "again", "chunk", "final", "future", "held", "id", "key", "lost", "new", "pending",
                 "reported", "run")  # fmt: skip

    def __init__(self, chunk: Chunk, key: str) -> None:
        self.id = chunk.id
        self.chunk: Chunk | None = chunk  # until it is sent
        self.key = key
        self.future: Any = None
        self.run = ""
        self.again = ""  # an execution that Dask repeats for the sake of its blocks
        self.address = ""
        self.reported = 0
        self.lost: ChunkLost | None = None  # how it ended, where its worker lives but its child does not
        self.pending: Report | None = None  # a final report whose blocks are not yet in memory
        self.new: dict[Handle, tuple[int, int]] = {}
        self.held: dict[Handle, tuple[int, int]] = {}  # bytes and count of each block
        self.final = False


class _Shared:
    __slots__ = ("inlined", "payload", "refs", "travelled")

    def __init__(self, payload: Payload, refs: tuple[int, ...]) -> None:
        self.payload = payload
        self.refs = refs
        self.inlined = 0
        self.travelled = False


class Outgoing:
    """Makes Dask calls of chunks. `put` is called from any thread, everything else from the serve thread."""

    def __init__(self, client: Any, session: str, entry: str, resources: dict[str, float]) -> None:
        self._client = client
        self._session = session
        self._prefix = f"ab-{session}-"
        self._common = {"session": session, "entry": entry, "driver": worker_half.versions()}
        self.declared = resources
        self._shared: dict[int, _Shared] = {}
        self._modules: dict[str, ModuleType] = {}

    # -- keys --------------------------------------------------------------------------------------

    def key(self, chunk: int) -> str:
        return f"{self._prefix}{chunk}"

    def chunk_of(self, key: Any) -> int | None:
        return int(key[len(self._prefix) :]) if isinstance(key, str) and key.startswith(self._prefix) else None

    # -- shared values -----------------------------------------------------------------------------

    def put(self, shared_id: int, value: Any) -> None:
        """Raises SerializationError with the path to the culprit."""
        modules = {**self._modules, **local_modules(value)}
        try:
            payload = dumps(value, modules)
        except Exception as error:
            where = str(getattr(value, "name", "") or "value")
            raise unpicklable(value, error, cloudpickle.dumps, where) from error
        self._modules = modules
        refs: tuple[int, ...] = ()
        if hasattr(value, "binding"):  # a stage: chunks that name it need what it names too
            refs = (value.spec,) if value.constants is None else (value.spec, value.constants)
        self._shared[shared_id] = _Shared(payload, refs)

    def given(self, shared_id: int) -> Payload | None:
        """For a worker that asks."""
        shared = self._shared.get(shared_id)
        if shared is None:
            return None
        shared.travelled = True
        return shared.payload

    def drop(self, shared_ids: Iterable[int]) -> list[int]:
        """Forget; the ids that workers may know."""
        dropped = ((shared_id, self._shared.pop(shared_id, None)) for shared_id in shared_ids)
        return [shared_id for shared_id, shared in dropped if shared is not None and shared.travelled]

    def _inline(self, chunk: Chunk) -> dict[int, Payload]:
        found: dict[int, Payload] = {}
        for stage in chunk.stages:
            entry = self._shared.get(stage)
            for shared_id in (stage, *(entry.refs if entry is not None else ())):
                shared = self._shared.get(shared_id)
                if shared is not None and shared.inlined < INLINE_TIMES and shared.payload.nbytes <= INLINE_BYTES:
                    shared.inlined += 1
                    shared.travelled = True
                    found[shared_id] = shared.payload
        return found

    # -- chunks ------------------------------------------------------------------------------------

    def send(self, records: list[Sent], known: dict[int, Sent]) -> list[tuple[Sent, str, str]]:
        """Hand chunks to Dask, in order; those that could not be sent come back with the reason."""
        lost: list[tuple[Sent, str, str]] = []
        group: list[tuple[Sent, Any, list[Any]]] = []
        group_kind: Any = None
        nbytes = 0
        for sent in records:
            chunk, sent.chunk = sent.chunk, None
            assert chunk is not None
            try:
                payload: Any = dumps((chunk, self._inline(chunk)), self._modules)
            except Exception as error:
                text = str(unpicklable(chunk.args, error, cloudpickle.dumps, "argument"))
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
                    payload = self._client.scatter(payload, hash=False)
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

    def _map(self, group: list[tuple[Sent, Any, list[Any]]], kind: Any) -> list[tuple[Sent, str, str]]:
        priority, wanted = kind
        # Dask waits for ever for what no worker declares; threads and memory every worker has all the same.
        resources = {name: amount for name, amount in wanted if name in self.declared or name not in ("cpus", "memory")}
        try:
            futures = self._client.map(
                worker_half.run,
                [payload for _, payload, _ in group],
                [inputs for _, _, inputs in group],
                key=[sent.key for sent, _, _ in group],
                pure=False, retries=0, priority=priority, resources=resources or None, **self._common,
            )  # fmt: skip
        except Exception as error:
            text = f"Dask refused it: {type(error).__name__}: {error}"
            return [(sent, "engine-lost", text) for sent, _, _ in group]
        for (sent, _, _), future in zip(group, futures, strict=True):
            sent.future = future
        return []
