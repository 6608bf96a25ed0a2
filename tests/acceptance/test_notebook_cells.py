"""Cells of a notebook, in a real kernel: what they show, and that it is in the cell that it belongs to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.acceptance.kernels import Kernel

if TYPE_CHECKING:
    from collections.abc import Iterator

# Jupyter's own deprecations are not ours.
pytestmark = [pytest.mark.timeout(300), pytest.mark.filterwarnings("default")]


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    with Kernel(tmp_path_factory.mktemp("kernel")) as kernel:
        yield kernel


ODD = """
from anabranch import flow, task

@task(retries=1)
def odd(x):
    if x % 20 == 0:
        raise ValueError(f"odd {x}")
    return x
"""


# -- failures of a map --------------------------------------------------------------------------------


def test_a_hundred_thousand_items_of_which_one_in_twenty_fails_are_a_few_lines(kernel: Kernel) -> None:
    kernel.run(ODD)
    cell = kernel.run("states = odd.map(range(100_000)).wait()")
    after = kernel.run("print('next')")
    assert cell.error == ""
    assert len(cell.lines) <= 12, cell.lines
    (group,) = [line for line in cell.lines if "Map 'odd'" in line]
    assert group.endswith(
        "5,000 of 100,000 failed, 5,000 were tried again: 5,000 x ValueError, e.g. odd 0 (first at item 0)"
    )
    assert after.lines == ["next"]
