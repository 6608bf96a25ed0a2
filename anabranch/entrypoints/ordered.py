"""The driver's side of an order: from a run and a token to the flow, and to its recorded run.

    run, token --begun--> Begun --prepared--> the flow with its parameters --start--> the run's final state
                 |                  |
                 |                  '--> could_not_begin: it does not load, or its parameters do not fit
                 '--> RunTakenError: nothing of the user's is loaded
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from anabranch import session as sessions
from anabranch.core.errors import EntrypointError
from anabranch.core.orders import DriverProcess
from anabranch.entrypoints.flow import flow_of
from anabranch.runs import flow_begin, resumed

if TYPE_CHECKING:
    from anabranch.core.orders import Begun
    from anabranch.core.service import Service
    from anabranch.flows import Flow


@dataclass(frozen=True, slots=True)
class Prepared:
    """The flow of an order, and its parameters by name."""

    begun: Begun
    flow: Flow[..., Any]
    parameters: dict[str, Any]


def begun(service: Service, run: str, token: int) -> Begun:
    """Begin an order as its one driver: this process.

    Raises:
        RunTakenError: another driver has it, the token is an older one, or the run has ended.
    """
    return service.claims.begin(run, token, DriverProcess(*sessions.current().process))


def prepared(begun: Begun) -> Prepared:
    """Go into the deployment's folder, load its flow, and see whether the order's parameters fit.

    Raises:
        EntrypointError: there is no such folder, file, module or flow.
        LoadError: the file or the module does not load.
        ParameterBindError: the parameters do not fit the flow's function.
    """
    deployment, document = begun.deployment, begun.deployment.document
    place = document.get("entrypoint")
    if not place:
        raise EntrypointError(f"deployment {deployment.full_name!r} has no entrypoint: nothing says where its flow is")
    _enter(document.get("path"), deployment.full_name)
    flow = flow_of(place)
    parameters = {**document.get("parameters", {}), **begun.order.parameters}
    flow.binder.bind((), parameters)
    tags = tuple(dict.fromkeys((*flow.options.tags, *begun.tags)))
    return Prepared(begun, flow.with_options(tags=tags), parameters)


def _enter(path: str | None, deployment: str) -> None:
    if path is None:
        return
    try:
        os.chdir(os.path.expanduser(path))
    except OSError as error:
        why = error.strerror or error
        raise EntrypointError(f"the folder of deployment {deployment!r} cannot be entered: {path}: {why}") from None


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
    if begun.again and not goes_on:
        resumed.set_aside(session, row.id)
    recorded = resumed.Recorded(row, "rerun", begun.order.token, resumable, goes_on)
    execution = flow_begin.begin(flow, (), prepared.parameters, recorded, called=True)
    return (execution.go_async if flow.isasync else execution.go)((), prepared.parameters, True)
