"""The import graph holds the floors: who may import whom, where, and which packages.

The rules are data at the top of this file. A module that stands in no room of `FLOORS` fails the
test: give it a floor here, and say in docs/architecture.md what it is for.
"""

from __future__ import annotations

import sys
from fnmatch import fnmatch
from typing import TYPE_CHECKING

import pytest

from tests.house.imports import PACKAGE, ROOT, Import, Module, arrows, cycles, read, room_of

if TYPE_CHECKING:
    from pathlib import Path


# -- the rules -----------------------------------------------------------------------------------

MIDDLE = ["engine", "results", "runners", "clusters", "launch", "records", "display"]
BASE = ["core", "settings", "logs", "prints"]
ABOVE = [*BASE, *MIDDLE, "limits", "resume", "driver", "worker", "session"]
SURFACE = [
    *ABOVE, "context", "named_limits", "diagnosis", "runs", "tasks", "flows", "testing", "serving", "documents",
    "scheduling",
]  # fmt: skip

# What a room (a folder) or a root module may import of the package, besides itself.
FLOORS: dict[str, list[str]] = {
    "core": [],
    "batch": ["core"],
    "kubernetes": ["core"],
    **{room: ["core"] for room in MIDDLE},
    "clusters": ["core", "batch", "kubernetes"],
    "launch": ["core", "batch", "kubernetes"],
    "settings": ["core"],
    "logs": ["core", "settings"],
    "prints": ["core", "logs"],
    "context": ["core"],
    "limits": ["core", "logs", "engine"],
    "resume": ["core", "logs", "engine", "results"],
    "driver": ["core", "logs", "engine", "limits", "resume"],
    "worker": [*BASE, "engine", "results", "limits"],
    "session": [*BASE, *MIDDLE, "limits", "resume", "driver", "worker"],
    "named_limits": ["core", "limits", "session"],
    "diagnosis": [*BASE, "engine", "display", "session"],
    "runs": [*BASE, "engine", "limits", "resume", "driver", "session", "named_limits"],
    "tasks": [*BASE, "runs", "session"],
    "flows": [*BASE, "runs", "session", "serving"],
    "shell": ["core", "runs", "tasks"],
    "integrations": ["core", "settings", "engine", "records", "driver", "session", "testing"],
    "transactions": ["core", "engine", "session"],
    "scheduling": ["core"],
    "documents": ["core"],
    "agents": ["core"],
    "services": ["core", "scheduling"],
    "serving": [
        "core", "settings", "logs", "records", "launch", "scheduling", "documents", "agents", "services", "session",
        "runs", "entrypoints",
    ],
    "entrypoints": ["core", "documents", "session", "runs"],
    "server": ["core", "settings", "records", "services", "serving"],
    "testing": ["core", "runners"],
    "__init__": SURFACE,
    "compat": [*SURFACE, "__init__", "shell", "transactions"],
    "bench": ["core", "settings", "session", "__init__"],
    "cli": [*SURFACE, "__init__", "batch", "bench", "compat", "entrypoints", "scheduling", "services", "server"],
    "__main__": ["cli"],
}

# The rooms from the ground up. A room imports rooms on lower lines only, none of its own line.
ORDER = [
    ["core"],
    ["batch", "kubernetes"],
    ["settings", "context", *MIDDLE, "scheduling", "documents", "agents"],
    ["services"],
    ["logs"],
    ["prints", "limits", "resume", "testing"],
    ["driver", "worker"],
    ["session"],
    ["named_limits", "diagnosis", "transactions"],
    ["runs"],
    ["entrypoints"],
    ["serving"],
    ["tasks", "flows"],
    ["shell", "integrations", "server"],
    ["__init__"],
    ["compat", "bench"],
    ["cli"],
    ["__main__"],
]

# Arrows that run up today. Each leaves this list, and FLOORS, with the last import that it stands for.
UPWARD: set[tuple[str, str]] = set()

DOORS = {"__init__", "__main__"}  # what users import and run, no rooms
ROOMS = 38
ARROWS = 163
ROOT_FILES = 10

# Rings that exist for type checkers only. Each module leaves this list when it stands in no ring any more.
RINGS: dict[str, list[str]] = {
    "a map names the scope that its futures ask; a scope takes maps and gives futures": [
        "core.carried",
        "core.context",
        "core.future_lists",
        "core.futures",
        "core.item_columns",
        "core.map_parts",
        "core.map_states",
        "core.maps",
        "core.scopes",
        "core.streams",
    ],
}

TYPE_CHECKERS = {"typing_extensions"}  # what type checkers have, whatever is installed
CORE_DEPENDENCIES = {"click", "cloudpickle", "cronsim", "msgpack", "pydantic", "rich", "yaml"}

# Modules that may import inside functions whatever their floor allows.
LAZY_FILES = ["session.py", "__init__.py", "*/__init__.py", "cli/*", "integrations/pytest_plugin.py"]

# Modules that may put off an import to its first use with `core.lazy.later`: what programs import to declare.
LATER_FILES = {"flows.py", "tasks.py"}

# Packages that are optional or cost start-up time, and the files that may import them inside functions.
LAZY: dict[str, list[str]] = {
    # standard library, for the sake of `import anabranch`
    "asyncio": [
        "compat/*",
        "core/*",
        "engine/*",
        "runners/*",
        "clusters/*",
        "display/*",
        "driver/*",
        "kubernetes/*",
        "launch/kubernetes_logs.py",
        "limits/tickets.py",
        "runs/*",
        "tasks.py",
        "worker/*",
    ],
    "sqlite3": ["records/*", "results/*"],
    "multiprocessing": ["runners/process/*"],
    # ours, but dear
    "pydantic": ["compat/*", "core/*", "documents/parameters.py", "settings.py"],
    "pydantic_core": ["compat/*"],
    "typing_extensions": ["core/parameter_schema.py"],  # pydantic's own: it is there where that is
    "rich": ["display/*", "logs.py"],
    # optional
    "IPython": ["display/*"],
    "anyio": ["server/*"],
    "cryptography": ["clusters/*"],
    "dask": ["runners/dask/*", "clusters/*"],
    "dask_jobqueue": ["clusters/batch_queue.py"],
    "dask_kubernetes": ["clusters/kubernetes*"],
    "distributed": ["runners/dask/*", "clusters/*", "bench/places.py"],
    "fastapi": ["server/*"],
    "fsspec": ["results/remote*", "results/disk*", "documents/*"],
    "httpx": ["kubernetes/transport.py"],
    "joblib": ["integrations/joblib.py"],
    "ipywidgets": ["display/*"],
    "kr8s": ["kubernetes/transport.py", "clusters/kubernetes*", "clusters/ray*"],
    "kubernetes": ["clusters/kubernetes*", "clusters/ray*"],
    "matplotlib": ["display/*", "bench/plot.py"],
    "opentelemetry": ["integrations/traces.py"],
    "numpy": ["core/*", "results/*", "runners/*", "display/*"],
    "pytest": ["compat/pytest_prefect.py", "integrations/pytest_plugin.py"],
    "psycopg": ["records/postgres*"],
    "ray": ["runners/ray/*", "clusters/ray*", "bench/places.py"],
    "textual": ["display/watch/*"],
    "starlette": ["server/*"],
    "torch": ["core/draws.py"],
    "uvicorn": ["server/*"],
    "yaml": ["launch/kubernetes*"],
}
# Optional packages that a whole file is about: such a file is itself imported only when chosen.
ABOUT = {name: files for name, files in LAZY.items() if name not in {"numpy", *CORE_DEPENDENCIES}}


# -- judging -----------------------------------------------------------------------------------------


def faults(module: Module) -> list[str]:
    """Every rule that this module breaks, one line each."""
    if module.room not in FLOORS:
        return [f"{module.path}: stands on no floor; add it to FLOORS"]
    found = []
    for entry in module.imports:
        where = f"{module.path}:{entry.line}"
        top = entry.target.partition(".")[0]
        ours = top == PACKAGE
        if ours:
            room = room_of(entry.target)
            if room != module.room and room not in FLOORS[module.room]:
                found.append(f"{where}: {module.room} may not import {entry.target}")
        elif not package_allowed(module, top, entry):
            found.append(f"{where}: {module.room} may not import the package {top}")
        if entry.in_function and not entry.typing_only and not lazy_allowed(module, top):
            found.append(f"{where}: no import inside a function here: {entry.target}")
    return found


def package_allowed(module: Module, top: str, entry: Import) -> bool:
    if top in sys.stdlib_module_names:
        return True
    if entry.typing_only or module.room == "cli":
        return top in CORE_DEPENDENCIES or top in LAZY or top in TYPE_CHECKERS
    if module.room == "core":
        return entry.in_function and matches(module, LAZY.get(top, []))
    if top in CORE_DEPENDENCIES:
        return True
    return matches(module, LAZY.get(top, []) if entry.in_function else ABOUT.get(top, []))


def lazy_allowed(module: Module, top: str) -> bool:
    return matches(module, LAZY_FILES) or matches(module, LAZY.get(top, []))


def matches(module: Module, patterns: list[str]) -> bool:
    return any(fnmatch(module.path, pattern) for pattern in patterns)


def upward(drawn: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """The arrows that do not end on a lower line than they begin on."""
    level = {room: number for number, rooms in enumerate(ORDER) for room in rooms}
    return {(room, target) for room, target in drawn if level[target] >= level[room]}


# -- the house as it is ------------------------------------------------------------------------------

HOUSE = read(ROOT)


def test_modules_keep_to_their_floors() -> None:
    assert [fault for module in HOUSE.values() for fault in faults(module)] == []


def test_imports_are_put_off_where_programs_declare_alone() -> None:
    used = {
        path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.py")
        if "lazy.later(" in path.read_text(encoding="utf-8")
    }  # fmt: skip
    assert used == LATER_FILES


def test_no_import_cycles() -> None:
    assert cycles(HOUSE) == []


def test_every_room_stands_on_one_line() -> None:
    assert sorted(room for rooms in ORDER for room in rooms) == sorted(FLOORS)


def test_no_arrow_runs_up() -> None:
    allowed = {(room, target) for room, targets in FLOORS.items() for target in targets}
    assert upward(allowed) <= UPWARD
    assert UPWARD - arrows(HOUSE) == set(), "gone: take them out of UPWARD and FLOORS"


def test_rooms_and_arrows_are_few() -> None:
    drawn = arrows(HOUSE)
    assert len({module.room for module in HOUSE.values()} - DOORS) <= ROOMS
    assert len(drawn) <= ARROWS, sorted(drawn)
    assert len(list(ROOT.glob("*.py"))) <= ROOT_FILES


def test_rings_for_type_checkers_are_named() -> None:
    rings = [{name.partition(".")[2] for name in ring} for ring in cycles(HOUSE, all_imports=True)]
    assert [sorted(ring) for ring in rings if not any(ring <= set(known) for known in RINGS.values())] == []
    named = {name for known in RINGS.values() for name in known}
    assert sorted(named.difference(*rings)) == [], "in no ring any more: take them out of RINGS"


# -- the rules bite ----------------------------------------------------------------------------------


def build(folder: Path, files: dict[str, str]) -> dict[str, Module]:
    root = folder / PACKAGE
    for path, source in {"__init__.py": "", "core/__init__.py": "", "core/errors.py": "", **files}.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(source)
    return read(root)


@pytest.mark.parametrize(
    ("path", "source", "message"),
    [
        ("core/a.py", "import numpy", "may not import the package numpy"),
        ("core/a.py", "import pydantic", "may not import the package pydantic"),
        ("core/a.py", "from anabranch.engine import b", "core may not import anabranch.engine"),
        ("core/a.py", "from ..engine import b", "core may not import anabranch.engine"),
        ("core/a.py", "if not TYPE_CHECKING:\n    import rich", "may not import the package rich"),
        ("engine/a.py", "from anabranch import session", "engine may not import anabranch"),
        ("engine/a.py", "import anabranch.runners.thread", "engine may not import anabranch.runners.thread"),
        (
            "records/a.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from anabranch.results import disk",
            "records may not import anabranch.results",
        ),
        ("runners/thread/runner.py", "def f():\n    import distributed", "may not import the package distributed"),
        ("runners/thread/runner.py", "def f():\n    from anabranch.core import errors", "no import inside a function"),
        ("runners/ray/nodes.py", "f = lambda: 0\nclass A:\n    def g(self):\n        import json", "inside a function"),
        ("tasks.py", "from anabranch.records import sqlite", "tasks may not import anabranch.records"),
        ("testing.py", "from anabranch.cli import main", "testing may not import anabranch.cli"),
        ("misc.py", "", "stands on no floor"),
    ],
)
def test_rules_catch(tmp_path: Path, path: str, source: str, message: str) -> None:
    module = next(m for m in build(tmp_path, {path: source}).values() if m.path == path)
    assert any(message in fault for fault in faults(module)), faults(module)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("core/a.py", "import json\nfrom . import errors\ndef f():\n    import pydantic"),
        ("runners/dask/runner.py", "import cloudpickle\nfrom ...core import errors\ndef f():\n    import distributed"),
        ("session.py", "def f():\n    from anabranch.runners import thread"),
        ("cli/runs.py", "import click\ndef f():\n    from anabranch.records import sqlite"),
    ],
)
def test_rules_let_pass(tmp_path: Path, path: str, source: str) -> None:
    module = next(m for m in build(tmp_path, {path: source}).values() if m.path == path)
    assert faults(module) == []


def test_rules_find_cycles(tmp_path: Path) -> None:
    files = {"core/a.py": "from . import b", "core/b.py": "from .c import x", "core/c.py": "import anabranch.core.a"}
    assert cycles(build(tmp_path, files)) == [["anabranch.core.a", "anabranch.core.b", "anabranch.core.c"]]


def test_rules_find_rings_for_type_checkers(tmp_path: Path) -> None:
    typing = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    "
    house = build(tmp_path, {"core/a.py": "from . import b", "core/b.py": typing + "from .a import x"})
    assert cycles(house) == []
    assert cycles(house, all_imports=True) == [["anabranch.core.a", "anabranch.core.b"]]


def test_rules_find_arrows_that_run_up(tmp_path: Path) -> None:
    house = build(tmp_path, {"driver/a.py": "from anabranch import worker, core", "worker/__init__.py": ""})
    assert arrows(house) == {("driver", "worker"), ("driver", "core")}
    assert upward(arrows(house)) == {("driver", "worker")}
