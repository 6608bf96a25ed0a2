"""Reports of real runs on processes: their size, whether they are whole, and that their shares add up."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import ProcessRunner, flow, settings, task
from anabranch import report as report_of
from anabranch import session as sessions
from anabranch.core.errors import RecordRefused
from anabranch.session import Session
from tests.integration.commands import alone, run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from anabranch.diagnosis.reports import Report

pytestmark = pytest.mark.sampled(3, "reports of thousands of items")
MILLION = 1_000_000
FIRST_PAINT = """
new Promise(done => {
  const look = () => {
    const found = performance.getEntriesByName("first-contentful-paint")[0];
    found ? done(found.startTime) : setTimeout(look, 10);
  };
  look();
})
"""


def odd(x: int) -> int:
    if x % 100 == 17:
        raise ValueError(f"item {x} is odd")
    return x + 1


def nap(x: int) -> int:
    time.sleep(0.005)
    return x


@flow
def mapped(n: int, naps: int = 0) -> int:
    first = task(odd).map(range(n))
    first.wait()
    return len(first.failed()) + sum(task(nap).map(range(naps)).result())


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home with a record in it, which the command finds too."""
    alone(tmp_path, monkeypatch)
    where = tmp_path / "home"
    with sessions.in_place(Session(settings.load({}, home=where, progress=False))):
        yield where


def ran(n: int, naps: int = 0) -> Report:
    with ProcessRunner(2) as runner:
        assert mapped.with_options(runner=runner)(n, naps, return_state=True).is_completed()
    return report_of()


def test_a_driver_that_may_list_no_runs_reports_on_its_own_run(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any, **__: Any) -> Any:
        raise RecordRefused("flow_runs is for people")

    @flow
    def reporting() -> list[str]:
        return [map.label for map in report_of()._figures.maps] if task(nap).map(range(3)).result() else []

    monkeypatch.setattr(type(sessions.current().records), "flow_runs", refused)
    assert reporting() == ["nap"]
    with pytest.raises(RecordRefused):
        report_of()  # outside of flows no run is meant


def test_a_run_of_many_items_has_a_small_page_and_shares_that_add_up(home: Path) -> None:
    """The daily slice of the nightly million, without a browser."""
    found = ran(20_000, 200)
    shares = found.shares
    assert sum(shares.values()) == pytest.approx(1.0, abs=0.05)
    assert shares["other"] <= 0.05, shares
    all_of_it = found._figures.slots * found._figures.axis.seconds
    assert shares["your code"] * all_of_it >= 200 * 0.005, "what slept is there at least"
    page = found.html()
    assert len(page.encode()) < 300_000
    assert "19,800 completed, 200 failed" in page
    assert found._figures.maps[0].durations.spreads[0].count == 19_800


def test_the_command_writes_it(home: Path, tmp_path: Path) -> None:
    ran(500)
    name = report_of()._figures.run.name
    target = tmp_path / "new" / "report.html"
    done = run("run", "show", name, "--html", str(target))
    assert "report.html" in done.stdout
    assert "open it in a browser" in done.stdout
    assert target.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert [path.name for path in target.parent.iterdir()] == ["report.html"], "no draft is left"
    shown: dict[str, Any] = json.loads(run("run", "show", name, "--json").stdout)
    assert shown["maps"][0]["slots"] == 2


@task
def loaded(x: int) -> int:
    return x


@task
def cleaned(x: int) -> int:
    return x + 1


@task
def summed(xs: list[int]) -> int:
    return sum(xs)


@flow
def submitted(n: int) -> int:
    first = [loaded.submit(x) for x in range(n)]
    return summed.submit([cleaned.submit(x) for x in first]).result()


def test_single_runs_are_nodes_by_themselves_or_in_groups(home: Path) -> None:
    submitted(3)
    page = report_of().html()
    assert page.count('class="box"') == 7
    assert page.count('class="arrow"') == 6
    submitted(100)
    found = report_of()
    assert [(node.name, node.what) for node in found._figures.graph] == [
        ("loaded", "100 runs"), ("cleaned", "100 runs"), ("summed", "1 run"),
    ]  # fmt: skip
    assert found.html().count('class="arrow"') == 2
    assert "cleaned</b>" in found._repr_html_()
    shown = run("run", "show", found._figures.run.name).stdout
    told = [line.split() for line in shown.partition("what reads what")[2].splitlines()[1:4]]
    assert told == [["loaded", "100", "runs"], ["cleaned", "100", "runs", "loaded"], ["summed", "1", "run", "cleaned"]]


def test_the_command_draws_a_moment_of_a_large_run_item_by_item(home: Path, tmp_path: Path) -> None:
    name = ran(2_000, 20)._figures.run.name
    middle = report_of()._figures.axis.seconds
    target = tmp_path / "moment.html"
    words = ("run", "show", name, "--html", str(target), "--between")
    run(*words, "0", str(middle))
    page = target.read_text(encoding="utf-8")
    assert page.count('class="mark"') == 2_020
    assert "odd[17]: Failed" in page
    assert "odd[18]: Completed" in page
    assert "before the second" in run(*words, "2", "1", code=2).stderr
    assert "give --html FILE too" in run("run", "show", name, "--between", "1", "2", code=2).stderr


def test_it_says_what_is_wrong(home: Path, tmp_path: Path) -> None:
    from anabranch.errors import OptionError, RecordsError

    with pytest.raises(RecordsError, match="no flow run in the record yet"):
        report_of()
    with pytest.raises(RecordsError, match="no flow run 'nobody'"):
        report_of("nobody")
    with pytest.raises(OptionError, match="got 7"):
        report_of(7)
    ran(10)
    (tmp_path / "file").write_text("")
    done = run("run", "show", report_of()._figures.run.id, "--html", str(tmp_path / "file" / "x.html"), code=1)
    assert "the report cannot be written to" in done.stderr


@pytest.mark.nightly("a million items, and a browser; by day 20,000 without one")
def test_the_page_of_a_million_items_opens_at_once(home: Path, tmp_path: Path, chromium: str) -> None:
    from tests.beds import browser_page

    target = ran(MILLION).write(tmp_path / "report.html")
    assert target.stat().st_size < 2_000_000
    with browser_page(chromium) as page:
        told: list[str] = []
        page.on("console", lambda line: told.append(line.text))
        page.on("pageerror", lambda error: told.append(str(error)))
        paints = []
        for _ in range(3):
            page.goto(target.as_uri())
            paints.append(page.evaluate(FIRST_PAINT))
        assert min(paints) < 1000, f"first paint in ms: {paints}"
        assert told == []
        assert "990,000 completed" in page.inner_text("body")


def test_a_map_outside_of_flows_has_a_report_of_its_own(home: Path) -> None:
    first, other = task(odd).map(range(200)), task(nap).map(range(5))
    single = task(nap).submit(1)
    first.wait(), other.wait(), single.wait()
    page = report_of(first).html()
    assert "map outside of flows" in page
    assert "198 completed, 2 failed" in page
    assert "2 x ValueError" in page
    assert "item 17 is odd" in page
    assert ">nap<" not in page
    assert "2 failed" in repr(report_of(first[17]))
    assert "single runs outside of flows" in report_of(single).html()
    assert sum(report_of(first).shares.values()) == pytest.approx(1, abs=0.05)


def test_a_future_stands_for_its_flow_run_and_subflows_are_named(home: Path) -> None:
    @flow(name="below")
    def below() -> int:
        return task(nap).submit(1).result()

    @flow(name="above")
    def above() -> str:
        kept.append(task(nap).map(range(3)))
        below()
        return "done"

    kept: list[Any] = []
    above()
    runs = {row.flow: row for row in sessions.current().records.flow_runs()}
    whole = report_of(kept[0]).html()
    assert f"{runs['below'].name} (below)" in whole
    assert f"{runs['above'].name} (above)" in report_of(runs["below"].id).html()
