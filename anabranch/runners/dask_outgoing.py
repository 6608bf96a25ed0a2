"""What a `DaskRunner` sends: shared values once a worker, chunks many at a time, user code by value."""

from __future__ import annotations

import contextlib
import os
import sys
import sysconfig
import threading
from types import CodeType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

import cloudpickle

from anabranch.core.culprits import unpicklable
from anabranch.runners import dask_worker as worker_half
from anabranch.runners.dask_blocks import Payload

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from anabranch.core.contracts import Chunk, Handle, Report

MAP_CHUNKS = 256  # per call of the client
MAP_BYTES = 8 << 20  # Dask warns of larger graphs
SCATTER_BYTES = 4 << 20  # a larger payload goes to its worker beside the graph
INLINE_BYTES = 8 << 10  # a smaller shared value travels with the first chunks, instead of being asked for
INLINE_TIMES = 16


class Sent:
    """One chunk on its way; `run` names the execution that is heard."""

    __slots__ = ("address", "again", "chunk", "final", "future", "held", "id", "key", "new", "pending", "reported",
                 "run")  # fmt: skip

    def __init__(self, chunk: Chunk, key: str) -> None:
        self.id = chunk.id
        self.chunk: Chunk | None = chunk  # until it is sent
        self.key = key
        self.future: Any = None
        self.run = ""
        self.again = ""  # an execution that Dask repeats for the sake of its blocks
        self.address = ""
        self.reported = 0
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
            payload = _dumps(value, modules)
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
                payload: Any = _dumps((chunk, self._inline(chunk)), self._modules)
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


# -- user code travels by value ------------------------------------------------------------------------

_registering = threading.Lock()  # cloudpickle's register is the program's
_PATHS = tuple(
    os.path.realpath(path) + os.sep
    for path in {sys.prefix, sys.base_prefix, *(sysconfig.get_path(p) for p in ("stdlib", "purelib", "platlib"))}
)
_PACKAGE = __name__.partition(".")[0]


def _dumps(value: Any, modules: dict[str, ModuleType]) -> Payload:
    if not modules:
        return Payload.of(value)
    with _by_value(modules):
        return Payload.of(value)


@contextlib.contextmanager
def _by_value(modules: dict[str, ModuleType]) -> Iterator[None]:
    with _registering:
        known = cloudpickle.list_registry_pickle_by_value()
        mine = [module for name, module in modules.items() if name not in known and name in sys.modules]
        for module in mine:
            cloudpickle.register_pickle_by_value(module)
        try:
            yield
        finally:
            for module in mine:
                cloudpickle.unregister_pickle_by_value(module)


def is_local(module: ModuleType | None) -> bool:
    """Whether a module is the user's own: neither the standard library, nor installed, nor ours."""
    if module is None or module.__name__ == "__main__" or module.__name__.partition(".")[0] == _PACKAGE:
        return False
    path = getattr(module, "__file__", None)
    if not path:
        return False
    path = os.path.realpath(path)
    parts = path.split(os.sep)
    return not ("site-packages" in parts or "dist-packages" in parts or path.startswith(_PATHS))


def local_modules(value: Any) -> dict[str, ModuleType]:
    """The user's modules that a task's function, its hooks and what those call come from."""
    found: dict[str, ModuleType] = {}
    seen: set[int] = set()
    options = getattr(value, "options", None)
    hooks = [getattr(options, name) for name in getattr(options, "__slots__", ())] if options is not None else []
    stack: list[Any] = [getattr(value, "fn", value), *hooks]
    while stack:
        one = stack.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, (tuple, list)):
            stack.extend(one[:100])
            continue
        module = one if isinstance(one, ModuleType) else sys.modules.get(getattr(one, "__module__", None) or "")
        local = is_local(module)
        if module is not None and local:
            found[module.__name__] = module
        stack.extend(getattr(one, name, None) for name in ("func", "__func__", "__wrapped__"))
        if isinstance(one, FunctionType) and (local or one.__module__ == "__main__"):
            names = _names(one.__code__)
            stack.extend(one.__globals__[name] for name in names if name in one.__globals__)
            stack.extend(cell.cell_contents for cell in one.__closure__ or () if _filled(cell))
        elif isinstance(one, type) and (local or one.__module__ == "__main__"):
            stack.extend((*one.__bases__, *vars(one).values()))
    return found


def _names(code: CodeType) -> set[str]:
    inner = (_names(const) for const in code.co_consts if isinstance(const, CodeType))
    return set(code.co_names).union(*inner)


def _filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:
        return False
