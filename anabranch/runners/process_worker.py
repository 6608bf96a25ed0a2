"""The worker process: one thread runs chunks, another reads what the driver says meanwhile."""

from __future__ import annotations

import os
import pickle
import platform
import signal
import sys
import threading
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import cloudpickle

from anabranch.core import states
from anabranch.core.contracts import Handle, Inline, Outcome
from anabranch.core.culprits import unpicklable
from anabranch.core.errors import SerializationError
from anabranch.core.failures import capture
from anabranch.runners import process_blocks as blocks
from anabranch.runners.entry import resolve
from anabranch.runners.process_page import Page

if TYPE_CHECKING:
    from anabranch.core.contracts import Chunk, LogLine, Report


class ProcessPort:
    """The worker's half of `ProcessRunner`, as `worker.run_chunk` sees it."""

    in_process = False
    tracks = True  # note every item: the page is how a death is blamed on the right one

    def __init__(self, connection: Connection, folder: Path, name: str) -> None:
        self.worker = name
        self.connection = connection
        self.folder = folder
        self.page = Page(folder / f"page-{name}", create=False)
        self.chunks: SimpleQueue[bytes | None] = SimpleQueue()
        self._send_lock = threading.Lock()
        self._shared: dict[int, Any] = {}
        self._limits: dict[int, int] = {}
        self._cancelled: dict[int, set[int] | None] = {}
        self._held: dict[Handle, list[Any]] = {}
        self._replies: dict[int, SimpleQueue[tuple[bool, Any]]] = {}
        self._serial = 0
        self._inline_limit = 1024

    # -- WorkerPort ------------------------------------------------------------------------------

    def shared(self, shared_id: int) -> Any:
        found = self._shared.get(shared_id)
        if found is None:
            found = self._shared[shared_id] = blocks.get_file(self.folder / f"shared-{shared_id}")
        return found

    def values(self, handle: Handle) -> Sequence[Any]:
        return _Lazy(blocks.path_of(self.folder, handle))

    def report(self, report: Report) -> None:
        report.blocks = tuple(
            block if not isinstance(block, Inline) else self._encode(report, stage, block.values)
            for stage, block in enumerate(report.blocks)
        )
        self.send(("report", report))

    def limit(self, chunk: int) -> int | None:
        return self._limits.get(chunk)

    def cancelled(self, chunk: int, position: int) -> bool:
        if not self._cancelled:
            return False
        found = self._cancelled.get(chunk, ())
        return found is None or position in found

    def item(self, chunk: int, stage: int, position: int, attempt: int, timeout: float | None) -> None:
        self.page.write(chunk, stage, position, attempt, time.monotonic(), timeout or 0.0)

    def log(self, lines: list[LogLine], dropped: int) -> None:
        self.send(("log", lines, dropped))

    def request(self, chunk: int, position: int, kind: str, payload: Any) -> Any:
        box: SimpleQueue[tuple[bool, Any]] = SimpleQueue()
        self._serial += 1
        number = self._serial
        self._replies[number] = box
        self.send(("request", number, chunk, position, kind, payload))
        good, answer = box.get()
        if good:
            return answer
        raise answer

    # -- sending ---------------------------------------------------------------------------------

    def send(self, message: tuple[Any, ...]) -> None:
        data = blocks.dumps(message)
        with self._send_lock:
            self.connection.send_bytes(data)

    def _encode(self, report: Report, stage: int, values: list[Any]) -> Any:
        handle = Handle(report.chunk, stage, report.first)
        try:
            return blocks.encode(values, self.folder, handle, self._inline_limit)
        except OSError as error:
            self._fail(report, stage, range(len(values)), values, f"{self.folder}: {error}")
        except Exception:
            self._fail_unpicklable(report, stage, values)
        return blocks.encode(values, self.folder, handle, self._inline_limit)

    def _fail_unpicklable(self, report: Report, stage: int, values: list[Any]) -> None:
        """Only the values that cannot travel fail, and say where they cannot."""
        for slot, value in enumerate(values):
            try:
                blocks.dumps(value)
            except BaseException as error:
                culprit = unpicklable(value, Exception(str(error)), cloudpickle.dumps, "result")
                text = f"its result ({type(value).__name__}) cannot be pickled: {culprit}"
                self._fail(report, stage, (slot,), values, text)

    def _fail(self, report: Report, stage: int, slots: Sequence[int], values: list[Any], text: str) -> None:
        codes = [bytearray(c) for c in report.codes] if report.codes is not None else None
        if codes is None:
            codes = [bytearray([states.COMPLETED]) * report.count for _ in report.blocks]
        for slot in slots:
            values[slot] = None
            codes[stage][slot] = states.FAILED
            info = capture(SerializationError(text), in_process=False, dumps=pickle.dumps)
            position = report.first + slot
            report.outcomes = [o for o in report.outcomes if (o.stage, o.position) != (stage, position)]
            report.outcomes.append(Outcome(stage, position, states.FAILED, text, error=info))
        report.codes = tuple(bytes(c) for c in codes)

    # -- hearing ---------------------------------------------------------------------------------

    def listen(self) -> None:
        """Take what the driver sends until it goes away, and go with it."""
        try:
            while True:
                data = self.connection.recv_bytes()
                if not self._hear(pickle.loads(data)):
                    return
        except (EOFError, OSError):
            os._exit(0)

    def _hear(self, message: tuple[Any, ...]) -> bool:
        kind = message[0]
        if kind == "chunk":
            self.chunks.put(message[1])
        elif kind == "limit":
            self._limits[message[1]] = message[2]
        elif kind == "cancel":
            if message[2] is None or self._cancelled.get(message[1], ()) is None:
                self._cancelled[message[1]] = None
            else:
                known = self._cancelled.setdefault(message[1], set())
                assert known is not None
                known.update(message[2])
        elif kind == "drop":
            for shared_id in message[1]:
                self._shared.pop(shared_id, None)
        elif kind == "reply":
            self._replies.pop(message[1]).put((message[2], message[3]))
        elif kind == "exit":
            self.chunks.put(None)
            return False
        return True

    def work(self, run_chunk: Any) -> None:
        while True:
            data = self.chunks.get()
            if data is None:
                return
            chunk_id, payload = pickle.loads(data)
            try:
                chunk: Chunk = pickle.loads(payload)
            except BaseException as error:
                text = f"{type(error).__name__}: {error}"
                self.send(("lost", chunk_id, "unserializable", f"its arguments do not unpickle on the worker: {text}"))
                continue
            del data, payload
            self._inline_limit = chunk.inline_limit
            try:
                run_chunk(chunk, self)
            except BaseException as error:
                self.send(("lost", chunk_id, "unserializable", f"{type(error).__name__}: {error}"))
            self._limits.pop(chunk_id, None)
            self._cancelled.pop(chunk_id, None)
            del chunk


class _Lazy(Sequence[Any]):
    """A block file as a sequence: a value is read when asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __getitem__(self, slot: Any) -> Any:
        return blocks.read(self.path, (slot,))[0]

    def __len__(self) -> int:
        return blocks.count(self.path)


def main() -> None:
    fd, folder, name, entry = int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4]
    # Ctrl-C goes to the whole terminal group: the driver alone decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    connection = Connection(fd)
    versions = {"python": platform.python_version(), "cloudpickle": cloudpickle.__version__}
    connection.send_bytes(pickle.dumps(("hello", os.getpid(), versions)))
    path: list[str] = pickle.loads(connection.recv_bytes())
    sys.path[:] = path
    port = ProcessPort(connection, folder, name)
    run_chunk = resolve(entry)
    threading.Thread(target=port.listen, name="anabranch-listen", daemon=True).start()
    port.work(run_chunk)
    connection.close()
    os._exit(0)


if __name__ == "__main__":
    main()

