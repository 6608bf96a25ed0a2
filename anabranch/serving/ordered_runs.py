"""A run of a deployment, as the program that ordered it sees it: an object over the record."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anabranch import session as sessions
from anabranch.core import states
from anabranch.core.clock import SYSTEM
from anabranch.core.errors import AccessError, RecordsError, UnreachableError
from anabranch.core.states import State, StateType
from anabranch.runs import kept_results
from anabranch.serving import lending

if TYPE_CHECKING:
    from anabranch.core.contracts import Clock
    from anabranch.core.deployments import DeploymentRow
    from anabranch.core.futures import Future
    from anabranch.core.runs import FlowRunRow
    from anabranch.core.service import Service

FIRST_LOOK, LAST_LOOK = 0.02, 1.0  # seconds from one look to the next
PATIENCE = 600.0  # seconds for which the record may be away while a program waits for a run


class OrderedRun:
    """A flow run that was ordered; a driver somewhere runs it.

    Its attributes are read from the record at each access, so they say what is now.

    Attributes:
        id: of the run.
        deployment_id: of its deployment.
        flow_name: of its flow.
    """

    def __init__(self, service: Service, deployment: DeploymentRow, id: str, *, clock: Clock = SYSTEM) -> None:
        self._service = service
        self._deployment = deployment
        self._clock = clock
        self._future: Future[Any] | None = None
        self.id = id
        self.deployment_id: str = deployment.id
        self.flow_name: str = deployment.flow

    def seen_by(self, future: Future[Any], timeout: float | None) -> None:
        """Let the flow around see the end of the run by a future; wait for that so many seconds, None: for ever."""
        self._future = future
        with lending.waits():
            future.wait(timeout)

    @property
    def name(self) -> str:
        row = self._row()
        return "" if row is None else row.name

    @property
    def state(self) -> State[Any]:
        row = self._row()
        if row is None:
            return State(StateType.SCHEDULED, message="the run is not in the record yet", run_id=self.id)
        name, kind = states.NAMES[row.state]
        return State(
            kind, row.state_name or name, row.message, attempt=row.attempt, run_id=self.id, start_time=row.started,
            timestamp=row.ended or row.started or row.created,
        )  # fmt: skip

    @property
    def parameters(self) -> dict[str, Any]:
        """Those of its order, over those of the deployment."""
        order = self._service.orders.find(self.id)
        given = {} if order is None else order.parameters
        return {**self._deployment.document.get("parameters", {}), **given}

    @property
    def tags(self) -> tuple[str, ...]:
        row = self._row()
        return () if row is None else row.tags

    @property
    def attempt(self) -> int:
        row = self._row()
        return 0 if row is None else row.attempt

    @property
    def start_time(self) -> float | None:
        row = self._row()
        return None if row is None else row.started

    @property
    def end_time(self) -> float | None:
        row = self._row()
        return None if row is None else row.ended

    def wait(self, timeout: float | None = None, *, poll_interval: float | None = None) -> State[Any]:
        """Wait for the end (or `timeout` seconds) and return the state then; never raises the run's error.

        A program that drives an order itself lends its slots meanwhile. A look that fails says nothing of the run: it
        counts as one that found no end.

        Args:
            poll_interval: seconds between looks; None: short ones first, then a second.

        Raises:
            RecordsError, UnreachableError: the record was away for ten minutes, or for all of `timeout`.
            AccessError: this program's key does not read the run, such as one that another had ordered before.
        """
        with lending.waits():
            return self.end(timeout, poll_interval=poll_interval)

    def end(self, timeout: float | None = None, *, poll_interval: float | None = None) -> State[Any]:
        """Do as `wait`, beside the flow: nothing is lent."""
        began = heard = self._clock.monotonic()
        look, state = poll_interval or FIRST_LOOK, None
        while True:
            failed = None
            try:
                state = self.state
            except AccessError:  # the record is there, and refuses: no later look would see more
                raise
            except (RecordsError, UnreachableError) as error:
                failed = error
            now = self._clock.monotonic()
            left = None if timeout is None else began + timeout - now
            over = left is not None and left <= 0
            if failed is None:
                heard = now
            elif now - heard > PATIENCE or (over and state is None):
                raise failed
            if state is not None and (over or state.is_final()):
                return state
            self._clock.sleep(look if left is None else min(look, left))
            look = poll_interval or min(look * 1.5, LAST_LOOK)

    def result(self, timeout: float | None = None, raise_on_failure: bool = True) -> Any:
        """Wait for the end; raise the run's failure, or return its value.

        Args:
            timeout: seconds; None waits for ever.
            raise_on_failure: False returns the exception instead of raising it.

        Raises:
            UnfinishedRun: the run was not finished in time.
            FailedRun, CrashedRun, CancelledRun: it did not complete.
            ResultReleased: it completed, and its value is not kept, or not reached from here; says why.
        """
        state = self.wait(timeout)
        if self._future is not None and state.is_final() and not state.is_completed():
            return self._future.result(timeout, raise_on_failure)
        if state.is_completed():
            return kept_results.read(sessions.current(), self.id, self.name)
        return state.result(raise_on_failure)

    def cancel(self, by: str = "") -> bool:
        """Cancel the run in any state; False where it had ended."""
        return self._service.orders.cancel(self.id, by=by)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, OrderedRun) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return f"<OrderedRun {self.name or self.id!r} of {self._deployment.full_name!r}: {self.state}>"

    def _row(self) -> FlowRunRow | None:
        found = sessions.current().records.flow_run(self.id)
        return found if found is not None and found.id == self.id else None
