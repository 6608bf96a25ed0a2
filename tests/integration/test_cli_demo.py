"""The commands demo and limits."""

from __future__ import annotations

import io
import json
import sys
import tokenize
from collections import Counter
from pathlib import Path

import pytest
from click.testing import CliRunner

from anabranch.cli import cli, survey
from tests.integration.commands import alone, run

pytestmark = pytest.mark.sampled(7, "each is a whole demo in a Python of its own")
TURNS = pytest.mark.sampled(7, "an engine for the whole demo")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return alone(tmp_path, monkeypatch)


@pytest.mark.parametrize(
    "runner",
    [
        "inline", "thread", "process",
        pytest.param("dask", marks=[pytest.mark.dask, pytest.mark.timeout(180), TURNS]),
        pytest.param("ray", marks=[pytest.mark.ray, pytest.mark.timeout(180), TURNS]),
    ],
)  # fmt: skip
def test_demo_runs_on_every_runner_and_writes_its_report(home: Path, runner: str) -> None:
    done = run("demo", "--runner", runner, "--limit", "20", "--report", "out/report.html")
    assert "20 files measured" in done.stdout
    assert "from the cache" not in done.stdout
    assert (home.parent / "out" / "report.html").read_text(encoding="utf-8").count("<svg") >= 2


def test_a_second_demo_is_served_from_the_cache(home: Path) -> None:
    run("demo", "--runner", "inline", "--limit", "20")
    assert "20 of 20 from the cache" in run("demo", "--runner", "thread", "--limit", "20").stdout
    assert "from the cache" not in run("demo", "--runner", "inline", "--limit", "20", "--fresh").stdout


def test_broken_files_are_counted_failures_of_a_completed_flow(tmp_path: Path) -> None:
    from anabranch import session
    from anabranch.settings import load

    for i in range(6):
        (tmp_path / f"good{i}.py").write_text(f"def f{i}():\n    return {i}\n")
    (tmp_path / "bad1.py").write_text("print 'x'\n")
    (tmp_path / "bad2.py").write_bytes(b"# coding: uft-8\n")
    mine = session.Session(load({"ANABRANCH_HOME": str(tmp_path / "home")}))
    before = session.use(mine)
    try:
        state = survey.survey.with_options(runner="inline")(root=str(tmp_path), return_state=True)
    finally:
        session.use(before)
        mine.close()
    assert state.is_completed()
    found = state.result()
    assert [f.path for f in found.failures] == ["bad1.py", "bad2.py"]
    assert {f.type for f in found.failures} == {"SyntaxError"}
    assert (found.files, found.ranking.files, found.ranking.functions) == (8, 6, 6)


def test_tokens_are_those_of_the_standard_library() -> None:
    names = {
        tokenize.NAME: "name", tokenize.NUMBER: "number", tokenize.STRING: "string", tokenize.OP: "operator",
        tokenize.COMMENT: "comment",
    }  # fmt: skip
    if sys.version_info >= (3, 12):
        pytest.skip("from 3.12 on tokenize splits f-strings")
    for file in survey.library_files()[::50]:
        if file.path.startswith(("test/tokenizedata", "lib2to3/tests")):
            continue
        source = (Path(file.root) / file.path).read_bytes()
        expected = Counter(names.get(t.type) for t in tokenize.tokenize(io.BytesIO(source).readline))
        expected.pop(None, None)
        assert survey.count_tokens(source.decode("utf-8")) == expected, file.path


def test_limits_are_set_listed_and_deleted(tmp_path: Path) -> None:
    def run(*words: str, code: int = 0) -> str:
        done = CliRunner(env={"ANABRANCH_HOME": str(tmp_path)}).invoke(cli, ["limits", *words])
        assert done.exit_code == code, done.output
        return done.output

    assert "no limits" in run("list")
    assert run("set", "tag:db", "--slots", "4", "--rate", "100/min") == "tag:db: 4 at once, 100/min starts\n"
    assert run("set", "tag:db", "--slots", "2") == "tag:db: 2 at once, 100/min starts\n"
    assert run("set", "tag:db", "--off", "--rate", "none") == "tag:db: 2 at once (off)\n"
    [found] = json.loads(run("list", "--json"))
    assert found == {"name": "tag:db", "slots": 2, "rate": None, "active": False, "holders": []}
    assert "tag:db" in run("list")
    assert run("show", "tag:db").startswith("tag:db: 2 at once (off)")
    assert run("release", "tag:db") == "tag:db: 0 slots are free again\n"
    assert run("delete", "tag:db") == "tag:db: deleted\n"
    assert "no limit 'tag:db'" in run("show", "tag:db", code=1)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["gpu"], "would limit nothing"), (["gpu", "--slots", "0"], "1 or more"),
        (["gpu", "--slots", "x"], "1 or more, or none, got 'x'"),
        (["gpu", "--rate", "0/s"], "10/s"), (["gpu", "--rate", "5/fortnight"], "10/s"), ([" ", "--slots", "1"], "name"),
    ],
)  # fmt: skip
def test_a_limit_that_makes_no_sense(tmp_path: Path, words: list[str], said: str) -> None:
    done = CliRunner(env={"ANABRANCH_HOME": str(tmp_path)}).invoke(cli, ["limits", "set", *words])
    assert done.exit_code == 2
    assert said in done.output
