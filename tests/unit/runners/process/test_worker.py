"""What a worker process hears: all that was said before it looks, however late its listening thread is."""

from __future__ import annotations

import os
import socket
import threading
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from anabranch.runners.placing.status_page import StatusPage, new_page
from anabranch.runners.process import wire
from anabranch.runners.process.worker import ProcessPort
from anabranch.runners.transport.value_files import Store

if TYPE_CHECKING:
    from collections.abc import Iterator

WAIT = 30.0


@pytest.fixture
def page() -> Iterator[StatusPage]:
    fd = new_page()
    yield StatusPage(fd)
    os.close(fd)


class Link:
    """A driver's end, a worker's port at the other, and the thread that listens there."""

    def __init__(self, page: StatusPage) -> None:
        self.driver, self.worker = socket.socketpair()
        self.page = page
        self.threads: list[threading.Thread] = []

    def port(self, kind: type[wire.Stream] = wire.Stream) -> ProcessPort:
        port = ProcessPort("w", -1, kind(self.worker.fileno()), self.page, Store([]))
        self.threads.append(threading.Thread(target=port.listen))
        self.threads[-1].start()
        return port

    def close(self) -> None:
        self.driver.close()
        for thread in self.threads:
            thread.join(WAIT)
        self.worker.close()


@pytest.fixture
def link(page: StatusPage) -> Iterator[Link]:
    with closing(Link(page)) as link:
        yield link


def test_what_was_said_is_heard_where_the_listening_thread_comes_late(link: Link) -> None:
    looked = threading.Event()

    class Late(wire.Stream):
        def wait(self) -> None:
            assert looked.wait(WAIT)
            super().wait()

        def unread(self) -> bool:
            looked.set()
            return super().unread()

    link.driver.sendall(wire.message(wire.LIMIT, 7, 3))
    port = link.port(Late)
    assert port.limit(7) == 3


def test_what_that_thread_has_in_hand_is_heard(link: Link) -> None:
    taken, asked = threading.Event(), threading.Event()

    class Slow(wire.Stream):
        def take(self) -> list[tuple[int, bytes]] | None:
            found = super().take()
            taken.set()
            assert asked.wait(WAIT)
            return found

    link.driver.sendall(wire.message(wire.LIMIT, 7, 3))
    port = link.port(Slow)
    assert taken.wait(WAIT)
    asked.set()
    assert port.limit(7) == 3


def test_a_frame_in_parts_is_heard_when_it_is_whole(link: Link) -> None:
    said = wire.message(wire.LIMIT, 7, 3) + wire.message(wire.LIMIT, 8, 4)
    port = link.port()
    link.driver.sendall(said[:-2])
    assert port.limit(7) == 3
    assert port.limit(8) is None
    link.driver.sendall(said[-2:])
    assert port.limit(8) == 4
