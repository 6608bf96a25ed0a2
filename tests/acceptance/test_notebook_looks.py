"""How objects look as the last line of a cell, in a real browser: seen, read and opened, in light and in dark."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import nbformat
import pytest
from nbclient import NotebookClient

from anabranch import Future, FutureList, InlineRunner, flow, task
from anabranch.core.reports import ErrorInfo
from anabranch.core.showing import Facts, Shown
from anabranch.core.states import CACHED, CANCELLED, COMPLETED, CRASHED, FAILED, PENDING, RUNNING, Failed
from anabranch.core.task_graphs import TaskNode
from tests.unit.display.shown import NASTY, a_map, shown

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Page

# A first use may install the browser. Jupyter's own deprecations are not ours.
pytestmark = [pytest.mark.timeout(300), pytest.mark.filterwarnings("default")]

THEMES = {"light": ("#ffffff", "rgba(0,0,0,0.87)"), "dark": ("#111111", "rgba(255,255,255,0.87)")}

# What is wrong with the cards of a page: pictures that do not load or are stretched, text that does not stand out from
# its ground, cards that are wider than they have room.
WRONG = """
async selector => {
    const wrong = [];
    const parts = color => (color.match(/[\\d.]+/g) || []).map(Number);
    const over = (top, below) => {
        const a = top[3] === undefined ? 1 : top[3];
        return [0, 1, 2].map(i => top[i] * a + below[i] * (1 - a));
    };
    const light = color => color.map(c => c / 255).map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
        .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
    const ground = node => {
        const chain = [];
        for (let at = node; at; at = at.parentElement) chain.unshift(parts(getComputedStyle(at).backgroundColor));
        return chain.reduce((below, color) => color.length ? over(color, below) : below, [255, 255, 255]);
    };
    const ink = (node, below) => {
        const color = parts(getComputedStyle(node).color);
        let alpha = color[3] === undefined ? 1 : color[3];
        for (let at = node; at; at = at.parentElement) alpha *= Number(getComputedStyle(at).opacity);
        return over([...color.slice(0, 3), alpha], below);
    };
    for (const card of document.querySelectorAll(selector)) {
        for (const image of card.querySelectorAll('img')) {
            await image.decode().catch(() => wrong.push(`not read: ${image.alt}`));
            if (image.width !== image.naturalWidth || image.height !== image.naturalHeight)
                wrong.push(`stretched: ${image.width} x ${image.height}`);
        }
        const texts = document.createTreeWalker(card, NodeFilter.SHOW_TEXT);
        while (texts.nextNode()) {
            const node = texts.currentNode.parentElement, below = ground(node);
            if (!texts.currentNode.data.trim() || node.tagName === 'A' || !node.getClientRects().length) continue;
            const [high, low] = [light(ink(node, below)), light(below)].sort((a, b) => b - a);
            if ((high + 0.05) / (low + 0.05) < 4.5) wrong.push(`not to be read: ${texts.currentNode.data}`);
        }
        if (card.scrollWidth > card.clientWidth) wrong.push(`too wide: ${card.innerText.slice(0, 40)}`);
    }
    return wrong;
}
"""


def cards() -> list[str]:
    """One card of each kind."""

    @task(retries=3, name="load <b>")
    def load(day: str) -> int:
        """Load one day."""
        return 3

    @flow
    def main(n: int = 3) -> int:
        return n

    graph = (TaskNode("load", "map", 1, {"Completed": 17, "Failed": 9}), TaskNode("sum", "submit", 1, {}, ("load",)))
    main._remember(Facts("flow run", "keen-puffin", "Completed", (("took", 3.1, "s"),), graph=graph))
    trace = "Traceback (most recent call last):\n" + 40 * f"  File {NASTY}, line 3, in {'long_' * 30}\n"
    every = [COMPLETED] * 900 + [CACHED] * 50 + [FAILED, CRASHED, CANCELLED] * 10 + [RUNNING] * 50 + [PENDING] * 300
    errors = {"_950": ErrorInfo("ValueError", f"{NASTY} {'word ' * 60}", trace)}
    futures, few = FutureList(a_map(every, "x" * 300, **errors)), FutureList(a_map(every[940:960]))
    runs: list[Shown] = [futures, few, futures.states, Future(futures._map, 950), Failed(NASTY)]
    return [shown(one) for one in (*runs, load, main, InlineRunner())]


@pytest.mark.sampled(2, "a browser for each")
@pytest.mark.parametrize("theme", THEMES)
def test_cards_are_seen_and_read_in_a_browser(page: Page, theme: str) -> None:
    paper, ink = THEMES[theme]
    body = "".join(f'<div class="card">{card}</div>' for card in cards())
    page.set_content(f'<!doctype html><body style="background:{paper};color:{ink};font:14px sans-serif">{body}</body>')
    assert page.evaluate(WRONG, ".card") == []
    first = page.locator("details").first
    assert not first.locator("pre").is_visible()
    first.locator("summary").click()
    assert first.locator("pre").is_visible()
    assert NASTY in first.locator("pre").inner_text()
    assert page.evaluate(WRONG, ".card") == []
    assert page.locator("script").count() == 0


CELLS = [
    """
from anabranch import *

@task(retries=1)
def load(day):
    "Load one day."
    if day % 13 == 5:
        raise ValueError(f"odd {day} <&'")
    return bytes(2000)

@task
def total(given):
    return sum(map(len, given))

@flow
def survey(n=40):
    "All days."
    return total.submit([f for f in load.map(range(n)) if f.wait().is_completed()]).result()
""",
    "load.map(range(1000)).wait()",
    "load",
    "survey",
    "survey(); survey",
    "ThreadRunner(4)",
    "with ProcessRunner(2) as runner:\n    load.map(range(10)).wait()\n    display(runner)\nrunner",
    "days = total.map([[b'1']] * 100_000)\ndays.wait()\ndays",
    "SlurmCluster(cores=8, memory='16 GiB')",
    "with DaskRunner(n_workers=1) as runner:\n    load.map(range(10)).wait()\n    display(runner)",
]


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A notebook of these cells after a run in a kernel of this very Python, with a home of its own."""
    home: Path = tmp_path_factory.mktemp("home")
    spec = home / "kernels" / "anabranch-test"
    spec.mkdir(parents=True)
    start = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (spec / "kernel.json").write_text(json.dumps({"argv": start, "display_name": "test", "language": "python"}))
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])  # type: ignore[no-untyped-call]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_PATH", str(home))
        patch.setenv("ANABRANCH_HOME", str(home / "anabranch"))
        patch.setenv("IPYTHONDIR", str(home / "ipython"))
        resources = {"metadata": {"path": str(home)}}
        client = NotebookClient(notebook, timeout=120, kernel_name="anabranch-test", resources=resources)
        return client.execute()


@pytest.mark.nightly("a kernel with Dask in it, and a page of JupyterLab for each theme; by day the cards alone")
@pytest.mark.parametrize("theme", THEMES)
def test_a_rendered_notebook_is_seen_and_read(page: Page, executed: Any, tmp_path: Path, theme: str) -> None:
    from nbconvert import HTMLExporter

    body, _ = HTMLExporter(template_name="lab", theme=theme).from_notebook_node(executed)
    file = tmp_path / "notebook.html"
    file.write_text(body, encoding="utf-8")
    page.route("**/*", lambda route: route.continue_() if route.request.url.startswith("file:") else route.abort())
    page.goto(file.as_uri())
    shown = page.locator(".jp-RenderedHTML > div")
    assert shown.count() >= len(CELLS)
    for details in page.locator("details").all():
        details.locator("summary").first.click()
    assert page.evaluate(WRONG, ".jp-RenderedHTML > div") == []
    text = page.locator("body").inner_text()
    for part in "923 completed", "odd 5 <&'", "last run ", "ProcessRunner closed", "100,000 completed", "8 to a job":
        assert part in text
