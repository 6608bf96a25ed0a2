"""The benchmarks run: each kind in quick sizes, finite figures, tables and plots from what was written down."""

from __future__ import annotations

import importlib.util
import json
import math
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import __main__ as main
from benchmarks import parts, peers, plan, plots, profile, report, sampling, tables
from benchmarks.contests import FAN_OUT, LATENCY
from benchmarks.engines import Engine
from benchmarks.registry import NAMES, find
from benchmarks.sampling import Journal, Sample, judge
from benchmarks.subjects import patterns
from benchmarks.systems import BY_NAME

pytestmark = pytest.mark.sampled(4, "rows are measured, in Pythons of their own")
ROOT = Path(__file__).parents[2]
MEASURES = pytest.mark.nightly("it measures; of the rows one is measured each day")


def said(*options: str, seconds: float) -> tuple[int, str]:
    """Run the program; when it takes too long, it is asked to stop, for it ends its samples itself."""
    command = [sys.executable, "-m", "benchmarks", *options]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            out, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
            raise
        return process.returncode, out


def run(out: Path, *options: str, seconds: float = 55) -> list[dict[str, Any]]:
    """The samples of one quick run."""
    code, told = said("--quick", "--repeat", "1", "--json", str(out), *options, seconds=seconds)
    assert code == 0, told
    head, *samples = [json.loads(line) for line in out.read_text().splitlines()]
    assert head["about"]["quick"]
    return samples


def check(samples: list[dict[str, Any]]) -> None:
    for sample in samples:
        assert not sample["error"], sample
        assert sample["figures"]
        assert all(math.isfinite(figure) for figure in sample["figures"].values())
        assert sample["calibration_s"] > 0


@pytest.mark.parametrize(
    "rows",
    [("map_threads",), pytest.param(("import", "chains_processes", "patterns_threads"), marks=MEASURES)],
    ids=["one", "more"],
)
def test_quick_rows_give_finite_figures(tmp_path: Path, rows: tuple[str, ...]) -> None:
    samples = run(tmp_path / "figures.json", "--only", ",".join(rows))
    assert [(s["row"], s["side"]) for s in samples] == [(row, side) for row in rows for side in ("ours", "peer")]
    check(samples)


@MEASURES
@pytest.mark.timeout(180)
def test_the_other_kinds_of_rows_measure_too(tmp_path: Path) -> None:
    """One of each file that no other test asks; of METG and the stream, whose sizes make them slow, there is none."""
    rows = (
        *("one_task_threads", "busy_1ms", "submit_threads", "call", "million_threads", "large_threads"),
        *("constant_bytes_processes", "record_threads", "explain", "resumable_small", "resume_threads"),
        "asked_futures",
    )
    samples = run(tmp_path / "figures.json", "--only", ",".join(rows), seconds=170)
    assert {s["row"] for s in samples if s["side"] == "ours"} == set(rows)
    check(samples)


@MEASURES
@pytest.mark.timeout(300)
def test_rows_of_the_service_measure_too(tmp_path: Path) -> None:
    """One of each file; what Prefect would do beside them is not asked where it is not installed."""
    rows = ("ordered", "server_start", "recovery_driver", "compat_import", "executor_map_processes")
    samples = run(tmp_path / "figures.json", "--only", ",".join(rows), seconds=290)
    assert {s["row"] for s in samples if s["side"] == "ours"} == set(rows)
    check([s for s in samples if s["side"] == "ours"])


def test_a_side_that_needs_the_peers_environment_says_that_it_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peers, "PYTHON", tmp_path / "nowhere")
    taken: list[str] = []
    row = find("compat_map")

    def take(name: str, side: str, *_: object) -> Sample:
        taken.append(side)
        return Sample(name, side, 1.0, {bar.figure: 1.0 for bar in row.bars}, 0.02)

    monkeypatch.setattr(sampling, "take", take)
    samples = list(sampling.take_all(row, True, 2))
    assert taken == ["ours", "ours"]
    assert {s.side: s.error for s in samples if s.error} == dict.fromkeys(row.apart, "not installed: prefect")
    assert {verdict.word for verdict in judge(row, samples, 0.02)} == {"MISS", "-"}, "no ratio without a peer"


def test_a_part_of_the_page_is_written_alone() -> None:
    page = "# Benchmarks\n\n| old |\n\n## What is unfair\n\n- much\n"
    journal = Journal(report.about(False, 1, 120.0, False))
    journal.add(Sample("schedules_idle", "ours", 1.0, {"share": 0.25}, 0.02, 3.0))
    assert parts.alone(journal)
    once = report.with_parts(page, journal, report.verdicts(journal))
    assert "| old |" in once
    assert once.index("## The service\n") < once.index("## What is unfair\n\n- much\n")
    assert "| share | <= 1 % of a core | 0.25 % of a core | - | - | pass |" in once
    journal.samples[0].figures["share"] = 2.0
    again = report.with_parts(once, journal, report.verdicts(journal))
    assert again.count("## The service\n") == 1
    assert "| 2 % of a core | - | - | MISS |" in again
    journal.add(Sample("call", "ours", 1.0, {"us_each": 30.0}, 0.02))
    assert not parts.alone(journal), "the page is another one"


@pytest.mark.parametrize(("load", "told"), [(3.0, False), (30.0, True)])
def test_a_part_that_was_taken_on_a_busy_machine_says_so(load: float, told: bool) -> None:
    journal = Journal({**report.about(False, 1, 120.0, False), "machine": "2 cores (any), 8 GiB"})
    journal.add(Sample("schedules_idle", "ours", 1.0, {"share": 0.25}, 0.02, load))
    page = report.with_parts("## What is unfair\n", journal, report.verdicts(journal))
    assert (report.BUSY in page) == told


@MEASURES
def test_contests_name_who_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    systems = ("ours_threads", "loop", "processpool")
    options = ("--systems", ",".join(systems), "--sizes", "50,200", "--only", f"{FAN_OUT},{LATENCY}")
    samples = run(tmp_path / "figures.json", *options)
    rows = (f"{FAN_OUT}@50", f"{FAN_OUT}@200", LATENCY)
    assert [(s["row"], s["side"]) for s in samples] == [(row, system) for row in rows for system in systems]
    check(samples)

    monkeypatch.setattr(peers, "PYTHON", tmp_path / "nowhere")
    missing = list(plan.Plan((BY_NAME["parsl"],), (50,)).run(FAN_OUT))
    assert [s.error for s in missing] == [peers.ABSENT]
    journal = Journal.read([tmp_path / "figures.json"])
    journal.samples += missing
    assert f"| Parsl HTEX | {peers.ABSENT} | - |" in tables.sections(journal)


@MEASURES
@pytest.mark.dask
@pytest.mark.timeout(180)
def test_dask_rows(tmp_path: Path) -> None:
    samples = run(tmp_path / "figures.json", "--only", "chains_dask", seconds=170)
    assert [s["side"] for s in samples] == ["ours", "peer"]
    check(samples)


@MEASURES
@pytest.mark.dask
@pytest.mark.timeout(180)
def test_rows_on_a_cluster_of_the_users(tmp_path: Path) -> None:
    """Its workers know nothing of the benchmarks before; it is there afterwards; what starts by itself is left out."""
    from distributed import Client, LocalCluster

    out = tmp_path / "figures.json"
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=50) as cluster:
        where = cluster.scheduler_address
        samples = run(out, "--address", where, "--only", "map_dask", seconds=170)
        check(samples)
        assert {s["side"] for s in samples} >= {"ours", "peer"}
        with Client(cluster) as client:
            assert client.submit(abs, -1).result() == 1
    assert not {"one_task_dask", "scheduler_dask", "map_ray"} & set(main.of_engine(where))
    assert {"map_dask", "million_dask", FAN_OUT} <= set(main.of_engine(where))


@MEASURES
@pytest.mark.ray
@pytest.mark.timeout(180)
def test_ray_rows(tmp_path: Path) -> None:
    samples = run(tmp_path / "figures.json", "--only", "chains_ray", seconds=170)
    assert [s["side"] for s in samples] == ["ours", "peer"]
    check(samples)


def test_profile_finds_processes_by_modules_that_exist() -> None:
    """A command line names the module that its process runs; one that was moved would count as another part."""
    ours = [word for word in profile.PROCESSES if word.startswith("anabranch.")]
    assert "anabranch.runners.process.worker" in ours
    assert [word for word in ours if importlib.util.find_spec(word) is None] == []


@MEASURES
def test_profile_shares_out_the_time() -> None:
    code, told = said("profile", "--quick", "--runners", "processes", "--work", "map", seconds=55)
    assert code == 0, told
    spent = {line.split(None, 1)[1]: float(line.split()[0]) for line in told.splitlines() if line[:2] == "  "}
    assert spent["worker processes"] > 0
    assert spent["driver: runner (wire)"] > 0
    assert {profile.thread_part("anabranch-1"), profile.thread_part("MainThread")} == {
        "worker threads",
        "driver: your thread",
    }


def test_who_was_stopped_is_not_tried_with_more(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def take(name: str, side: str, *_: object) -> Sample:
        asked.append(f"{side} {name}")
        figures = {"rate": 100.0}
        return (
            Sample(name, side, 1.0, error="stopped after 1 s") if side == "loop" else Sample(name, side, 1.0, figures)
        )

    monkeypatch.setattr(plan, "take", take)
    going = plan.Plan((BY_NAME["loop"], BY_NAME["threadpool"]), (10, 1_000, 100_000), seconds=10)
    samples = list(going.run(FAN_OUT))
    assert asked == ["loop fan_out@10", "threadpool fan_out@10", "threadpool fan_out@1000"]
    assert [plan.skipped(s) for s in samples] == [False, False, True, False, True, True]


def test_a_failed_side_is_no_verdict_of_ours() -> None:
    row = find("chains_ray")
    ours = Sample(row.name, "ours", 1.0, {"us_each": 10.0, "first_us": 12.0}, 0.02)
    alone, _ = judge(row, [ours, Sample(row.name, "peer", 1.0, error="exit 1: a | b")], 0.02)
    assert alone.word == "MISS"  # a bar that is a ratio does not hold by itself
    beside, _ = judge(row, [ours, Sample(row.name, "peer", 1.0, {"us_each": 20.0, "first_us": 30.0}, 0.02)], 0.02)
    assert (beside.word, beside.ratio) == ("pass", 0.5)
    assert tables.last_words(alone.error) == "b"


def test_document_and_plots_come_from_a_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(plots, "FOLDER", tmp_path)
    written = tmp_path / "figures.json"
    journal = Journal(report.about(False, 1, 120.0, False), written)
    for n, rate in ((1_000, 5e4), (10_000, 2e5)):
        figures = {"rate": rate, "seconds": n / rate, "driver_mb": 0.0, "tree_mb": 1.0}
        journal.add(Sample(f"{FAN_OUT}@{n}", "ours_threads", 1.0, figures, 0.02))
    journal.add(Sample("metg_threads", "ours", 1.0, {"efficiency_at_500us": 0.9, "metg_us": 20.0}, 0.02))
    text = report.document(Journal.read([written]), report.verdicts(journal))
    assert "| anabranch, threads | 50k/s, 0 MB | 200k/s, 0 MB |" in text
    for name in ("throughput", "memory", "efficiency"):
        assert f"(benchmarks/{name}.svg)" in text
        assert "anabranch, threads" in (tmp_path / f"{name}.svg").read_text()


def test_a_page_of_several_journals_names_the_commits_of_all(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("first", "second", "third")]
    for path, commit in zip(paths, (" (0123abc)", " (4567def)", " (0123abc)"), strict=True):
        journal = Journal({"commit": commit, "quick": False, "limit": 10.0 if "4567" in commit else 120.0}, path)
        row = "fan_out@1000" if "4567" in commit else "call"
        journal.add(Sample(row, "ours", 1.0, {"us_each": 30.0}, 0.02))
    read = Journal.read(paths)
    assert read.about["limit"] == 10.0, "that of the fan-out"
    assert read.about["commit"] == " (0123abc, 4567def)"
    assert sorted(sample.row for sample in read.samples) == ["call", "fan_out@1000"]


def test_patterns_of_both_kinds_give_what_plain_calls_give() -> None:
    plain = Engine(lambda function, *values: function(*values), list, lambda value: value, None)
    figures = patterns.measured(lambda graph: plain.gather(patterns.walk(graph, plain.submit)), True)
    assert set(figures) == {f"{name}_us" for name in patterns.PATTERNS}
    assert sum(map(len, patterns.tree(8, 6))) == 1 + 2 + 4 + 8 + 4 + 2 + 1


def test_every_registered_row_is_there() -> None:
    for name in NAMES:
        assert find(name).name == name


@pytest.mark.parametrize("options", [("--only", "nonsense"), ("--systems", "nonsense")])
def test_unknown_row_or_system_is_named(options: tuple[str, str]) -> None:
    code, told = said(*options, seconds=30)
    assert code == 2
    assert "nonsense" in told
