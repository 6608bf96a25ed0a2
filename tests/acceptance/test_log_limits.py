"""What a run logs is limited: 64 KiB a line, 1,000 lines a second and worker, and the gap is counted and told."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from typing import Any

import pytest

from anabranch import Secret, flow, get_run_logger, logs, task
from anabranch import session as sessions
from anabranch.core.log_lines import LogLine

LONGEST = 64 * 1024
MOST = 1000


def test_the_limits_are_those_that_are_promised() -> None:
    assert (logs.LONGEST_LINE, logs.LINES_PER_SECOND) == (LONGEST, MOST)


# -- lines a second ------------------------------------------------------------------------------


def line(when: float, text: str = "line") -> LogLine:
    """A line that was logged at that second; the time of a line is all that the limit goes by."""
    return LogLine(when, logging.INFO, "who", text, "run", "map", 0)


def test_so_many_lines_a_second_and_the_rest_is_counted() -> None:
    buffer = logs.Buffer()
    for n in range(MOST + 250):
        buffer.append(line(100.0 + n / 10_000, f"{n}"))
    lines, dropped = buffer.take()
    assert [one.message for one in lines] == [f"{n}" for n in range(MOST)], "the first ones, in their order"
    assert dropped == 250
    assert buffer.take() == ([], 0)


def test_the_next_second_has_room_again() -> None:
    buffer = logs.Buffer()
    for second in (100, 101, 102):
        for n in range(MOST + second - 100):
            buffer.append(line(second + n / 10_000))
    lines, dropped = buffer.take()
    assert (len(lines), dropped) == (3 * MOST, 0 + 1 + 2)


def test_taking_the_lines_does_not_begin_a_second() -> None:
    """A worker that reports four times a second may log no more than one that reports once."""
    buffer = logs.Buffer()
    kept = lost = 0
    for part in range(4):
        for n in range(400):
            buffer.append(line(100.0 + part / 4 + n / 10_000))
        lines, dropped = buffer.take()
        kept, lost = kept + len(lines), lost + dropped
    assert (kept, lost) == (MOST, 600)


def test_a_gap_is_told_though_no_line_is_left() -> None:
    buffer = logs.Buffer()
    for _ in range(MOST):
        buffer.append(line(100.0))
    buffer.take()
    buffer.append(line(100.5))
    assert buffer.take() == ([], 1)


def test_threads_of_a_worker_share_its_limit() -> None:
    buffer = logs.Buffer()
    start = threading.Barrier(4)

    def chatter() -> None:
        start.wait(30)
        for _ in range(MOST):
            buffer.append(line(100.0))

    threads = [threading.Thread(target=chatter) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    lines, dropped = buffer.take()
    assert (len(lines), dropped) == (MOST, 3 * MOST)


def test_the_driver_tells_the_gap(fresh_session: sessions.Session, capsys: pytest.CaptureFixture[str]) -> None:
    fresh_session.emit_logs([line(100.0, "kept")], 250)
    told = [one.split(" | ", 1)[1] for one in capsys.readouterr().err.splitlines()]
    assert told[-1] == "WARNING | 250 log lines were dropped: a worker logged faster than the limit"
    assert [row.message for row in fresh_session.records.logs("run")] == ["kept"]


def test_a_task_that_logs_without_end_is_cut_off(runner: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long it takes: no second has more, and what was kept and what was dropped is all that was logged."""
    seconds: Counter[int] = Counter()
    lost: list[int] = []

    def note(lines: list[LogLine], dropped: int) -> None:
        seconds.update(int(one.when) for one in lines if one.message.startswith("chatter"))
        lost.append(dropped)

    monkeypatch.setattr(sessions.current().pump.outgoing, "_emit_logs", note)

    @task
    def chatter(many: int) -> int:
        logger = get_run_logger()
        for n in range(many):
            logger.info("chatter %d", n)
        return many

    many = 10 * MOST
    assert flow(name="main")(lambda: chatter.submit(many))() == many
    assert seconds.total() + sum(lost) == many
    assert max(seconds.values()) <= MOST


# -- long lines ----------------------------------------------------------------------------------


def handled(message: str, *args: Any, error: BaseException | None = None) -> LogLine:
    """What becomes of one record of a run's logger."""
    got: list[LogLine] = []
    handler = logs._RunHandler("Task run 'work'", "run", "map", 3, got.append)
    info = None if error is None else (type(error), error, None)
    record = logging.LogRecord("anabranch.run", logging.INFO, "file", 1, message, args, info)
    record.created = 1234.5
    handler.handle(record)
    (found,) = got
    assert (found.when, found.flow_run_id, found.map_id, found.item) == (1234.5, "run", "map", 3)
    return found


def test_a_line_of_just_so_many_characters_stays_whole() -> None:
    assert handled("x" * LONGEST).message == "x" * LONGEST
    assert handled("%s", "x" * LONGEST).message == "x" * LONGEST


@pytest.mark.parametrize("length", [LONGEST + 1, 10_000_000])
def test_a_longer_line_is_cut_and_says_how_long_it_was(length: int) -> None:
    found = handled("x" * length).message
    assert found == "x" * LONGEST + f"... ({length:,} characters, cut)"


def test_a_long_traceback_is_cut_with_its_line() -> None:
    found = handled("it failed", error=ValueError("y" * 100_000)).whole
    assert found.startswith("it failed\nValueError: yyy")
    assert found.endswith(" characters, cut)")
    assert len(found) < LONGEST + 100


def test_a_secret_at_the_cut_is_masked_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of it would be left, and no mask would know it again."""
    monkeypatch.setenv("PASSWORD", "swordfish-and-more")
    Secret("PASSWORD").get()
    found = handled("x" * (LONGEST - 9) + "swordfish-and-more").message
    assert "swordfish" not in found


def test_a_long_print_arrives_cut(runner: str, capsys: pytest.CaptureFixture[str], caplog: Any) -> None:
    caplog.set_level("INFO", logger="anabranch")

    @task(log_prints=True)
    def work() -> int:
        print("z" * 100_000)
        return 1

    assert flow(name="main")(lambda: work.submit())() == 1
    (found,) = [one for one in capsys.readouterr().err.splitlines() if "zzz" in one]
    assert found.endswith("z... (100,000 characters, cut)")
    assert found.count("z") == LONGEST
