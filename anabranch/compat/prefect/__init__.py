"""Prefect's names, of its three generations, carried out by anabranch.

`import anabranch.compat.prefect`, before anything that imports `prefect`, lets `import prefect` and its usual
submodules give these modules. What differs from Prefect is listed in docs/prefect.md.
"""

from __future__ import annotations

import importlib
from typing import Any

from anabranch.compat.aliases import install
from anabranch.compat.prefect.absent import absent
from anabranch.compat.tables import NOT_PREFECT, PREFECT

install(PREFECT, NOT_PREFECT)

__version__ = "3.8.3"

_HOMES = {
    "Client": "client",
    "Flow": "flows",
    "Parameter": "core",
    "State": "states",
    "Task": "tasks",
    "Transaction": "transactions",
    "allow_failure": "utilities.annotations",
    "apply_map": "utilities.tasks",
    "aserve": "served",
    "case": "tasks.control_flow",
    "deploy": "served",
    "flatten": "utilities.edges",
    "flow": "flows",
    "get_run_logger": "logging",
    "mapped": "utilities.edges",
    "resource_manager": "tasks.control_flow",
    "serve": "served",
    "tags": "context",
    "task": "tasks",
    "unmapped": "utilities.annotations",
}
_LACKING = {
    "get_client": NOT_PREFECT["prefect.client.orchestration"],
    "pause_flow_run": "end the flow, and go on with `anabranch resume`",
    "apause_flow_run": "end the flow, and go on with `anabranch resume`",
    "resume_flow_run": "use `anabranch resume RUN`",
    "aresume_flow_run": "use `anabranch resume RUN`",
    "suspend_flow_run": "end the flow, and go on with `anabranch resume`",
    "asuspend_flow_run": "end the flow, and go on with `anabranch resume`",
}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        found = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
        globals()[name] = found
        return found
    if name in _LACKING:
        return absent(f"prefect.{name}", _LACKING[name])
    if not name.startswith("_"):
        try:  # as `prefect.futures` after a bare `import prefect`
            return importlib.import_module(f"{__name__}.{name}")
        except ModuleNotFoundError as error:
            if error.name != f"{__name__}.{name}":
                raise
    raise AttributeError(f"module 'prefect' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, *_LACKING])
