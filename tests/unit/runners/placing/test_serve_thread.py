"""The thread of a remote runner: actions in their order, one that fails alone, an end that is the last turn."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any

from anabranch.runners.placing.serve_thread import ServeThread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pytest

WAIT = 30.0


class Recorder:
    """Turns of a thread, written down."""

    def __init__(self, **acts: Callable[..., None]) -> None:
        self.serving = ServeThread("test")
        self.acts = acts
        self.turns: list[tuple[list[tuple[Any, ...]], bool]] = []

    def start(self, lost: Callable[[], object] = bool) -> None:
        self.serving.start(self.acts, self.turn, lost)

    def turn(self, actions: list[tuple[Any, ...]], going: bool) -> None:
        for kind, *args in actions:
            self.serving.act(kind, *args)
        if actions or not going:
            self.turns.append((actions, going))

    def seen(self) -> Iterator[tuple[Any, ...]]:
        for actions, _ in self.turns:
            yield from actions


def fail(*_: Any) -> None:
    raise ValueError("no such thing")


def test_what_was_said_before_the_start_is_done_in_its_order() -> None:
    done: list[int] = []
    recorder = Recorder(add=done.append)
    for number in range(2500):  # more than one turn takes
        recorder.serving.put(("add", number))
    recorder.start()
    recorder.serving.end(WAIT)
    assert done == list(range(2500))
    assert [going for _, going in recorder.turns].count(False) == 1
    assert recorder.serving.idle.is_set()


def test_nothing_is_done_that_was_said_after_the_end() -> None:
    recorder = Recorder(add=lambda number: None)
    for action in (("add", 1), None, ("add", 2)):
        recorder.serving.put(action)
    recorder.start()
    assert recorder.serving.idle.wait(WAIT)
    recorder.serving.end(WAIT)
    assert list(recorder.seen()) == [("add", 1)]
    assert recorder.turns[-1][1] is False


def test_one_that_fails_is_logged_and_the_others_go_on(caplog: pytest.LogCaptureFixture) -> None:
    done = threading.Event()
    recorder = Recorder(fail=fail, done=done.set)
    with caplog.at_level(logging.ERROR, "anabranch.runners"):
        recorder.serving.put(("fail", 1))
        recorder.serving.put(("done",))
        recorder.start()
        assert done.wait(WAIT)
        recorder.serving.end(WAIT)
    assert ["test: fail failed" in record.getMessage() for record in caplog.records] == [True]


def test_where_the_engine_is_lost_failures_are_no_news(caplog: pytest.LogCaptureFixture) -> None:
    recorder = Recorder(fail=fail)
    recorder.serving.put(("fail", 1))
    recorder.start(lost=lambda: "it is gone")
    recorder.serving.end(WAIT)
    assert caplog.records == []


def test_a_sink_that_fails_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    serving = ServeThread("test")
    with caplog.at_level(logging.ERROR, "anabranch.runners"):
        serving.deliver(fail, [1])  # type: ignore[list-item]
        serving.deliver(None, [1])  # type: ignore[list-item]
        serving.deliver(fail, [])
    assert [record.getMessage().splitlines()[0] for record in caplog.records] == [
        "test: the driver did not take 1 events"
    ]


def test_the_end_from_inside_waits_for_nothing() -> None:
    inside: list[bool] = []
    recorder = Recorder()

    def end() -> None:
        inside.append(recorder.serving.inside)
        recorder.serving.end(WAIT)

    recorder.acts = {"end": end}
    recorder.serving.put(("end",))
    recorder.start()
    assert recorder.serving.idle.wait(WAIT)
    assert inside == [True]
    assert not recorder.serving.inside
