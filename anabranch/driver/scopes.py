"""The scopes of a program, and which of them a submit belongs to.

    in a flow              the flow run's
    in a task              that of the task's flow run, or of the program's run that the task belongs to
    in `with ThreadRunner()`   one for the block, closed at its end
    anywhere else          the program's own run on the runner that the settings name
"""

from __future__ import annotations

import functools
import threading
from typing import TYPE_CHECKING, Any

from anabranch import logs
from anabranch.core import context, own_runners, strays
from anabranch.driver import interrupts
from anabranch.driver.call_lines import Loan
from anabranch.driver.draws import Draws
from anabranch.driver.scope import Scope, scope_of

if TYPE_CHECKING:
    from anabranch.core.own_runners import OwnRunner
    from anabranch.driver.keeper import Keeper
    from anabranch.driver.program import Program
    from anabranch.driver.runner_pool import InUse, RunnerPool


class Scopes:
    """Of one session.

    Args:
        keeper: knows whether flow runs are under way, and looks for idle runners.
        runner: of the program's own run.
        grace: seconds that runs have to end when a `with` block of a runner is left by an exception.

    Attributes:
        known: by flow run id; "" is the program's own.
    """

    def __init__(self, program: Program, runners: RunnerPool, keeper: Keeper, runner: Any, grace: float) -> None:
        self.known: dict[str, Scope] = {}
        self._program = program
        self._runners = runners
        self._keeper = keeper
        self._runner = runner
        self._grace = grace
        self._interactive: Scope | None = None
        self._draws = Draws(record=_tell_seed)  # outlives the scopes: an idle runner's is made anew
        self._lock = threading.RLock()

    def here(self) -> Scope:
        """The scope that a submit in this thread belongs to: the flow's around it, or the program's own."""
        flow = context.current_flow.get()
        if flow is not None and isinstance(flow.scope, Scope):
            return flow.scope
        task = context.current_task.get()
        if task is not None:
            found = self.known.get(task.run.flow_run_id) if task.run.flow_run_id else self.outside(task.run.map_id)
            return found or self.interactive()
        own = own_runners.around()
        if own is not None:
            return self._of_block(own)
        if self._keeper.busy() and strays.lost():
            logs.strayed(list(self.known.values()))
        return self.interactive()

    def outside(self, map_id: str) -> Scope:
        """The scope of a task run outside any flow, where what it submits belongs too."""
        map = self._program.pump.dispatcher.tables.maps.get(map_id)
        return self.interactive() if map is None else scope_of(map)

    def interactive(self) -> Scope:
        """The one implicit run outside any flow."""
        interrupts.guard()
        with self._lock:
            if self._interactive is None:
                shared = self._use(self._runner)
                self._interactive = Scope(self._program, shared.lane, draws=self._draws)
                self.known[""] = self._interactive
            elif self._program.pump.runners[self._interactive.lane] is None:
                self._interactive = None
                return self.interactive()
            return self._interactive

    def _use(self, wanted: Any) -> InUse:
        """A runner for a scope; the keeper closes it when it is idle."""
        used = self._runners.use(wanted)
        self._keeper.start()
        return used

    def lend(self, wanted: Any) -> Loan:
        """A runner for callers that are no flow, such as an executor's; they end the loan."""
        used = self._use(self._runner if wanted is None else wanted)
        return Loan(self._runners, used, Scope(self._program, used.lane, draws=self._draws))

    def _of_block(self, own: OwnRunner) -> Scope:
        """The implicit run of a `with` block of the user's own runner."""
        with self._lock:
            found = self._runners.known.get(id(own))
            if found is not None and found.serves(own) and found.scope is not None:
                return found.scope  # type: ignore[no-any-return]
            used = self._use(own)
            used.scope = Scope(self._program, used.lane, draws=self._draws)
            own.on_leaving(functools.partial(self._leave_block, used))
            return used.scope  # type: ignore[no-any-return]

    def _leave_block(self, used: InUse, failed: bool) -> None:
        scope, used.scope = used.scope, None
        try:
            if failed:
                scope.endings.cancel_all(by="flow-end")
            scope.endings.wait_all(self._grace if failed else None)
        finally:
            scope.close()
            scope.let_go()
            self._runners.leave(used)


def _tell_seed(seed: int) -> None:
    logs.note(f"Random numbers come from seed {seed}: with @task(seed=...) it gives them again")
