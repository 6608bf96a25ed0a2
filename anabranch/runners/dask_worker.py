"""The worker's half of `DaskRunner`: importable wherever anabranch is, run inside a Dask worker."""

from __future__ import annotations

import platform
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import cloudpickle

from anabranch.core import states
from anabranch.core.contracts import Handle, Held, Inline, Outcome, Packed, Report
from anabranch.core.errors import RunnerError, SerializationError
from anabranch.core.failures import capture
from anabranch.runners.entry import resolve
from anabranch.runners.process_blocks import PACKED_BYTES, dumps

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anabranch.core.contracts import Block, Chunk, LogLine

SHARED_KEPT = 256  # shared values a worker remembers, over all programs that use it

_shared: OrderedDict[tuple[str, int], Any] = OrderedDict()
_limits: dict[tuple[str, int], int] = {}
_cancelled: dict[tuple[str, int], set[int] | None] = {}


def versions() -> dict[str, str]:
    """What has to agree between driver and workers."""
    import distributed

    python = ".".join(platform.python_version_tuple()[:2])
    engine = str(getattr(distributed, "__version__", ""))
    return {"python": python, "cloudpickle": cloudpickle.__version__, "distributed": engine}


def note_limit(session: str, chunk: int, keep: int) -> None:
    """Start no position of the chunk from `keep` on; called on the worker's loop."""
    _limits[session, chunk] = keep


def note_cancel(session: str, chunk: int, positions: tuple[int, ...] | None) -> None:
    known = _cancelled.get((session, chunk), set())
    _cancelled[session, chunk] = None if positions is None or known is None else known | set(positions)


def run_on_worker(
    session: str, topic: str, entry: str, payload: bytes, shared: dict[int, bytes], inputs: dict[int, Any]
) -> dict[tuple[int, int], list[Any]]:
    """Run one chunk; its reports go out as events, its large blocks are what this returns."""
    from distributed import get_worker

    chunk: Chunk = cloudpickle.loads(payload)
    port = DaskPort(session, topic, chunk, shared, inputs, get_worker())
    try:
        resolve(entry)(chunk, port)
    finally:
        _limits.pop((session, chunk.id), None)
        _cancelled.pop((session, chunk.id), None)
    return port.kept


def pick(kept: dict[tuple[int, int], list[Any]], stage: int, first: int, slots: Sequence[int]) -> list[Any]:
    """Some values of one block."""
    block = kept[stage, first]
    return [block[slot] for slot in slots]


class DaskPort:
    """One chunk's port. Reports whose blocks stay here are sent with the last one, when the key is about to exist."""

    in_process = False
    tracks = False

    def __init__(
        self, session: str, topic: str, chunk: Chunk, shared: dict[int, bytes], inputs: dict[int, Any], worker: Any
    ) -> None:
        self.worker = worker.name if isinstance(worker.name, str) else f"dask-{worker.name}"
        self.kept: dict[tuple[int, int], list[Any]] = {}
        self._session = session
        self._topic = topic
        self._chunk = chunk
        self._blobs = shared
        self._inputs = inputs
        self._dask = worker
        self._waiting: list[Report] = []

    def shared(self, shared_id: int) -> Any:
        key = (self._session, shared_id)
        if key not in _shared:
            _shared[key] = cloudpickle.loads(self._blobs[shared_id])
            while len(_shared) > SHARED_KEPT:
                _shared.popitem(last=False)
        return _shared[key]

    def values(self, handle: Handle) -> Sequence[Any]:
        found: list[Any] = self._inputs[handle.chunk][handle.stage, handle.first]
        return found

    def limit(self, chunk: int) -> int | None:
        return _limits.get((self._session, chunk))

    def cancelled(self, chunk: int, position: int) -> bool:
        if not _cancelled:
            return False
        found = _cancelled.get((self._session, chunk), ())
        return found is None or position in found

    def item(self, chunk: int, stage: int, position: int, attempt: int, timeout: float | None) -> None:
        """Nothing is noted: this version cannot stop a running item on Dask."""

    def log(self, lines: list[LogLine], dropped: int) -> None:
        self._send(("log", lines, dropped))

    def request(self, chunk: int, position: int, kind: str, payload: Any) -> Any:
        raise RunnerError("tasks on a Dask worker cannot submit others in this version; call the task instead")

    def report(self, report: Report) -> None:
        report.blocks = tuple(self._encoded(report, n, block) for n, block in enumerate(report.blocks))
        if not report.final and (self._waiting or any(isinstance(b, Held) for b in report.blocks)):
            self._waiting.append(report)
            return
        for waiting in self._waiting:
            self._send(("report", waiting))
        self._waiting = []
        self._send(("report", report))

    def _send(self, message: tuple[Any, ...]) -> None:
        self._dask.log_event(self._topic, dumps(message))

    def _encoded(self, report: Report, stage: int, block: Block) -> Block:
        if not isinstance(block, Inline):
            return block
        values = block.values
        try:
            data = dumps(values)
        except Exception:
            self._refuse_unpicklable(report, stage, values)
            data = dumps(values)
        if len(data) <= min(PACKED_BYTES, self._chunk.inline_limit * max(1, len(values))):
            return Packed(data, len(data))
        self.kept[stage, report.first] = values
        return Held(len(data))

    def _refuse_unpicklable(self, report: Report, stage: int, values: list[Any]) -> None:
        codes = [bytearray(c) for c in report.codes] if report.codes is not None else None
        if codes is None:
            codes = [bytearray([states.COMPLETED]) * report.count for _ in report.blocks]
        for slot, value in enumerate(values):
            try:
                dumps(value)
            except BaseException as error:
                kind = type(value).__name__
                text = f"its result ({kind}) cannot be pickled: {type(error).__name__}: {error}"
                values[slot] = None
                codes[stage][slot] = states.FAILED
                info = capture(SerializationError(text), in_process=False)
                report.outcomes.append(Outcome(stage, report.first + slot, states.FAILED, text, error=info))
        report.codes = tuple(bytes(c) for c in codes)
