"""What a signal means that has reached workers alone: one question at a time, and one end."""

from __future__ import annotations

import threading
from queue import Queue

from anabranch.cli.going_on import Question
from anabranch.launch.requeue import Seen
from tests.waiting import until

RUNS = Seen(restarts=0, requeue=True, batch=True, ends=False, preempted=False)
PREEMPTED = RUNS._replace(preempted=True)


class Asked:
    """A question that a test answers; no time passes."""

    def __init__(self) -> None:
        self.answers: Queue[Seen | None] = Queue()
        self.looks = 0
        self.begun = threading.Semaphore(0)
        begin, pause = lambda told: self.begun.release(), lambda seconds: None
        self.question = Question(self._look, lambda told: told.preempted, begin, pause)

    def _look(self) -> Seen | None:
        self.looks += 1
        return self.answers.get(timeout=30)


def test_a_job_that_gives_way_begins_to_end_once() -> None:
    asked = Asked()
    for _ in range(100):  # the sets of a hundred nodes
        asked.question.ask()
    asked.answers.put(PREEMPTED)
    assert asked.begun.acquire(timeout=30)
    asked.question.ask()
    assert not asked.begun.acquire(blocking=False)
    assert asked.looks == 1


def test_a_signal_that_means_nothing_ends_nothing_and_the_next_one_is_asked_about_too() -> None:
    asked = Asked()
    asked.question.ask()
    until(lambda: asked.looks == 1)
    asked.question.ask()  # told while the answer to the first is on its way: the job may have changed since
    asked.answers.put(RUNS)
    asked.answers.put(RUNS)
    until(lambda: not asked.question._asking)
    assert (asked.looks, asked.begun.acquire(blocking=False)) == (2, False)
    asked.question.ask()
    asked.answers.put(PREEMPTED)
    assert asked.begun.acquire(timeout=30)


def test_without_an_answer_it_is_asked_again() -> None:
    asked = Asked()
    asked.question.ask()
    asked.answers.put(None)
    asked.answers.put(PREEMPTED)
    assert asked.begun.acquire(timeout=30)
    assert asked.looks == 2
