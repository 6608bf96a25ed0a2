"""What a Dask worker's process remembers for one runner of one driver; it can always be asked for again."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from anabranch.runners.dask.pages import new_page
from anabranch.runners.placing.port_state import PortState
from anabranch.runners.process.children import Children
from anabranch.runners.transport.requests import Requests

if TYPE_CHECKING:

    from anabranch.runners.dask.blocks import Scattered
    from anabranch.runners.placing.status_page import StatusPage
    from anabranch.runners.transport.payloads import Payload


SESSIONS_KEPT = 16
NOTES_KEPT = 10_000
_sessions: OrderedDict[str, WorkerSession] = OrderedDict()
_lock = threading.Lock()


class WorkerSession:
    """What this process remembers for one runner of one driver."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.shared: OrderedDict[int, Any] = OrderedDict()
        self.loading: dict[int, threading.Event] = {}  # shared values that a thread is getting
        self.given: dict[int, Payload | Scattered | None] = {}
        self.waits: dict[int, threading.Event] = {}
        self.state = PortState(NOTES_KEPT)
        self.seen: OrderedDict[int, None] = OrderedDict()  # chunks that have begun here
        self.requests = Requests()
        self.children: Children | None = None
        self.pages: list[StatusPage] = []  # those that no chunk uses now

    def page(self, folder: str, address: str) -> StatusPage | None:
        """Where a chunk notes what it runs, to be given back with its end; None: no driver could read that."""
        if not folder:
            return None
        with self.lock:
            return self.pages.pop() if self.pages else new_page(folder, address)

    def children_of(self, worker: Any, entry: str) -> Children:
        """Where chunks run whose items may have to be stopped; made when first asked for."""
        with self.lock:
            if self.children is None:
                limit = getattr(getattr(worker, "memory_manager", None), "memory_limit", None)
                self.children = Children(entry, int(limit) if limit else None)
            return self.children

    def close(self) -> None:
        """End what runs beside the worker; from its loop, which must not wait for it."""
        if self.children is not None:
            threading.Thread(target=self.children.close, name="anabranch-children", daemon=True).start()


def session_of(name: str) -> WorkerSession:
    with _lock:
        found = _sessions.get(name)
        if found is None:
            found = _sessions[name] = WorkerSession()
            while len(_sessions) > SESSIONS_KEPT:
                _sessions.popitem(last=False)[1].close()
        _sessions.move_to_end(name)
        return found


def end_session(name: str) -> None:
    with _lock:
        gone = _sessions.pop(name, None)
    if gone is not None:
        gone.close()
