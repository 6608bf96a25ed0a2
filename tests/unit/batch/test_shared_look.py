"""However many programs wait for jobs, the queue is asked once in so many seconds, for all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from anabranch.batch.shared_look import SharedLook
from anabranch.core.errors import LaunchError
from anabranch.core.launching import Phase, Reference, Sight

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

ONE, TWO = (Reference("slurm", id, f"job{id}", "/home/u/jobs/x") for id in ("1", "2"))
RUNNING, ENDED = Sight(Phase.RUNNING), Sight(Phase.ENDED, "exit 3", 3, ("last", "words"), 1)


class Queue:
    """A launcher that knows what it is told, and counts its questions."""

    kind = "slurm"

    def __init__(self) -> None:
        self.jobs: dict[Reference, Sight] = {}
        self.asked: list[list[Reference]] = []
        self.down = False

    def look(self, references: Iterable[Reference]) -> dict[Reference, Sight]:
        self.asked.append(list(references))
        if self.down:
            raise LaunchError("away")
        return {one: self.jobs.get(one, Sight(Phase.GONE)) for one in self.asked[-1]}


@pytest.fixture
def queue() -> Queue:
    return Queue()


@pytest.fixture
def program(queue: Any, tmp_path: Path) -> Callable[[], SharedLook]:
    """Make a program; all of them share a file and a time of day, which tests set."""

    def made() -> SharedLook:
        return SharedLook(queue, tmp_path / "queue", now=lambda: queue.now)

    queue.now = 1000.0
    return made


def test_many_programs_ask_once(queue: Any, program: Any) -> None:
    queue.jobs = {ONE: RUNNING, TWO: ENDED}
    first, second = program(), program()
    assert first.look([ONE, TWO]) == {ONE: RUNNING, TWO: ENDED}
    for _ in range(100):
        assert second.look([ONE]) == {ONE: RUNNING}
        assert first.look([TWO]) == {TWO: ENDED}
    assert len(queue.asked) == 1


def test_one_question_is_for_all_that_any_program_wants(queue: Any, program: Any) -> None:
    queue.jobs = {ONE: RUNNING, TWO: RUNNING}
    first, second = program(), program()
    first.look([ONE])
    assert second.look([TWO]) == {}  # not asked for yet: nothing is known, and nothing is made up
    queue.now += 29.9
    second.look([TWO])
    assert len(queue.asked) == 1
    queue.now += 0.2
    assert second.look([TWO]) == {TWO: RUNNING}
    assert first.look([ONE]) == {ONE: RUNNING}
    assert queue.asked == [[ONE], [ONE, TWO]]


def test_two_requests_a_minute_in_ten_minutes_of_waiting(queue: Any, program: Any) -> None:
    queue.jobs = {ONE: RUNNING, TWO: RUNNING}
    programs = [program() for _ in range(5)]
    for _ in range(600):
        queue.now += 1
        for one in programs:
            one.look([ONE, TWO])
    assert len(queue.asked) == 20


def test_a_job_that_has_ended_or_that_nobody_wants_any_more_is_not_asked_for(queue: Any, program: Any) -> None:
    queue.jobs = {ONE: ENDED, TWO: RUNNING}
    look = program()
    look.look([ONE, TWO])
    queue.now += 31
    assert look.look([ONE]) == {ONE: ENDED}
    assert len(queue.asked) == 1
    look.look([TWO])
    assert queue.asked[-1] == [TWO]
    queue.now += 601
    look.look([ONE])
    assert queue.asked[-1] == [ONE]  # its answer was forgotten with the wish; the other has no wish


def test_a_question_that_fails_leaves_the_last_answer_and_is_not_repeated_at_once(queue: Any, program: Any) -> None:
    queue.jobs = {ONE: RUNNING}
    look = program()
    look.look([ONE])
    queue.now, queue.down = queue.now + 31, True
    with pytest.raises(LaunchError, match="away"):
        look.look([ONE])
    assert look.look([ONE]) == {ONE: RUNNING}
    assert program().look([ONE]) == {ONE: RUNNING}
    assert len(queue.asked) == 2
    queue.now, queue.down = queue.now + 31, False
    queue.jobs = {ONE: ENDED}
    assert look.look([ONE]) == {ONE: ENDED}


def test_one_that_may_not_ask_gets_what_others_heard(queue: Any, program: Any) -> None:
    queue.jobs = {ONE: RUNNING}
    assert program().look([ONE], ask=False) == {}
    program().look([ONE])
    assert program().look([ONE], ask=False) == {ONE: RUNNING}
    assert len(queue.asked) == 1


def test_a_clock_that_was_set_back_and_a_damaged_file_cost_one_question(
    queue: Any, program: Any, tmp_path: Path
) -> None:
    queue.jobs = {ONE: RUNNING}
    look = program()
    look.look([ONE])
    queue.now -= 5000
    look.look([ONE])
    assert len(queue.asked) == 2
    for damaged in ("", "{", '{"asked": 1}', "[]"):
        (tmp_path / "queue").write_text(damaged)
        assert look.look([ONE]) == {ONE: RUNNING}
    assert len(queue.asked) == 6
    assert (tmp_path / "queue").stat().st_mode & 0o777 == 0o600


def test_a_folder_that_is_missing_is_named(queue: Any, tmp_path: Path) -> None:
    with pytest.raises(LaunchError, match="none/queue cannot be written"):
        SharedLook(queue, tmp_path / "none" / "queue").look([ONE])
