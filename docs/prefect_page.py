"""Writes docs/prefect_names.md: each public name of Prefect's three generations, and what it is here: `make docs`.

The names are those of docs/prefect_names.txt. Each is looked up as a program would import it.
"""

from __future__ import annotations

import importlib
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from anabranch.compat import lacking, tables
from anabranch.compat.prefect.absent import Absent

PAGE = Path(__file__).with_name("prefect_names.md")
NAMES = Path(__file__).with_name("prefect_names.txt")
SAME = "the same"
HEAD = """# Names of Prefect, one by one

What a program that imports `prefect` finds here, module by module: names that are the same, names that differ, and
names that are not there, with the way out. A module that is not there fails at its import, and says the same as this
page. A name that is not there can be imported, and raises at its first use. [Programs written for Prefect](prefect.md)
says how to run them, and tells the differences at length.

To measure what a program gains, run it under both: `time python script.py` where Prefect is installed, and
`time python -m anabranch.compat prefect script.py`. `anabranch migrate check script.py` says beforehand which of its
lines run.

`make docs` writes this page.
"""
GENERATIONS = {"3": "Prefect 3", "2": "Prefect 2, where it differs from 3", "1": "Prefect 1"}
# What is there, and differs. The reasons stand in prefect.md.
DIFFERS = {
    "prefect.Client": "projects and orders of the program's own service",
    "prefect.Flow": "one name for two classes: with a text first it is Prefect 1's",
    "prefect.aserve": "a coroutine that serves until Ctrl-C, in this thread",
    "prefect.deploy": "builds no image: `build=False`",
    "prefect.artifacts.*": "each is a line of the run that makes it, in the log and in the record",
    "prefect.cache_policies.INPUTS": "alone, a key has the task's name in it, unless values go into a storage of yours",
    "prefect.client.Client": "projects and orders of the program's own service",
    "prefect.concurrency.asyncio.*": "one name a call: nest the blocks",
    "prefect.concurrency.sync.*": "one name a call: nest the blocks",
    "prefect.context.SettingsContext": "the settings that change how flows run",
    "prefect.deployments.Deployment": "of an `infrastructure` the `env` alone counts",
    "prefect.deployments.runner.RunnerDeployment": "anabranch's deployment",
    "prefect.deployments.RunnerDeployment": "anabranch's deployment",
    "prefect.engine.cache_validators.*": "validators of your own are refused: give `cache_key_fn=`",
    "prefect.engine.results.PrefectResult": "changes nothing: values are in anabranch's record",
    "prefect.events.emit_event": "a line of the run that makes it, in the log and in the record",
    "prefect.exceptions.FlowPauseTimeout": "never raised: nothing pauses",
    "prefect.exceptions.InfrastructureError": "never raised",
    "prefect.exceptions.MissingProfileError": "never raised: there are no profiles",
    "prefect.exceptions.NotPausedError": "never raised: nothing pauses",
    "prefect.exceptions.ObjectAlreadyExists": "never raised",
    "prefect.exceptions.PrefectException": "the base of all errors of anabranch",
    "prefect.exceptions.TerminationSignal": "the run is Cancelled, and not Crashed",
    "prefect.executors.DaskExecutor": "on Dask, as anabranch's runner does it",
    "prefect.executors.LocalDaskExecutor": "threads or processes, without Dask",
    "prefect.flow": "waits at its end for all that was submitted; prefect.md has the rest",
    "prefect.flows.flow": "waits at its end for all that was submitted; prefect.md has the rest",
    "prefect.futures.PrefectConcurrentFuture": "one class of futures for all runners",
    "prefect.futures.PrefectDistributedFuture": "what `task.delay` gives; none can be made by hand",
    "prefect.futures.PrefectFuture": "`wait()` gives the state",
    "prefect.futures.PrefectFutureList": "one object for the whole map; its elements are made when asked for",
    "prefect.results.ResultStore": "one made by hand writes where it is told",
    "prefect.settings.get_current_settings": "the settings that change how flows run",
    "prefect.states.Paused": "can be made by hand; nothing pauses",
    "prefect.states.Suspended": "can be made by hand; `anabranch resume` goes on with a run that was told to end",
    "prefect.task": "a jitter factor is applied; a task called with a failed future raises UpstreamTaskError",
    "prefect.tasks.task": "a jitter factor is applied; a task called with a failed future raises UpstreamTaskError",
    "prefect.task_runners.PrefectTaskRunner": "refused where a flow starts: there are no task workers",
    "prefect.task_runners.ProcessPoolTaskRunner": "anabranch's processes; they stay warm between flow runs",
    "prefect.task_runners.ThreadPoolTaskRunner": "`min(32, cpus + 4)` threads unless told otherwise",
    "prefect.run_configs.*": "image, env, labels and resources count where an agent starts the run",
    "prefect.schedules.Schedule": "without filters and adjustments",
    "prefect.storage.*": "the flow's file is read again where it runs, nothing is pickled",
    "prefect.transactions.get_transaction": "None in a submitted run, whose hooks are called in the program",
    "prefect.triggers.manual_only": "raises: nothing pauses",
    "prefect.engine.signals.PAUSE": "raises: nothing pauses",
    "prefect.variables.Variable": "lasts as long as the program; `PREFECT_VARIABLE_NAME` in the environment sets one",
    "prefect_dask.DaskTaskRunner": "of `client_kwargs` `security` counts, and `performance_report_path` writes nothing",
    "prefect_ray.RayTaskRunner": "`init_kwargs` besides `num_cpus` begin a Ray that stays until the program's end",
    "prefect_shell.ShellOperation": "called, it is a task with a text as its value; `.run()` gives lines",
}  # fmt: skip


class Module(NamedTuple):
    """A module of one generation with its names."""

    generation: str
    name: str
    names: list[str]


def modules() -> list[Module]:
    """Return the modules of the list of names."""
    found = []
    for line in NAMES.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            place, _, names = line.partition(": ")
            generation, _, name = place.partition(" ")
            found.append(Module(generation, name, names.split()))
    return found


def verdict(module: str, name: str) -> str:
    """Return what a name is here: SAME, how it differs, or "not there: " with the way out; "" where it is unknown."""
    told = tables.NOT_PREFECT
    try:
        home = importlib.import_module(module)
    except ModuleNotFoundError:
        parts = module.split(".")
        known = (".".join(parts[:n]) for n in range(len(parts), 1, -1))
        return next((f"not there: {told[one]}" for one in known if one in told), "")
    if name in lacking.lacking(module):
        return f"not there: {lacking.lacking(module)[name]}"
    found = getattr(home, name, None)
    if found is None and not hasattr(home, name):
        return ""
    if isinstance(found, Absent):
        return f"not there: {found.__dict__['_advice']}"
    return DIFFERS.get(f"{module}.{name}") or DIFFERS.get(f"{module}.*") or SAME


def page() -> str:
    """The whole page as Markdown."""
    found, seen, before = [HEAD], set(), ""
    for module in modules():
        if module.generation != before:
            before = module.generation
            found.append(f"## {GENERATIONS[before]}\n\n| module | here | names |\n|---|---|---|")
        rows = defaultdict(list)
        for name in module.names:
            if (module.name, name) not in seen:
                rows[verdict(module.name, name)].append(f"`{name}`")
                seen.add((module.name, name))
        for told in sorted(rows, key=lambda one: (one != SAME, one.startswith("not there"), one)):
            cells = (f"`{module.name}`", told.replace("|", "\\|"), ", ".join(rows[told]))
            found.append(f"| {' | '.join(cells)} |")
    return "\n".join(found).replace("\n## ", "\n\n## ") + "\n"


if __name__ == "__main__":
    import anabranch.compat.prefect  # noqa: F401 - the names come first

    PAGE.write_text(page(), encoding="utf-8")
