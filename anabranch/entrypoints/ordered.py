"""The driver's side of an order: from a run and a token to the flow, and to its recorded run.

    run, token --begun--> Begun --prepared--> the flow with its parameters --start--> the run's final state
                 |                  |                                              '--> stay
                 |                  |--> told_to_end: by a signal, before its flow could hear of it
                 |                  '--> could_not_begin: it does not load, or its parameters do not fit
                 '--> RunTakenError: nothing of the user's is loaded
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from anabranch import session as sessions
from anabranch.core import options, states
from anabranch.core.errors import EntrypointError, RecordsError, UnreachableError
from anabranch.core.options import FlowOptions
from anabranch.core.orders import DriverProcess
from anabranch.core.runs import CODE, FlowRunRow, StoredRow, TransitionRow
from anabranch.core.secrets import restored
from anabranch.core.terminated import Terminated
from anabranch.documents.storage.away import patiently
from anabranch.documents.storage.fetch import CACHE, fetch
from anabranch.entrypoints.flow import flow_of
from anabranch.runs import flow_begin, resumed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from anabranch.core.contracts import Clock
    from anabranch.core.orders import Begun
    from anabranch.core.service import Service

T = TypeVar("T")
logger = logging.getLogger("anabranch.drivers")

PATIENCE = 30.0  # seconds for which a driver that has not begun waits for a service that is away
STAY = 600.0  # seconds for which a driver waits at its end for a record that is away
_QUIET = 5.0  # seconds of this wait that nobody is told of
_TERMINATED = "Ended by a termination signal (SIGTERM) while its flow was loaded."
_STAYS = "The record is away: this driver has ended, and stays up to %.0f s until its last rows are there."


@dataclass(frozen=True, slots=True)
class Prepared:
    """The flow of an order, its parameters by name, and the digest of its code; "" where it was not fetched."""

    begun: Begun
    flow: Any
    parameters: dict[str, Any]
    digest: str


def reached(ask: Callable[[], T], clock: Clock) -> T:
    """Ask what may be asked for twice; again for half a minute while the record or its server does not answer.

    Raises:
        RecordsError, UnreachableError: no answer in all this time; and what else `ask` raises, at once.
    """
    until, pause = clock.monotonic() + PATIENCE, 0.5
    while True:
        try:
            return ask()
        except (RecordsError, UnreachableError):
            if clock.monotonic() >= until:
                raise
        clock.sleep(pause)
        pause = min(2 * pause, 5.0)


def begun(service: Service, run: str, token: int) -> Begun:
    """Begin an order as its one driver: this process, which may ask again after an answer that was lost.

    Raises:
        RunTakenError: another driver has it, the token is an older one, or the run has ended.
    """
    return service.claims.begin(run, token, DriverProcess(*sessions.current().process))


def prepared(begun: Begun) -> Prepared:
    """Fetch the deployment's code, go into its folder, load its flow, and see whether the order's parameters fit.

    Raises:
        FetchError: the code cannot be had, though it was tried several times, or there is no such folder.
        EntrypointError: there is no such file, module or flow.
        LoadError: the file or the module does not load.
        ParameterBindError: the parameters do not fit the flow's function.
        Terminated: SIGTERM came meanwhile.
    """
    keeper, run = sessions.current().keeper, begun.order.run
    # Code may take minutes to come, and the run has a driver all the while. A cancel is heard again by the flow's run.
    keeper.begin(FlowRunRow(run, begun.deployment.flow, begun.run_name, states.SCHEDULED), lambda: None)
    try:
        with _sigterm_heard():
            return _prepared(begun)
    except BaseException:
        keeper.end(run)
        raise


def _prepared(begun: Begun) -> Prepared:
    deployment, document = begun.deployment, begun.deployment.document
    place = document.get("entrypoint")
    if not place:
        raise EntrypointError(f"deployment {deployment.full_name!r} has no entrypoint: nothing says where its flow is")
    session = sessions.current()
    folder, digest = patiently(
        lambda: fetch(document.get("storage"), session.settings.home / CACHE, path=document.get("path")),
        session.clock.sleep,
    )
    if folder is not None:
        os.chdir(folder)
    flow = flow_of(place)
    parameters = {**restored(document.get("parameters", {})), **restored(begun.order.parameters)}
    flow.binder.bind((), parameters)
    tags = tuple(dict.fromkeys((*flow.options.tags, *begun.tags)))
    # This program has the flow to itself.
    flow.options = options.make(FlowOptions, f"@flow {flow.name!r}", {"tags": tags}, flow.options)
    return Prepared(begun, flow, parameters, digest)


@contextmanager
def _sigterm_heard() -> Iterator[None]:
    """Let SIGTERM raise Terminated during the block, where nobody else listens; a flow's run hears it by itself."""
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return

    def handle(_: int, __: object) -> None:
        raise Terminated(_TERMINATED)

    signal.signal(signal.SIGTERM, handle)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGTERM) is handle:  # else the user's module has put its own there
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def told_to_end(begun: Begun, message: str) -> None:
    """End an order's run as Cancelled, as its flow would have, had the signal come a little later.

    Raises RecordsError where the record cannot be read: what its agent tells of the job decides then.
    """
    session = sessions.current()
    row = session.records.flow_run(begun.order.run)
    if row is None or row.id != begun.order.run:
        return
    now = session.clock.time()
    row.state, row.state_name, row.message = states.CANCELLED, "Cancelled", message
    row.ended, row.token = now, begun.order.token
    session.write([row, TransitionRow(row.id, -1, begun.attempt, states.CANCELLED, "Cancelled", message, now)])


def start(prepared: Prepared) -> Any:
    """Run the flow as the order's recorded run; returns its final state, of an async flow a coroutine of it.

    Where an earlier driver began the run it goes on, if the deployment's runs are resumed, or begins anew. Task runs
    of tasks with changed code run again. Raises what ends the program, as a call of the flow does.
    """
    begun, flow, session = prepared.begun, prepared.flow, sessions.current()
    resumable = begun.deployment.recover == "resume" and flow.options.resumable is not False
    row = session.records.flow_run(begun.order.run)
    if row is None or row.id != begun.order.run:
        raise EntrypointError(
            f"the record has no run {begun.order.run}: does it lead to the same place as the service that ordered it?"
        )
    row.attempt = begun.attempt
    goes_on = begun.again and resumable
    if prepared.digest:
        session.write([StoredRow(row.id, prepared.digest, [0], [0], kind=CODE)])
    if begun.again and not goes_on:
        resumed.set_aside(session, row.id)
    recorded = resumed.Recorded(row, "rerun", begun.order.token, resumable, goes_on)
    execution = flow_begin.begin(flow, (), prepared.parameters, recorded, called=True)
    return (execution.go_async if flow.isasync else execution.go)((), prepared.parameters, True)


def stay(seconds: float | None = None) -> bool:
    """Wait at the driver's end until its rows are in the record; False where they are not after so many seconds.

    Its agent sees it run meanwhile, so nobody does anew what it has done. What is not in the record then is left to the
    outbox, and that to the agent.

    Args:
        seconds: None: `STAY`.
    """
    most = STAY if seconds is None else seconds
    records = sessions.current().records
    try:
        with _sigterm_heard():
            if records.publish(min(_QUIET, most)):
                return True
            if most > _QUIET:
                logger.warning(_STAYS, most)
                return records.publish(most - _QUIET)
    except KeyboardInterrupt:  # it is to end now, and leaves its rows
        pass
    return False
