"""`import anabranch` is light, runs nothing and needs no extra."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import anabranch

REPOSITORY = Path(__file__).resolve().parents[2]
OPTIONAL = ["dask", "distributed", "ray", "kubernetes", "psycopg", "fsspec", "matplotlib", "IPython", "numpy"]
HEAVY = ["asyncio", "sqlite3", "pydantic", "multiprocessing", "rich", "click", *OPTIONAL]


def in_fresh_python(code: str) -> Any:
    """Run `code` in a new interpreter and return the JSON that it prints."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=REPOSITORY, capture_output=True, text=True, timeout=150
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_import_loads_nothing_heavy() -> None:
    code = """
import json, sys
before = set(sys.modules)
import anabranch
print(json.dumps(sorted(set(sys.modules) - before)))
"""
    loaded = {name.partition(".")[0] for name in in_fresh_python(code)}
    assert loaded & set(HEAVY) == set()


def test_import_runs_nothing() -> None:
    code = """
import json, signal, sys, threading
before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
opened = []
sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == "open" and "w" in str(args[1]) else None)
sys.dont_write_bytecode = True
import anabranch
after = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
print(json.dumps({"threads": threading.active_count(), "signals": before == after, "written": opened}))
"""
    assert in_fresh_python(code) == {"threads": 1, "signals": True, "written": []}


def test_every_public_name_without_extras() -> None:
    """Without its extra a name is importable, or its error says which extra to install."""
    code = f"""
import json, sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {OPTIONAL!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Blocked())
import anabranch
bad = {{}}
for name in anabranch.__all__:
    try:
        getattr(anabranch, name)
    except ImportError as error:
        if type(error).__name__ != "MissingExtraError" or "anabranch[" not in str(error):
            bad[name] = repr(error)
print(json.dumps(bad))
"""
    assert in_fresh_python(code) == {}


SERVICE_COMMANDS = {
    "server status": ["fastapi", "starlette", "uvicorn", "pydantic", "sqlite3", "anabranch.session"],
    "server stop": ["fastapi", "starlette", "uvicorn", "pydantic", "sqlite3", "anabranch.session"],
    "pool ls": ["fastapi", "pydantic", "anabranch.session", "anabranch.driver", "anabranch.engine"],
    "agent ls": ["fastapi", "pydantic", "yaml", "anabranch.session", "anabranch.driver", "anabranch.engine"],
    "worker ls": ["yaml", "anabranch.launch.kubernetes_agent"],
}


@pytest.mark.parametrize("command", SERVICE_COMMANDS)
def test_commands_of_the_service_load_what_they_need(command: str, tmp_path: Path) -> None:
    code = f"""
import json, os, sys
os.environ["ANABRANCH_HOME"] = {str(tmp_path)!r}
from click.testing import CliRunner
from anabranch.cli import cli
CliRunner().invoke(cli, {command.split()!r})
print(json.dumps(sorted(sys.modules)))
"""
    assert set(in_fresh_python(code)) & set(SERVICE_COMMANDS[command]) == set()


def test_a_driver_starts_without_pydantic() -> None:
    """A driver's start is most of the time from an order to its flow; plain parameters need no checker of types."""
    code = """
import json, sys
import anabranch.serving, anabranch.entrypoints.ordered
from anabranch.documents import parameters
parameters.plain({"day": "2026-01-01", "sizes": [1, 2.5, None]})
print(json.dumps("pydantic" in sys.modules))
"""
    assert in_fresh_python(code) is False


@pytest.mark.parametrize("first", ["", "import anabranch.compat.prefect, prefect; prefect.flow, prefect.task"])
def test_declaring_tasks_and_flows_loads_no_engine(first: str) -> None:
    """It is loaded by the first that runs: a module of tasks is imported in programs and workers without number."""
    code = f"""
import json, sys
{first}
from anabranch import flow, task
@task
def one(): return 1
@flow
def both(): return one()
dear = ["anabranch.session", "anabranch.driver", "anabranch.engine.dispatch", "anabranch.core.nested"]
before = [name for name in dear if name in sys.modules]
import anabranch.flows, anabranch.tasks
kind = type(anabranch.flows.sessions).__name__
both()
import anabranch.session
print(json.dumps([before, kind, anabranch.flows.flow_begin is sys.modules["anabranch.runs.flow_begin"]]))
"""
    assert in_fresh_python(code) == [[], "_Later", True]


PUBLIC_MODULES = {
    "cache_policies": "INPUTS",
    "context": "task_run",
    "errors": "OptionError",
    "futures": "as_completed",
    "state": "Completed",
    "states": "Completed",
    "triggers": "all_finished",
}


@pytest.mark.parametrize(("module", "name"), PUBLIC_MODULES.items())
def test_public_modules_can_be_imported(module: str, name: str) -> None:
    code = f"""
import json
from anabranch.{module} import {name}
import anabranch.{module} as whole
import anabranch
stars = {{}}
exec("from anabranch.{module} import *", stars)
print(json.dumps([whole.{name} is {name}, anabranch.{module}.{name} is {name}, stars["{name}"] is {name}]))
"""
    assert in_fresh_python(code) == [True, True, True]


def test_public_modules_show_their_own_names_alone() -> None:
    """Tab completion and `import *` give no name that such a module has imported itself."""
    errors = importlib.import_module("anabranch.errors")
    shown = {name: getattr(errors, name) for name in dir(errors)}
    assert "CrashedRun" in shown
    assert [name for name, value in shown.items() if not issubclass(value, errors.AnabranchError)] == []
    assert [name for name, value in shown.items() if not value.__doc__] == []
    stars: dict[str, object] = {}
    exec("from anabranch.states import *", stars)
    assert {"Completed", "State", "StateType"} <= stars.keys()
    assert {"time", "Any", "enum", "TYPE_CHECKING"} & stars.keys() == set()


def test_public_module_says_what_it_lacks() -> None:
    with pytest.raises(ImportError, match=r"cannot import name 'nothing' from 'anabranch\.states'"):
        exec("from anabranch.states import nothing")
    assert not hasattr(importlib.import_module("anabranch.states"), "__file__")


def test_type_checkers_find_the_public_modules() -> None:
    """Each has a stub that names the modules whose names it gives."""
    root = Path(anabranch.__file__).parent
    told = {stub.stem: stub.read_text(encoding="utf-8") for stub in root.glob("*.pyi")}
    assert told.keys() == anabranch._MODULES.keys()
    for name, homes in anabranch._MODULES.items():
        assert [line.split()[1] for line in told[name].splitlines()] == list(homes)
