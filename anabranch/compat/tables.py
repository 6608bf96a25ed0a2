"""Which packages of other people our modules stand for, and what to use for what we do not have."""

from __future__ import annotations

PREFECT = {
    "prefect": "anabranch.compat.prefect",
    "prefect_dask": "anabranch.compat.prefect_dask",
    "prefect_ray": "anabranch.compat.prefect_ray",
    "prefect_shell": "anabranch.compat.prefect_shell",
}

_NO_SERVER = "anabranch needs no server; runs are in its record, see `anabranch runs`"
_DEPLOYMENTS = "start flows elsewhere with `anabranch submit`"

NOT_PREFECT = {
    "prefect": "docs/prefect.md of anabranch lists what it has",
    "prefect.agent": _DEPLOYMENTS,
    "prefect.automations": "use hooks (`on_failure=`) or state handlers",
    "prefect.cli": "use the command `anabranch`",
    "prefect.deployments": _DEPLOYMENTS,
    "prefect.infrastructure": _DEPLOYMENTS,
    "prefect.runner": _DEPLOYMENTS,
    "prefect.server": _NO_SERVER,
    "prefect.workers": _DEPLOYMENTS,
    "prefect_shell": "use `anabranch.run_step`, or `prefect_shell.ShellOperation`",
}
