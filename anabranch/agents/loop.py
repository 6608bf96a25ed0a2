"""An agent: it carries out what its state machine asks for, and tells it what came of that.

    run() ---- the one thread that has the state: event -> instructions
                 ^                                        |
                 '---- answers ---- a thread for each <---'

No instruction waits for another one: a launcher that is slow delays no beat. What a thread asks for may be asked for
again by a later one, as every method of the service and of a launcher allows.
"""

from __future__ import annotations

import queue
import shutil
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from anabranch.agents.job import FOLDERS, OVER, job_of
from anabranch.agents.words import (
    Ask,
    Beat,
    Claimed,
    Discard,
    End,
    Failed,
    Join,
    Joined,
    Keep,
    Look,
    NotEnded,
    NotSent,
    NotStarted,
    Seen,
    Send,
    Sent,
    Start,
    Started,
    Stop,
    Tick,
    Told,
)
from anabranch.core.clock import SYSTEM
from anabranch.core.errors import AccessError, AnabranchError, ServiceError, UnreachableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from anabranch.agents.job import Place
    from anabranch.agents.state import AgentState
    from anabranch.agents.words import Event, Instruction
    from anabranch.core.contracts import Clock
    from anabranch.core.launching import Launcher
    from anabranch.core.orders import Agent
    from anabranch.core.service import Service

WAIT = 25.0  # seconds that a claim waits at the service for an order
_AT_ONCE = 4  # jobs that are being started
_LONGEST_SLEEP = 60.0


class AgentLoop:
    """One agent of a pool.

    Args:
        agent: as the service is to know it.
        state: its decisions.
        place: where its jobs begin.
        send: sends what the driver of a run that was started from a folder has left, with what the folder has for it.
            It raises UnreachableError while the server is away, and other errors where it is refused.
        watch: told each event, in the agent's own thread; an error of it is passed over.
        tell: of what a person should know; an error of it is passed over, as of a terminal that is gone.
    """

    def __init__(
        self, service: Service, launcher: Launcher, agent: Agent, state: AgentState, place: Place, *,
        send: Callable[[str, Path], object] = lambda _, __: None, watch: Callable[[Event], object] = lambda _: None,
        tell: Callable[[str], object] = lambda _: None, clock: Clock = SYSTEM,
    ) -> None:  # fmt: skip
        self.agent = agent
        self._service, self._launcher, self._state, self._place = service, launcher, state, place
        self._send_left, self._watch, self._tell, self._clock = send, watch, tell, clock
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._starting = threading.Semaphore(_AT_ONCE)
        self._fatal: BaseException | None = None
        self._trouble = ""  # told last

    def stop(self, grace: float | None = None) -> None:
        """Claim no more and come to an end; from any thread, or a signal handler.

        Args:
            grace: seconds that running jobs get to end; None: they go on without this agent, and another adopts them.
        """
        self._events.put(Stop(grace))

    def run(self) -> None:
        """Be an agent until `stop`.

        Raises:
            ServiceError: the service refuses this agent: there is no such pool, or its key is not good for it.
        """
        event: Event = Tick()
        try:
            while True:
                self._shown(event)
                for asked in self._state.handle(event, self._clock.monotonic()):
                    threading.Thread(target=self._carry_out, args=(asked,), daemon=True, name="anabranch-agent").start()
                if self._state.finished(now := self._clock.monotonic()):
                    break
                event = self._next(self._state.wake() - now)
        finally:
            self._leave()
        if self._fatal is not None:
            raise self._fatal

    def _next(self, seconds: float) -> Event:
        try:
            return self._events.get(timeout=min(max(seconds, 0.0), _LONGEST_SLEEP))
        except queue.Empty:
            return Tick()

    def _leave(self) -> None:
        try:
            self._service.claims.leave(self.agent.id)
        except AnabranchError as error:
            self._said(f"the service was not told that this agent has ended: {error}")

    # -- what is asked ---------------------------------------------------------------------------

    def _carry_out(self, asked: Instruction) -> None:
        match asked:
            case Start():
                self._start(asked)
            case End():
                self._end(asked)
            case Send():
                self._send(asked)
            case Discard(reference):
                discard(Path(reference.folder))
            case Keep(reference):
                with suppress(OSError):  # of a folder that is gone, or on another machine
                    (Path(reference.folder) / OVER).touch(exist_ok=True)
            case _:
                self._ask(asked)

    def _ask(self, asked: Join | Ask | Look | Beat) -> None:
        """Ask service or launcher, where no answer means that it is asked again."""
        try:
            self._events.put(self._answer(asked))
        except UnreachableError as error:
            self._unanswered(asked, error)
        except ServiceError as error:
            refused = isinstance(asked, Join) or isinstance(error, AccessError)
            self._events.put(self._refused(asked, error) if refused else Failed(type(asked), unknown=True))
        except Exception as error:  # a thread that dies would leave its answer outstanding for ever
            self._unanswered(asked, error)
        else:
            self._well(asked)

    def _answer(self, asked: Join | Ask | Look | Beat) -> Event:
        claims = self._service.claims
        match asked:
            case Join():
                claims.join(self.agent)
                return Joined()
            case Ask(places, wait):
                return Claimed(claims.claim(self.agent.id, places, wait=WAIT if wait else 0.0))
            case Look(references):
                return Seen(self._launcher.look(references))
            case Beat(holds):
                return Told(holds, claims.beat(self.agent.id, holds))

    def _refused(self, asked: Instruction, error: ServiceError) -> Event:
        self._fatal = error
        self._events.put(Stop())
        return Failed(type(asked))

    def _unanswered(self, asked: Instruction, error: Exception) -> None:
        self._events.put(Failed(type(asked)))
        words = f"{error}" if isinstance(error, AnabranchError) else f"{type(error).__name__}: {error}"
        if words != self._trouble:
            self._trouble = words
            self._said(f"no answer, tried again for as long as it takes: {words}")

    def _well(self, asked: Instruction) -> None:
        if self._trouble and not isinstance(asked, Look):
            self._trouble = ""
            self._said("the service answers again")

    def _start(self, asked: Start) -> None:
        try:
            with self._starting:
                reference = self._launcher.start(job_of(asked.claim, self._launcher.kind, self._place))
            self._events.put(Started(asked.key, reference))
        except AnabranchError as error:
            self._events.put(NotStarted(asked.key, str(error)))
        except Exception as error:
            self._events.put(NotStarted(asked.key, f"{type(error).__name__}: {error}"))

    def _end(self, asked: End) -> None:
        try:
            (self._launcher.kill if asked.at_once else self._launcher.cancel)(asked.reference)
        except Exception as error:
            self._events.put(NotEnded(asked.reference))
            self._said(f"job {asked.reference.name} could not be ended, tried again: {error}")

    def _send(self, asked: Send) -> None:
        try:
            self._send_left(asked.key[0], Path(asked.reference.folder))
        except Exception as error:
            self._events.put(NotSent(asked.key, away=isinstance(error, UnreachableError)))
            self._said(f"the last rows of job {asked.reference.name} could not be sent, tried again: {error}")
        else:
            self._events.put(Sent(asked.key))

    # -- onlookers ----------------------------------------------------------------------------

    def _shown(self, event: Event) -> None:
        with suppress(Exception):  # the agent and its jobs go on without an onlooker
            self._watch(event)

    def _said(self, text: str) -> None:
        with suppress(Exception):
            self._tell(text)


def discard(folder: Path) -> None:
    """Delete the folder of an agent's job; any other folder stays."""
    if FOLDERS.fullmatch(folder.name):
        shutil.rmtree(folder, ignore_errors=True)
