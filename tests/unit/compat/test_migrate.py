"""What is read of a program that was written for Prefect, and what is said of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from anabranch.cli.migrate import command
from anabranch.compat.migrate.files import code_of, sources
from anabranch.compat.migrate.uses import Use, uses
from anabranch.compat.migrate.verdicts import Fate, judge

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import prefect", ["prefect"]),
        ("import prefect.tasks as t\nt.task", ["prefect.tasks", "prefect.tasks.task"]),
        ("import prefect\nprefect.runtime.flow_run.id", ["prefect", "prefect.runtime.flow_run.id"]),
        ("from prefect import flow as f\n@f(retries=1)\ndef x(): ...\nx.serve()",
         ["prefect.flow", "prefect.flow", "prefect.flow(retries=)", "prefect.flow().serve"]),
        ("from prefect import task\n@task\ndef x(): ...\nx.map([1]).result()",
         ["prefect.task", "prefect.task", "prefect.task().map", "prefect.task().map().result"]),
        ("from prefect import Flow\nwith Flow('x') as f:\n  pass\nf.register('p')",
         ["prefect.Flow", "prefect.Flow", "prefect.Flow().register"]),
        ("def g():\n  from prefect import task\ntask", ["prefect.task"]),
        ("from prefect_dask import DaskTaskRunner\nr = DaskTaskRunner(address='x')",
         ["prefect_dask.DaskTaskRunner", "prefect_dask.DaskTaskRunner", "prefect_dask.DaskTaskRunner(address=)"]),
        ("from prefect.engine import state\ndef g(state, x=state.Failed): state.start_time",
         ["prefect.engine.state", "prefect.engine.state.Failed"]),
        ("from . import prefect\nimport prefecture, dask\nfrom prefectural import x", []),
        ("flow = 1\nflow", []),
    ],
)  # fmt: skip
def test_names_are_followed_from_their_imports(source: str, found: list[str]) -> None:
    assert sorted(map(str, uses(source))) == sorted(found)


def test_a_name_is_told_once_a_line() -> None:
    assert uses("import prefect as p\n(p.task, p.task)") == [Use(1, "prefect"), Use(2, "prefect.task")]


@pytest.mark.parametrize(
    ("use", "fate", "words"),
    [
        (Use(1, "prefect"), Fate.AS_IT_IS, ""),
        (Use(1, "prefect.flow"), Fate.AS_IT_IS, ""),
        (Use(1, "prefect.runtime.flow_run.id"), Fate.AS_IT_IS, ""),
        (Use(1, "prefect.task", "retries"), Fate.AS_IT_IS, ""),
        (Use(1, "prefect.task().map().result"), Fate.AS_IT_IS, ""),
        (Use(1, "prefect_dask.DaskTaskRunner", "address"), Fate.AS_IT_IS, ""),
        (Use(1, "prefect.flow", "result_storage"), Fate.AS_IT_IS, ""),
        (Use(1, "prefect.task", "result_serializer"), Fate.AS_IT_IS, ""),
        (Use(1, "prefect.task", "target"), Fate.AS_IT_IS, ""),
        (Use(1, "prefect.task", "bogus"), Fate.NONE, "@task has no option 'bogus'"),
        (Use(1, "prefect.server.api"), Fate.CHANGE, "anabranch needs no server"),
        (Use(1, "prefect.tasks.nothing"), Fate.NONE, "docs/prefect.md"),
        (Use(1, "prefect_aws.S3Bucket"), Fate.NONE, "call the library that it wraps in a task"),
        (Use(1, "prefect.task().delay"), Fate.AS_IT_IS, ""),
        (Use(1, "prefect.task().serve"), Fate.CHANGE, "deploy a flow that calls the task"),
        (Use(1, "prefect.flow().aserve"), Fate.AS_IT_IS, ""),
        (Use(1, "prefect.serve"), Fate.AS_IT_IS, ""),
        (Use(1, "prefect.flow().visualize"), Fate.CHANGE, "run show"),
        (Use(1, "prefect.flow.from_source"), Fate.AS_IT_IS, ""),
        (Use(1, "prefect.flow.from_source().deploy"), Fate.AS_IT_IS, ""),
        (Use(1, "prefect.deployments.Deployment.build_from_flow"), Fate.AS_IT_IS, ""),
        (Use(1, "prefect.Flow().register"), Fate.AS_IT_IS, ""),
        (Use(1, "prefect.flow().with_options"), Fate.AS_IT_IS, ""),
        (Use(1, "prefect.get_client"), Fate.CHANGE, "anabranch needs no server"),
        (Use(1, "prefect.client.orchestration.get_client"), Fate.CHANGE, "anabranch needs no server"),
        (Use(1, "prefect.task", "max_retries"), Fate.AS_IT_IS, ""),
        (Use(1, "prefect.Flow", "executor"), Fate.AS_IT_IS, ""),
        (Use(1, "prefect.Flow", "schedule"), Fate.AS_IT_IS, ""),
        (Use(1, "prefect.Flow().run"), Fate.AS_IT_IS, ""),
        (Use(1, "prefect.engine.signals.SKIP"), Fate.AS_IT_IS, ""),
        (Use(1, "prefect.tasks.control_flow.merge"), Fate.AS_IT_IS, ""),
        (Use(1, "prefect.context.get"), Fate.AS_IT_IS, ""),
        (Use(1, "prefect.schedules.IntervalSchedule"), Fate.AS_IT_IS, ""),
        (Use(1, "prefect.tasks.snowflake.SnowflakeQuery"), Fate.CHANGE, "call the library"),
    ],
)
def test_what_becomes_of_a_name(use: Use, fate: Fate, words: str) -> None:
    verdict = judge(use)
    assert (verdict.fate, words in verdict.why) == (fate, True)
    assert bool(verdict.why) is (fate is not Fate.AS_IT_IS)


def test_files_of_a_folder(tmp_path: Path) -> None:
    for name in ("b.py", "a.py", "n.ipynb", "sub/c.py", ".git/d.py", "env/lib/e.py", "text.md", "__pycache__/f.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / "env" / "pyvenv.cfg").write_text("")
    assert [file.relative_to(tmp_path).as_posix() for file in sources(tmp_path)] == [
        "a.py", "b.py", "n.ipynb", "sub/c.py"
    ]  # fmt: skip
    cells = [
        {"cell_type": "markdown", "source": ["text"]},
        {"cell_type": "code", "source": ["%matplotlib inline\n", "import prefect\n"]},
        {"cell_type": "code", "source": ["if True:\n", "  !ls"]},
    ]
    (tmp_path / "n.ipynb").write_text(json.dumps({"cells": cells}))
    assert [str(use) for use in uses(code_of(tmp_path / "n.ipynb"))] == ["prefect"]


def test_the_command_says_it_line_by_line(tmp_path: Path) -> None:
    good, bad, broken = tmp_path / "good.py", tmp_path / "bad.py", tmp_path / "broken.py"
    good.write_text("from prefect import flow\n\n@flow\ndef f(): ...\n\nraise SystemExit('it was run')\n")
    bad.write_text("from prefect import flow\nfrom prefect_aws import S3\n")
    done = CliRunner().invoke(command, ["check", str(good)])
    assert (done.exit_code, done.output) == (
        0,
        f"{good}:1: as it is  prefect.flow\n{good}:3: as it is  prefect.flow\n"
        "2 names run as they are, 0 want a changed line, 0 have no counterpart.\n"
        "Run it: python -m anabranch.compat prefect FILE\n",
    )
    done = CliRunner().invoke(command, ["check", "--quiet", str(bad)])
    assert done.exit_code == 1
    assert done.output.splitlines()[0].startswith(f"{bad}:2: none      prefect_aws.S3: ")
    broken.write_text("def (")
    done = CliRunner().invoke(command, ["check", "--json", str(tmp_path)])
    rows = json.loads(done.output)
    assert done.exit_code == 1
    assert [row["fate"] for row in rows if "fate" in row] == ["as it is", "none", "as it is", "as it is"]
    assert [row["error"] for row in rows if "error" in row] == ["line 1: invalid syntax: it is not checked"]


def test_a_program_without_prefect(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("import json\n")
    done = CliRunner().invoke(command, ["check", str(tmp_path)])
    assert (done.exit_code, done.output) == (0, "Nothing of Prefect is used here.\n")
