"""Prefect 1's flows, as graphs: `with Flow("name") as flow:` notes calls, `flow.run()` carries them out.

    nodes.py         a call that was noted, a Parameter; their edges
    flows.py         the graph and its methods
    order.py         in which order nodes may be submitted
    execution.py     one run of a graph: each node a submit or a map of ours, in a flow of ours
    carrying.py      what runs on the worker round the user's function: skips, signals
    control_flow.py  case, switch, merge
    registering.py   `flow.register`: the graph as a deployment
    states.py, signals.py, triggers.py, handlers.py, executors.py, older_options.py, running.py

The modules of `anabranch.compat.prefect` give these names where Prefect 1 had them.
"""

from __future__ import annotations

from anabranch.core.lazy import lazily

__getattr__ = lazily(__name__, register="registering")  # what a run of a graph does not need
