"""`anabranch init [FOLDER]`: a small project that runs at once: a flow, its test, a notebook, pyproject.toml."""

from __future__ import annotations

import json
import re
from pathlib import Path

import click

FLOW = '''"""Estimates pi from random points: one task for each batch of points, all of them at once."""

from __future__ import annotations

import random

from anabranch import flow, get_run_logger, task


@task(retries=1)
def inside(batch: int, points: int) -> int:
    """Count the points of a batch that fall into the quarter of a circle."""
    numbers = random.Random(batch)  # a seed of its own: the same numbers each time, wherever it runs
    return sum(numbers.random() ** 2 + numbers.random() ** 2 <= 1 for _ in range(points))


@flow
def estimate(batches: int = 100, points: int = 10_000) -> float:
    """Return an estimate of pi; other runners: `anabranch run flow.py --runner process`."""
    hits = inside.map(range(batches), points)
    pi = 4 * sum(hits.result()) / (batches * points)
    get_run_logger().info("pi is about %.4f", pi)
    return pi


if __name__ == "__main__":
    print(estimate())
'''
TEST = '''"""Tests of the flow: `python -m pytest` in this folder."""

from flow import estimate, inside


def test_one_batch() -> None:
    assert 0 <= inside.fn(1, 100) <= 100  # the plain function, without a run


def test_the_estimate() -> None:
    assert abs(estimate(batches=20, points=1_000) - 3.14) < 0.1
'''
PROJECT = """[project]
name = "{name}"
version = "0.1.0"
requires-python = ">=3.11"
dependencies = ["anabranch"]

[project.optional-dependencies]
dev = ["pytest", "anabranch[notebook]"]

[tool.pytest.ini_options]
pythonpath = ["."]
"""
READ_ME = """# {name}

```console
$ anabranch run flow.py -p batches=200      # runs the flow; `anabranch runs` lists what has run
$ python -m pytest                          # tests it
$ jupyter lab flow.ipynb                    # the same in a notebook
$ anabranch watch                           # shows runs as they go on (pip install 'anabranch[watch]')
```
"""
CELLS = [
    ("markdown", "# Estimate pi\n\nEach cell runs at once; `anabranch runs` lists these runs too."),
    ("code", "from flow import estimate, inside"),
    ("code", "hits = inside.map(range(50), 10_000)  # 50 tasks, in the background\nhits"),
    ("code", "4 * sum(hits.result()) / (50 * 10_000)"),
    ("code", "estimate(batches=20)  # the whole flow"),
]


@click.command("init")
@click.argument("folder", default=".", type=click.Path(file_okay=False, path_type=Path))
def command(folder: Path) -> None:
    """Write a small project into FOLDER (this one unless given): a flow, its test, a notebook, pyproject.toml.

    It runs as it is: `anabranch run flow.py`. A file that is there already is never written over.
    """
    files = project(_name(folder))
    there = [name for name in files if (folder / name).exists()]
    if there:
        raise click.ClickException(f"{folder / there[0]} is there already; nothing was written. Choose another folder.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            with open(folder / name, "x", encoding="utf-8") as file:
                file.write(text)
    except OSError as error:
        raise click.ClickException(f"Cannot write to {folder}: {error.strerror or error}") from None
    click.echo(f"wrote {', '.join(files)} to {folder}")
    inside = "" if folder.resolve() == Path.cwd() else f"cd {folder} && "
    click.echo(f"next: {inside}anabranch run flow.py")


def project(name: str) -> dict[str, str]:
    """Return the texts of the files of a project, by name."""
    return {
        "flow.py": FLOW,
        "test_flow.py": TEST,
        "flow.ipynb": json.dumps(_notebook(), indent=1) + "\n",
        "pyproject.toml": PROJECT.format(name=name),
        "README.md": READ_ME.format(name=name),
    }


def _name(folder: Path) -> str:
    """Return a name for the project, as Python's packages may have."""
    return re.sub(r"[^a-z0-9]+", "-", folder.resolve().name.lower()).strip("-") or "flows"


def _notebook() -> dict[str, object]:
    cells: list[dict[str, object]] = []
    for number, (kind, text) in enumerate(CELLS):
        cell: dict[str, object] = {"cell_type": kind, "id": f"cell-{number}", "metadata": {}}
        cell["source"] = text.splitlines(keepends=True)
        if kind == "code":
            cell |= {"execution_count": None, "outputs": []}
        cells.append(cell)
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
