"""What a worker on Ray tells: in batches of one block at most, again where they were not heard."""

from __future__ import annotations

import pickle
import threading
from typing import Any

from anabranch.core.reports import Held, Inline, Packed, Report
from anabranch.core.states import COMPLETED, FAILED
from anabranch.runners.process.children import Children
from anabranch.runners.ray.blocks import STORED_BYTES, StoredBlock
from anabranch.runners.ray.outbox import WAITING_BYTES, Outbox
from anabranch.runners.ray.worker import RayPort
from anabranch.runners.transport.value_files import pickled

BIG = b"x" * 200_000


def block_of(*values: Any, stored: bool = False) -> StoredBlock:
    return StoredBlock.of([pickled(value) for value in values], stored=stored)


def read(batch: tuple[bytes, StoredBlock | None]) -> tuple[int, list[Any], StoredBlock | None]:
    number, messages, brought = pickle.loads(batch[0])
    assert brought == (batch[1] is not None)
    return number, messages, batch[1]


def reported(*blocks: list[Any], first: int = 0) -> RayPort:
    port = RayPort("ray-1", None, Children("unused"))
    port.report(Report(7, first, len(blocks[0]), True, blocks=tuple(Inline(values) for values in blocks)))
    return port


def test_small_messages_come_together() -> None:
    outbox = Outbox()
    outbox.say(("begun", 1))
    outbox.say(("begun", 2))
    assert read(outbox.batch(0, None)) == (1, [("begun", 1), ("begun", 2)], None)


def test_a_report_comes_with_the_last_of_its_blocks() -> None:
    port = reported([BIG, 1], [2, BIG])
    port.say(("begun", 8))
    number, messages, block = read(port.outbox.batch(0, None))
    assert messages == []
    assert block is not None
    assert list(block) == [BIG, 1]
    number, messages, block = read(port.outbox.batch(number, None))
    assert [message[0] for message in messages] == ["report", "begun"]
    assert [type(b) for b in messages[0][1].blocks] == [Held, Held]
    assert block is not None
    assert list(block) == [2, BIG]


def test_what_was_not_heard_comes_again() -> None:
    port = reported([BIG])
    first = read(port.outbox.batch(0, None))
    port.say(("begun", 8))
    again = read(port.outbox.batch(0, None))
    assert again[0] == first[0] == 1
    assert again[2] is first[2]
    assert read(port.outbox.batch(1, None)) == (2, [("begun", 8)], None)


def test_a_block_without_room_fails_its_items_and_nothing_else() -> None:
    port = reported([BIG, None], [1, 2])
    _, messages, _ = read(port.outbox.batch(0, None))
    assert messages[0][1].codes is None
    number, messages, block = read(port.outbox.batch(0, "the disk is full"))
    assert (number, block) == (2, None)
    report = messages[0][1]
    assert [list(row) for row in report.codes] == [[FAILED, FAILED], [COMPLETED, COMPLETED]]
    assert isinstance(report.blocks[0], Packed)
    assert "no room for its result in Ray's object store: the disk is full" in report.outcomes[0].message


def test_a_refusal_of_an_earlier_block_waits_for_the_later_ones() -> None:
    port = reported([BIG], [BIG])
    port.outbox.batch(0, None)
    _, messages, block = read(port.outbox.batch(0, "full"))
    report = messages[0][1]
    assert isinstance(report.blocks[0], Packed)
    assert isinstance(report.blocks[1], Held)
    assert block is not None


def test_reports_wait_for_room() -> None:
    outbox = Outbox()
    half = block_of(bytes(WAITING_BYTES // 2 + 1))
    outbox.report(Report(1, 0, 1, False), [(0, half)])
    second = threading.Thread(target=outbox.report, args=(Report(1, 1, 1, True), [(0, half)]), daemon=True)
    second.start()
    second.join(0.1)
    assert second.is_alive()
    assert len(read(outbox.batch(0, None))[1]) == 1
    assert second.is_alive()
    number, messages, _ = read(outbox.batch(1, None))
    second.join(10)
    assert not second.is_alive()
    assert (number, len(messages)) == (2, 1)


def test_blocks_are_copies_and_fill_up_where_asked() -> None:
    buffer = bytearray(300_000)
    block = StoredBlock.of([pickled(pickle.PickleBuffer(buffer))])
    buffer[0] = 1
    assert block[0][0] == 0
    assert block_of(1, 2).nbytes < 100
    filled = block_of(1, 2, stored=True)
    assert filled.nbytes >= STORED_BYTES
    assert list(pickle.loads(pickle.dumps(filled, 5))) == [1, 2]
