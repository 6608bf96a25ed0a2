"""Which tests `make test` leaves out for the night: `make test-all` runs all of them. docs/testing.md has the list.

A test that costs much more than it is likely to find between two nights has a mark:

- `@pytest.mark.nightly("why")` leaves it out by day;
- `@pytest.mark.sampled(n, "why")` leaves out all but one in `n` of its cases by day, and each day keeps other ones;
  with `whole=True` all cases of a file have one day in `n` together, for files whose cases share what is dear.

Tests of drawn examples (hypothesis) draw a quarter as many by day, and other ones in each run.

The sample is a function of the date, so that all runs of one day are alike; `--day` repeats another day's.
Each file has a first day of its own: files of one dear test each do not all come on the same day.
"""

from __future__ import annotations

import datetime
from collections import Counter
from typing import TYPE_CHECKING
from zlib import crc32

import hypothesis
import pytest

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

MARKS = (
    "nightly(why): left out by `make test`, run by `make test-all`",
    "sampled(n, why, whole=False): `make test` runs one in n of its cases, another one each day, or with `whole` all "
    "cases of a file on one day in n; `make test-all` runs all",
)

# How long an example takes says how busy the machine is, and nothing of what is tested.
# To explain an example traces each line of it: a state machine would be at that when its test's time is over, and the
# failure itself would stay untold.
PHASES = [phase for phase in hypothesis.Phase if phase is not hypothesis.Phase.explain]
hypothesis.settings.register_profile("night", deadline=None, phases=PHASES)
hypothesis.settings.register_profile("day", deadline=None, phases=PHASES, max_examples=25, derandomize=False)


def pytest_addoption(parser: pytest.Parser) -> None:
    today = datetime.date.today().toordinal()
    parser.addoption("--day", type=int, default=today, help="whose sample of the sampled tests to run (a number)")


def pytest_configure(config: pytest.Config) -> None:
    for mark in MARKS:
        config.addinivalue_line("markers", mark)
    hypothesis.settings.load_profile(profile(config.option.markexpr))


def profile(marks: str) -> str:
    """The profile of hypothesis for a run of the tests with these marks."""
    return "day" if "not nightly" in marks else "night"


def pytest_report_header(config: pytest.Config) -> str:
    return f"sampled tests: those of --day {config.getoption('day')}"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what a sample leaves out before pytest reads the marks."""
    for item in items:
        for mark in (*item.iter_markers("nightly"), *item.iter_markers("sampled")):
            if not (mark.args and isinstance(mark.args[-1], str)):
                raise pytest.UsageError(f"{item.nodeid}: the mark {mark.name} says why")
    for item in left_out(items, config.getoption("day")):
        item.add_marker(pytest.mark.nightly("not in the sample of this day"))


def left_out(items: Sequence[pytest.Item], day: int) -> list[pytest.Item]:
    """The cases of sampled tests that are not in this day's sample.

    The cases of a file are counted together: tests of one case each then have their days one after another. Those
    that are marked nightly have no turn, else a day's turn could fall on them alone. Cases of a file that are sampled
    as a whole have one turn together.
    """
    seen: Counter[tuple[Path, int]] = Counter()
    out = []
    for item in items:
        mark = item.get_closest_marker("sampled")
        if mark is not None and item.get_closest_marker("nightly") is None:
            series = (item.path, mark.args[0])
            if (seen[series] + crc32(item.path.name.encode()) + day) % mark.args[0]:
                out.append(item)
            seen[series] += not mark.kwargs.get("whole", False)
    return out
