"""What workers ask comes in the order in which it was asked, whatever overtakes it on the way."""

from __future__ import annotations

import io
import pickle
import threading
from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from anabranch.core import nested
from anabranch.driver.chunk_clients import Turns
from anabranch.worker.nested_scope import WorkerScope

COUNT = 6


@given(st.permutations(range(COUNT)), st.lists(st.integers(0, COUNT - 1)))
def test_requests_have_their_turns(order: list[int], repeated: list[int]) -> None:
    turns = Turns()
    found: list[Any] = []
    for turn in [*order, *repeated]:
        found += [request for request, _, _ in turns.come(turn, turn, [], io.BytesIO())]  # type: ignore[arg-type]
    assert found == list(range(COUNT))


class Port:
    """Keeps what it is asked; a request of the thread `held` waits at a gate, before it leaves."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int, list[nested.Note]]] = []
        self.held: threading.Thread | None = None
        self.there, self.gate = threading.Event(), threading.Event()

    def request(self, chunk: int, position: int, kind: str, payload: bytes) -> None:
        if threading.current_thread() is self.held:
            self.there.set()
            self.gate.wait()
        self.asked.append(pickle.load(io.BytesIO(payload)))


def test_a_handle_that_a_slower_thread_tells_of_has_the_earlier_turn() -> None:
    port = Port()
    task: Any = SimpleNamespace(port=port, chunk=1, position=0)
    scope = WorkerScope(task)
    scope.take_handle(SimpleNamespace(id="m"), 0)  # type: ignore[arg-type]
    port.held = threading.Thread(target=scope.ask, args=(nested.AskAgain(),))
    port.held.start()
    port.there.wait()
    scope.drop_list(SimpleNamespace(id="m"))  # type: ignore[arg-type]
    scope.ask(nested.AskAgain())
    port.gate.set()
    port.held.join()
    assert [asked[1:] for asked in port.asked] == [
        (1, [(nested.DROPPED, "m", None)]),
        (0, [(nested.TAKEN, "m", 0)]),
    ]
    assert {asked[0] for asked in port.asked} == {scope.id}


class Collecting:
    """Keeps the turns that it hears of; the first request meets a finalizer that asks, before it leaves."""

    def __init__(self) -> None:
        self.scope: WorkerScope | None = None
        self.turns: list[int] = []

    def request(self, chunk: int, position: int, kind: str, payload: bytes) -> None:
        scope, self.scope = self.scope, None
        if scope is not None:
            scope.ask(nested.AskAgain())
        self.turns.append(pickle.load(io.BytesIO(payload))[1])


def test_a_finalizer_in_the_midst_of_a_request_does_not_wait_for_its_turn() -> None:
    port = Collecting()
    task: Any = SimpleNamespace(port=port, chunk=1, position=0)
    port.scope = scope = WorkerScope(task)
    scope.ask(nested.AskAgain())
    scope.ask(nested.AskAgain())
    assert port.turns == [nested.AT_ONCE, 0, 1]


def test_a_finalizer_asks_also_where_a_map_is_noted() -> None:
    port = Collecting()
    task: Any = SimpleNamespace(port=port, chunk=1, position=0)
    scope = WorkerScope(task)
    with scope._lock:  # as the garbage collector finds it
        asked = threading.Thread(target=scope.ask, args=(nested.AskAgain(),), daemon=True)
        asked.start()
        asked.join(20)
    assert port.turns == [0]
