"""Calls that several threads make at once, answered together: what comes while one is at work waits for the next turn.

    thread --ask--> waiting --the first of those that wait--> answer all of them --> each thread has its own
"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar

from anabranch.core import forks
from anabranch.core.errors import RecordsError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Question = TypeVar("Question")
Reply = TypeVar("Reply")

_TOGETHER = 64  # calls in one turn


class _Call(Generic[Question, Reply]):
    """One call that waits."""

    def __init__(self, question: Question) -> None:
        self.question = question
        self.replies: list[Reply] = []  # one, once it is there
        self.error: Exception | None = None
        self.turn = threading.Event()  # it is answered, or its thread is to answer all that wait

    @property
    def answered(self) -> bool:
        return bool(self.replies) or self.error is not None


class Joining(Generic[Question, Reply]):
    """Answers calls of any threads; no thread of its own, and a call that comes alone does not wait.

    Args:
        answer: returns a reply to each question; an exception is raised in all the threads that asked them.
    """

    def __init__(self, answer: Callable[[Sequence[Question]], Sequence[Reply]]) -> None:
        self._answer = answer
        forks.owned(self)
        self.let_go()

    def let_go(self) -> None:
        """Forget calls of other threads: in a forked copy of the process there are none."""
        self._lock = threading.Lock()
        self._waiting: deque[_Call[Question, Reply]] = deque()
        self._busy = False

    def ask(self, question: Question) -> Reply:
        call: _Call[Question, Reply] = _Call(question)
        with self._lock:
            self._waiting.append(call)
            answers, self._busy = not self._busy, True
        if not answers:
            try:
                call.turn.wait()
            except BaseException:  # Ctrl-C: nobody may wait for this thread to take its turn
                self._withdraw(call)
                raise
        if not call.answered:
            self._take_turn()
        if call.error is not None:
            raise call.error
        return call.replies[0]

    def _take_turn(self) -> None:
        """Answer those that wait, this thread's call first among them; then somebody else has the turn."""
        with self._lock:
            calls = [self._waiting.popleft() for _ in range(min(_TOGETHER, len(self._waiting)))]
        try:
            for call, reply in zip(calls, self._answer([call.question for call in calls]), strict=True):
                call.replies.append(reply)
        except Exception as error:
            for call in calls:
                call.error = error
        except BaseException:  # it ends this thread, and not the others
            for call in calls:
                call.error = call.error or RecordsError("the thread that asked for several was stopped: ask again")
            raise
        finally:
            self._pass_on(calls)

    def _withdraw(self, call: _Call[Question, Reply]) -> None:
        with self._lock:
            if call not in self._waiting:
                return
            self._waiting.remove(call)
        if call.turn.is_set():
            self._pass_on([])

    def _pass_on(self, calls: Sequence[_Call[Question, Reply]]) -> None:
        """Wake those that have their answer, and the first of those that wait: it has the turn now."""
        with self._lock:
            self._busy = bool(self._waiting)
            following = self._waiting[0] if self._waiting else None
        for call in (*calls, *([following] if following else [])):
            call.turn.set()
