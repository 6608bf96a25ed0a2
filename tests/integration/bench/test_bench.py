"""`anabranch bench` on real engines, for seconds and not for minutes: what it checks, says and leaves behind."""

from __future__ import annotations

import json
import multiprocessing
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from anabranch.bench import contest, ours, places, work
from anabranch.bench.contest import Cell, Outcome
from anabranch.cli import cli
from anabranch.core.errors import AnabranchError, RunnerError
from tests.acceptance.sessions import over

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result


TURNS = pytest.mark.sampled(4, "an engine of its own takes ten seconds")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ANABRANCH_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def bench(*given: str) -> Result:
    return CliRunner().invoke(cli, ["bench", *given])


@pytest.mark.parametrize("kind", [*over("thread", "process"), *over("dask", "ray", marks=[TURNS])])
def test_every_row_has_both_sides_and_every_sample(kind: str, home: Path) -> None:
    before = set(threading.enumerate())
    result = bench("--runner", kind, "--workers", "2", "--seconds", "2", "--json")
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    assert (found["version"], found["runner"], found["workers"]) == (1, kind, 2)
    assert [row["name"] for row in found["rows"]] == ["map", "submits", "latency", "naps"]
    for row in found["rows"]:
        for side in (row["ours"], row["peer"]):
            assert len(side["samples"]) == found["rounds"] >= 1
            assert min(side["samples"]) > 0
            assert side["n"] >= 10
        mine, other = row["ours"]["median"], row["peer"]["median"]
        assert row["times_better"] == pytest.approx(mine / other if row["rising"] else other / mine)
    naps = found["rows"][3]
    assert max(naps["ours"]["samples"] + naps["peer"]["samples"]) <= 100
    assert len(found["calibration_seconds"]) == 2 * found["rounds"]
    assert list(home.iterdir()) == []  # the record of its own is gone
    for thread in set(threading.enumerate()) - before:
        if thread.name.startswith("anabranch-"):
            thread.join(30)
            assert not thread.is_alive(), thread
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize("kind", over("dask", "ray", marks=[pytest.mark.nightly("by day the others start their own")]))
def test_an_engine_that_runs_is_joined_and_left_running(kind: str, home: Path) -> None:
    with places.opened(kind, None, 2) as place:
        assert place.workers == 2
        if kind == "ray":
            ray = pytest.importorskip("ray")
            address = ray.get_runtime_context().gcs_address
            command = [sys.executable, "-m", "anabranch", "bench", "--runner", "ray", "--address", address]
            done = subprocess.run([*command, "--seconds", "2"], capture_output=True, text=True, timeout=100)
            assert done.returncode == 0, done.stderr
            assert "ray, 2 workers" in done.stdout
        else:
            distributed = pytest.importorskip("distributed")
            address = distributed.default_client().scheduler.address
            result = bench("--runner", "dask", "--address", address, "--seconds", "2")
            assert result.exit_code == 0, result.output
            assert "dask, 2 workers" in result.stdout
        with place.peer() as side:
            assert side.call(1) == 2  # it is there still


def test_the_table_says_how_sure_it_is(home: Path, tmp_path: Path) -> None:
    picture = tmp_path / "bench.svg"
    result = bench("--runner", "thread", "--workers", "2", "--seconds", "1", "--plot", str(picture))
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].startswith("thread, 2 workers; Python ")
    assert "ThreadPoolExecutor" in lines[2]
    assert "submit and result, one at a time" in result.stdout
    assert "A fixed loop took" in result.stdout
    assert "The record was on." in result.stdout
    text = picture.read_text(encoding="utf-8")
    assert text.startswith("<?xml")
    assert "submit and result" in text


def test_wrong_values_are_no_figure(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(x: int) -> int:
        return x + 1 + (x == 63)

    with places.opened("thread", None, 2) as place, ours.own_record():
        monkeypatch.setattr(contest, "inc", wrong)
        said = "wrong values: the sum over 1000 items is 500501, and must be 500500"
        with pytest.raises(AnabranchError, match=said), place.peer() as side:
            contest._sizes(side, 2, 1.0)
        with pytest.raises(AnabranchError, match="wrong values"):
            contest.run(place, 1.0)


def test_a_failing_round_leaves_nothing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> float:
        raise RuntimeError("no clock")

    monkeypatch.setattr(contest, "calibrate", broken)
    result = bench("--runner", "thread", "--seconds", "1")
    assert isinstance(result.exception, RuntimeError)
    assert list(home.iterdir()) == []


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--runner", "thread", "--address", "tcp://x:1"], "--address is for --runner dask or ray, not thread"),
        (["--runner", "dask", "--address", "tcp://x:1", "--workers", "2"], "--workers is for an engine"),
        (["--plot", "picture.doc"], "must end in .png, .svg or .pdf"),
        (["--plot", "nowhere/picture.png"], "there is no folder"),
        (["--seconds", "61"], "61.0 is not in the range"),
    ],
)
def test_what_cannot_be_done_is_refused_at_once(given: list[str], said: str, home: Path) -> None:
    result = bench(*given)
    assert result.exit_code == 2
    assert said in result.output
    assert not home.exists()


def test_missing_packages_are_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, given, extra in (
        ("distributed", ["--runner", "dask"], "anabranch[dask]"),
        ("ray", ["--runner", "ray"], "anabranch[ray]"),
        ("matplotlib", ["--plot", "a.png"], "anabranch[plots]"),
    ):
        monkeypatch.setitem(sys.modules, name, None)
        assert extra in str(bench(*given).exception)


@pytest.mark.dask
def test_an_address_where_nobody_answers(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "JOIN_SECONDS", 0.2)
    said = r"no Dask with workers at tcp://127.0.0.1:1: "
    with pytest.raises(RunnerError, match=said), places.opened("dask", "tcp://127.0.0.1:1", None):
        pass


def test_medians_ratios_and_noise() -> None:
    outcome = Outcome(2, 1.0, [0.1, 0.13, 0.1, 0.1])
    fast, slow = Cell(10, [200.0, 100.0, 900.0]), Cell(10, [100.0, 50.0, 60.0])
    for row in contest.ROWS:
        outcome.cells[row.name] = (fast, slow)
    assert outcome.busy == pytest.approx(1.3)
    assert (fast.median, slow.median) == (200.0, 60.0)
    assert {row.name: round(outcome.ratio(row), 2) for row in contest.ROWS} == {
        "map": 3.33, "submits": 3.33, "latency": 0.3, "naps": 3.33,
    }  # fmt: skip
    assert work.calibrate() > 0
