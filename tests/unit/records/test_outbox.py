"""Files of the outbox on a full disk, with damage, and beside files that the server refuses."""

from __future__ import annotations

import fcntl
import logging
from typing import TYPE_CHECKING, Any

import msgpack
import pytest

from anabranch.core.clock import SYSTEM
from anabranch.core.errors import RecordsError, UnreachableError
from anabranch.records import outbox as outbox_module
from anabranch.records.cutting import Cut
from anabranch.records.http import Answer
from anabranch.records.http_sink import HttpSink
from anabranch.records.outbox import Outbox, push, push_left

if TYPE_CHECKING:
    from pathlib import Path


class Server:
    """Takes frames, except those of some writers."""

    name = "http://server.test"

    def __init__(self, refused: str = "") -> None:
        self.refused = refused
        self.taken: list[tuple[str, int]] = []

    def ask(self, method: str, path: str, body: bytes = b"", **given: Any) -> Answer:
        frame = msgpack.unpackb(body)
        if frame["writer"] == self.refused:
            return Answer(403, msgpack.packb({"detail": "not yours"}), {"content-type": "application/msgpack"})
        self.taken.append((frame["writer"], frame["seq"]))
        return Answer(200, msgpack.packb({"lost": []}), {})


def cut(seq: int, writer: str = "w") -> Cut:
    return Cut(seq, msgpack.packb({"writer": writer, "seq": seq, "rows": "x" * 700}))


def test_frames_that_found_no_room_are_added_again_without_a_trace_of_the_first_try(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    signal = pytest.importorskip("signal")
    outbox, server = Outbox(tmp_path), Server()
    outbox.add("w", server.name, [cut(1)])
    size = outbox.path("w").stat().st_size
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 1000, hard))
        with pytest.raises(OSError, match="large"):
            outbox.add("w", server.name, [cut(2), cut(3)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert outbox.path("w").stat().st_size == size
    outbox.add("w", server.name, [cut(2), cut(3), cut(4)])
    list(push(outbox.path("w"), server, SYSTEM))  # type: ignore[arg-type]
    assert [seq for _, seq in server.taken] == [1, 2, 3, 4]
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_file_is_kept_under_another_name(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    outbox, server = Outbox(tmp_path), Server()
    for n in (1, 2):
        outbox.add("w", server.name, [cut(1)])
        with outbox.path("w").open("ab") as file:
            file.write(b"damage")
        outbox.add("w", server.name, [cut(2)])
        whole = outbox.path("w").read_bytes()
        with caplog.at_level(logging.WARNING, "anabranch.records"):
            list(push(outbox.path("w"), server, SYSTEM))  # type: ignore[arg-type]
        assert outbox.waiting() == []
        kept = tmp_path / f"w.{n}.damaged"
        assert kept.read_bytes() == whole
        assert str(kept) in caplog.text


def test_a_file_that_the_server_refuses_holds_up_no_other(tmp_path: Path) -> None:
    outbox, server = Outbox(tmp_path), Server(refused="aa")
    for writer in ("aa", "bb"):
        outbox.add(writer, server.name, [cut(1, writer)])
    sink = HttpSink(server, outbox, SYSTEM, "me", "0.1.0")  # type: ignore[arg-type]
    for _ in range(5):
        sink.idle()
    assert server.taken[0] == ("bb", 1)
    assert [path.name for path in outbox.waiting()] == ["aa.frames"]


def test_the_files_of_a_run_are_found_by_the_heads_of_their_frames(tmp_path: Path) -> None:
    """Also where a later frame alone names the run, one is damaged, or the file is another server's."""

    def of(seq: int, tokens: dict[str, Any]) -> Cut:
        head = {"form": 1, "anabranch": "0", "writer": "w", "seq": seq, "tokens": tokens}
        return Cut(seq, msgpack.packb({**head, "rows": [["add_log", []]], "blocks": []}))

    outbox, server = Outbox(tmp_path), Server()
    outbox.add("mine", server.name, [of(1, {}), of(2, {"run-1": [3, ["map-1"]]})])
    outbox.add("others", server.name, [of(1, {"run-2": [1, []]})])
    outbox.add("elsewhere", "http://other.test", [of(1, {"run-1": [3, []]})])
    outbox.add("none", server.name, [Cut(1, b"no frame"), Cut(2, b""), Cut(3, msgpack.packb([1]))])
    assert outbox.left_by("run-1", server.name) == [outbox.path("mine")]
    assert outbox.left_by("run-3", server.name) == []


def test_a_file_is_read_again_only_once_it_has_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After an outage an agent asks every few seconds, for each of its ended jobs, and files may be large."""
    read: list[bytes] = []
    runs_of = outbox_module.runs_of

    def noted(body: bytes) -> set[str]:
        read.append(body)
        return runs_of(body)

    monkeypatch.setattr(outbox_module, "runs_of", noted)

    def of(seq: int, run: str) -> Cut:
        return Cut(seq, msgpack.packb({"writer": "w", "seq": seq, "tokens": {run: [1, []]}, "rows": [], "blocks": []}))

    outbox, server = Outbox(tmp_path), Server()
    outbox.add("w", server.name, [of(1, "a"), of(2, "b")])
    for run, there in (("a", 1), ("b", 1), ("c", 0), ("a", 1)):
        assert len(outbox.left_by(run, server.name)) == there
    assert len(read) == 2
    outbox.add("w", server.name, [of(3, "c")])
    assert len(outbox.left_by("c", server.name)) == 1
    assert len(read) == 5
    outbox.path("w").unlink()
    assert outbox.left_by("c", server.name) == []
    outbox.add("w", server.name, [of(1, "d")])
    assert [bool(outbox.left_by(run, server.name)) for run in "ad"] == [False, True]


def test_a_file_that_another_program_sends_just_now_is_not_taken_for_sent(tmp_path: Path) -> None:
    head = {"form": 1, "anabranch": "0", "writer": "w", "seq": 1, "tokens": {"run-1": [3, []]}}
    outbox = Outbox(tmp_path)
    outbox.add("w", "http://127.0.0.1:9", [Cut(1, msgpack.packb({**head, "rows": [], "blocks": []}))])
    with outbox.path("w").open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(RecordsError, match="being sent by another program"):
            push_left(tmp_path, "http://127.0.0.1:9", "", "run-1")
    with pytest.raises(UnreachableError):
        push_left(tmp_path, "http://127.0.0.1:9", "", "run-1")
    push_left(tmp_path, "http://127.0.0.1:9", "", "run-2")
    assert outbox.path("w").exists()
