"""Serving: a program that runs its deployments itself, by their schedules and whenever they are asked for.

    apply the deployments, to the pool of served ones
    an agent for these alone ---- drivers, as processes of this machine
    the steps of the service, in a thread, unless a server takes them
    Ctrl-C or SIGTERM: schedules pause, running flows are asked to end, their ends are in the record
"""

from __future__ import annotations

import contextlib
import copy
import signal
import sys
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from anabranch import logs, serving
from anabranch.core.deployments import SERVED
from anabranch.core.errors import AnabranchError, DeploymentError
from anabranch.core.orders import OrderState
from anabranch.core.picking import RECENT
from anabranch.core.service import open_orders
from anabranch.serving import deploying, flow_deployments
from anabranch.serving.agent import Wanted, agent_of, tell
from anabranch.serving.running import run

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

    from anabranch.core.deployments import DeploymentRow
    from anabranch.core.service import Service
    from anabranch.documents.document import Document
    from anabranch.settings import Settings

_MORE = 10.0  # seconds beyond the grace of the settings, in which a driver writes the end of its run
_UNUSED = ("webserver", "entrypoint_type")  # of Prefect: there is no web server to ask, and flows lie in files


def serve_flow(flow: Any, name: str | None = None, **given: Any) -> None:
    """Serve one deployment of a flow, see `Flow.serve`."""
    how = {key: given.pop(key) for key in ("limit", "pause_on_shutdown", "print_starting_message") if key in given}
    if "global_limit" in given:
        given["concurrency_limit"] = given.pop("global_limit")
    for unused in _UNUSED:
        given.pop(unused, None)
    if _while_imported(sys._getframe()):
        return
    serve(flow_deployments.to_deployment(flow, name or flow.name, **given), **how)


def serve(
    *deployments: Document, limit: int | None = None, pause_on_shutdown: bool = True,
    print_starting_message: bool = True, **unused: Any,
) -> None:  # fmt: skip
    """Serve deployments until Ctrl-C or SIGTERM: their runs begin here, each in a process of its own.

    The first signal ends it well: no run begins any more, those that run are asked to end, as Ctrl-C would ask them,
    and have ended when it returns. After a second one it does not wait for them. Ctrl-C ends the program with exit
    code 130. Called at the top of a module that is imported, as a run's own process does, it does nothing.

    Args:
        limit: runs at once; None: as many as this machine has processors, at least four.
        pause_on_shutdown: whether schedules pause when nobody serves them any more. Runs that they have ordered and
            that have not begun are cancelled then. The next `serve` resumes them, and makes up for none.
        print_starting_message: whether it says what it serves.

    Raises:
        DeploymentError: there is no deployment, or one is refused.
        ServiceError: a deployment is refused.
    """
    if unknown := sorted(set(unused) - set(_UNUSED)):
        raise DeploymentError(f"serve: there is no argument {unknown[0]!r}; it takes deployments, limit, "
                              "pause_on_shutdown and print_starting_message")  # fmt: skip
    if not deployments:
        raise DeploymentError("serve: give deployments, such as serve(flow.to_deployment('nightly', cron='0 3 * * *'))")
    if _while_imported(sys._getframe()):
        return
    settings = serving.chosen()
    logs.setup_logging(settings.log_level)
    ended_by = _serve(
        serving.current(), settings, deployments, limit or 0, pause_on_shutdown, print_starting_message
    )
    if ended_by == signal.SIGINT:
        sys.exit(130)


def _serve(
    service: Service, settings: Settings, deployments: Sequence[Document], limit: int, pauses: bool, greets: bool
) -> int:
    """Serve until a signal; returns it."""
    rows = [deploying.apply(_served(one), service) for one in deployments]
    ids = tuple(row.id for row in rows)
    agent = agent_of(service, settings, Wanted(pool=SERVED, deployments=ids, limit=limit))
    with contextlib.ExitStack() as ends:
        if pauses:
            ends.callback(_try_to_pause, service, ids)
        if greets:
            sys.stdout.write(_greeting(service, rows, agent.agent.capacity))
            sys.stdout.flush()
        return run(agent, service, settings, grace=settings.shutdown_grace + _MORE)


def _served(deployment: Document) -> Document:
    found = copy.copy(deployment)
    found.work_pool_name, found.work_queue_name = SERVED, None
    return found


def _while_imported(frame: FrameType | None) -> bool:
    """Return whether the first caller beyond this package is the top of a module that is being imported.

    A driver imports the file of its flow: a `serve` there without `if __name__ == "__main__"` would never return.
    """
    while frame is not None and str(frame.f_globals.get("__name__")).startswith("anabranch."):
        frame = frame.f_back
    return (
        frame is not None and frame.f_code.co_name == "<module>" and frame.f_globals.get("__name__") != "__main__"
    )


# -- the end ---------------------------------------------------------------------------------------------


def _try_to_pause(service: Service, deployments: Sequence[str]) -> None:
    try:
        pause(service, deployments)
    except AnabranchError as error:
        tell(f"schedules were not paused: {error}")


def pause(service: Service, deployments: Sequence[str]) -> None:
    """Pause the schedules of deployments that no other agent serves; cancel what they have ordered and not begun."""
    now = service.upkeep.now()
    others = [agent for agent in service.claims.agents(SERVED) if now - agent.seen <= RECENT]
    for id in deployments:
        if any(id in agent.deployments for agent in others):
            continue
        for schedule in service.schedules.all(id):
            if schedule.active:
                service.schedules.put(replace(schedule, declared_active=False))
        for order in [*open_orders(service.orders, id)]:
            if order.schedule and order.state is OrderState.WAITING:
                service.orders.cancel(order.run, by="the end of the program that served it")


# -- the beginning ---------------------------------------------------------------------------------------


def _greeting(service: Service, rows: Sequence[DeploymentRow], limit: int) -> str:
    what = f"{len(rows)} deployments" if len(rows) > 1 else "a deployment"
    lines = [f"Serving {what}, at most {limit} run{'s' if limit > 1 else ''} at once. Ctrl-C ends it."]
    for row in rows:
        ticks = [one.next_tick for one in service.schedules.all(row.id) if one.active and one.next_tick is not None]
        when = f"next run at {_time(min(ticks))}" if ticks else "no schedule"
        lines.append(f"  {row.full_name}: {when}{', but it is paused' if row.paused else ''}")
        lines.append(f"    run it now: anabranch deployment run '{row.full_name}'")
    return "\n".join(lines) + "\n"


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")
