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
_WRAPPED = "call the library that the task wraps, in a task of your own"
_LIBRARY = (  # the modules of Prefect 1's task library that programs import most
    "airtable", "aws", "azure", "databricks", "dbt", "docker", "files", "gcp", "github", "great_expectations",
    "gsheets", "jira", "jupyter", "kubernetes", "mysql", "notifications", "postgres", "prefect", "redis", "secrets",
    "shell", "snowflake", "sql", "sqlite", "twitter",
)  # fmt: skip

NOT_PREFECT = {
    "prefect": "docs/prefect.md of anabranch lists what it has",
    "prefect.agent": _DEPLOYMENTS,
    "prefect.assets": "create an artifact, or log the address of what was written",
    "prefect.automations": "use hooks (`on_failure=`) or state handlers",
    "prefect.backend": _NO_SERVER,
    "prefect.blocks": "keep settings and secrets in the environment, or give them as parameters",
    "prefect.docker": "anabranch builds no images: give `image='registry/name:tag', build=False`",
    "prefect.cli": "use the command `anabranch`",
    "prefect.client.orchestration": _NO_SERVER,
    "prefect.environments": _DEPLOYMENTS,
    "prefect.flow_runs": "end the flow, and go on with `anabranch resume`; `run_deployment` waits for runs elsewhere",
    "prefect.infrastructure": _DEPLOYMENTS,
    "prefect.input": "give the values as parameters of the flow, or of a second flow",
    "prefect.orion": _NO_SERVER,
    "prefect.runner": _DEPLOYMENTS,
    "prefect.schedules.filters": "a cron or an RRule says the days and hours",
    "prefect.server": _NO_SERVER,
    "prefect.software": "the environment of an agent, or the image of its pool, has the packages",
    "prefect.task_worker": "use `task.submit(...)` in a flow, or deploy a flow that calls the task",
    **{f"prefect.tasks.{name}": _WRAPPED for name in _LIBRARY},
    "prefect.tasks.prefect": "call `prefect.deployments.run_deployment`, or the flow itself",
    "prefect.tasks.shell": "use `prefect_shell.ShellOperation`",
    "prefect.workers": _DEPLOYMENTS,
    "prefect_ray.context": "give `cpus=`, `gpus=` and `resources=` to a task of anabranch",
    "prefect_shell": "use `anabranch.run_step`, or `prefect_shell.ShellOperation`",
}
