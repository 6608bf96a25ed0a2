"""The pages for Kubernetes, typed on a real API server in page order: files, commands with what they show, programs.

Pods of the bed are processes, so what an image would have is put in by `Bed.typed`: the path of this checkout, of the
flow's file, and of the database. Its server is older than 1.26, which `submit` asks about. Nothing else is changed.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.docs.blocks import PYTHON, ROOT, SHELLS, blocks, commands, first_word, missing
from tests.docs.not_run import NOT_RUN

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.docs.blocks import Block, Command
    from tests.integration.helm.tools import Tools

pytestmark = [pytest.mark.kubernetes, pytest.mark.dask, pytest.mark.timeout(1500)]
NEEDS = "needs Kubernetes"
PAGES = sorted(page for page, reasons in NOT_RUN.items() if NEEDS in reasons)
PROGRAMS = {"anabranch", "helm", "kubectl"}
ONCE = "--option=twice=allowed"
# Of runs, as their lines and their jobs have it.
NAME = re.compile(r"(?<=run )[a-z]+-[a-z]+\b|(?<=run ')[a-z]+-[a-z]+\b|(?<=survey-)[a-z]+-[a-z]+-[0-9a-f]{6}\b")
JOB = re.compile(r"rivers-anabranch-survey-[0-9a-f]{8}")
LEFT_OUT = {
    "pip": "installs",
    "RayOnKubernetes": "needs KubeRay: tests/integration/kubernetes_cluster/test_ray.py plays its part",
    "study.with_options": "its flow and table are those of the page's first program: typed below with ours",
}


class Bed:
    """A reader with a login, helm, kubectl, and a folder in which the page's files lie."""

    def __init__(self, folder: Path, namespace: str, database: str, tools: Tools) -> None:
        self.folder, self._namespace, self._database, self._tools = folder, namespace, database, tools
        (folder / "helm").symlink_to(ROOT / "helm")
        (folder / "bed.yaml").write_text(json.dumps({"extraEnv": [{"name": "PYTHONPATH", "value": str(ROOT)}]}))
        self.program: list[str] = []

    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in self._tools.variables.items() if not name.startswith("ANABRANCH_")}
        path = f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"
        ours = {"ANABRANCH_HOME": str(self.folder / "home"), "PYTHONPATH": str(ROOT), "NO_COLOR": "1", "PATH": path}
        return {**kept, **ours}

    def typed(self, text: str) -> str:
        """Return a text of the page with what stands for the image, and the addresses of the bed."""
        text = text.replace("/opt/survey.py", f"{self.folder}/survey.py").replace(
            "default.svc", f"{self._namespace}.svc"
        )
        text = re.sub(r"postgresql://(rivers\S+(?=')|\.\.\.)", lambda _: self._database, text)
        text = re.sub(r'(KubernetesCluster\(image="[^"]+")', rf'\1, env={{"PYTHONPATH": "{ROOT}"}}', text)
        text = text.replace("maximum=20", "maximum=2")  # pods are processes of one machine
        if text.startswith(("helm install", "helm upgrade")):
            text += " -f bed.yaml --timeout 240s"
        if text.startswith("anabranch submit"):
            text += f" --option=env=PYTHONPATH={ROOT} {ONCE}"
        return JOB.sub(lambda _: self._job(), text)

    def _job(self) -> str:
        return self.says("kubectl get jobs -l app.kubernetes.io/component=driver -o name").rpartition("/")[2].strip()

    def says(self, command: str) -> str:
        done = subprocess.run(
            ["bash", "-c", command], cwd=self.folder, env=self.environment(), text=True, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=400,
        )  # fmt: skip
        assert done.returncode == 0, f"`{command}` ended with {done.returncode}:\n{done.stdout}\n{self.about()}"
        return done.stdout

    def about(self) -> str:
        words = ["kubectl", "get", "pods,jobs,events", "-n", self._namespace]
        return subprocess.run(words, env=self.environment(), text=True, capture_output=True).stdout[-4000:]

    def runs(self, one: Command, where: str) -> None:
        assert first_word(one.text) in PROGRAMS, f"{where}: {one.text}"
        printed = self.says(self.typed(one.text))
        lacks = missing([self.plain(self.typed(line)) for line in one.shown], self.plain(printed))
        assert not lacks, f"{where}: the page shows {lacks!r} of `{one.text}`, which printed:\n{printed}"

    def plain(self, text: str) -> str:
        """Return a text without what differs between two submits: names of runs, and the namespace."""
        return NAME.sub("NAME", text.replace(f"{self._namespace}/", "lab/"))

    def executes(self, block: Block) -> str:
        """Run a block of Python as the last part of the page's program."""
        text = self.typed("\n".join([*self.program, block.text]))
        (self.folder / "page.py").write_text(text)
        return self.says(f"{sys.executable} page.py")


@pytest.fixture
def bed(dask_operator: str, postgres_address: str, tools: Tools, tmp_path: Path) -> Iterator[Bed]:
    folder = tmp_path / "page"
    folder.mkdir()
    made = Bed(folder, dask_operator, postgres_address, tools)
    yield made
    made.says("helm uninstall rivers --ignore-not-found --wait --timeout 60s")


def left_out(text: str) -> bool:
    return any(word in text for word in LEFT_OUT)


@pytest.mark.nightly("a release, a cluster of the operator and a job, one after the other")
def test_the_page_of_kubernetes_is_typed_from_top_to_end(bed: Bed) -> None:
    page = "docs/kubernetes.md"
    did: Counter[str] = Counter()
    for block in blocks((ROOT / page).read_text(encoding="utf-8")):
        where = f"{page}:{block.line}"
        if block.title:
            (bed.folder / block.title).write_text(bed.typed(block.text))
            did["file"] += 1
            if block.title == "survey.py":
                bed.program.append(block.text)
        elif block.reason == NEEDS and block.language in PYTHON:
            assert "100000 samples: 333328333350000" in bed.executes(block), where
            did["python"] += 1
        elif block.reason == NEEDS and block.language in SHELLS:
            for one in commands(block):
                bed.runs(one, where)
                did["command"] += 1
    assert did == {"file": 2, "python": 2, "command": 9}
    recorded = json.loads(bed.says(bed.typed("ANABRANCH_RECORDS=postgresql://... anabranch runs --json")))["runs"]
    assert [(one["flow"], one["state"]) for one in recorded] == [("survey", "Completed")]


STUDY = """
from anabranch import flow, task

@task
def plus(x, table):
    return x + table

@flow
def study(n, table):
    return sum(plus.map(range(n), table).result())

table = 1
"""


@pytest.mark.nightly("as above")
def test_what_other_pages_have_of_kubernetes_is_typed(bed: Bed) -> None:
    (bed.folder / "survey.py").write_text(FLOW)
    typed = 0
    for page in ("docs/submit.md", "docs/clusters.md"):
        made: list[str] = [STUDY]
        for block in blocks((ROOT / page).read_text(encoding="utf-8")):
            if "cluster = KubernetesCluster(image=" in block.text and block.language in PYTHON:
                made.append(block.text)
            if block.reason != NEEDS:
                continue
            if block.language in PYTHON and "RayOnKubernetes" not in block.text:
                bed.program = made
                bed.executes(block)
                typed += 1
            for one in commands(block) if block.language in SHELLS else ():
                if not left_out(one.text):
                    bed.runs(one, f"{page}:{block.line}")
                    typed += 1
    assert typed == 2


FLOW = """
from anabranch import flow

@flow(log_prints=True)
def survey(folder: str):
    print("in", folder)
"""


def test_what_is_left_out_of_the_pages_is_known() -> None:
    """Each block that needs Kubernetes is typed above, or named with the reason."""
    assert PAGES == ["docs/clusters.md", "docs/kubernetes.md", "docs/submit.md"]
    marked = {
        page: [block for block in blocks((ROOT / page).read_text(encoding="utf-8")) if block.reason == NEEDS]
        for page in PAGES
    }
    assert all(block.runs for found in marked.values() for block in found)
    assert not any(left_out(block.text) for block in marked["docs/kubernetes.md"])
    assert sum("RayOnKubernetes" in block.text for block in marked["docs/clusters.md"]) == 1
