"""A picture of the contest: how many times better or worse than the raw engine, a bar a row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anabranch.bench.contest import ROWS
from anabranch.core.errors import MissingExtraError

if TYPE_CHECKING:
    from pathlib import Path

    from anabranch.bench.contest import Outcome
    from anabranch.bench.places import Place

BETTER, WORSE = "#0072B2", "#D55E00"


def pyplot() -> Any:
    """Return matplotlib's pyplot, which needs no display; raises MissingExtraError without it."""
    try:
        import matplotlib
    except ImportError:
        raise MissingExtraError("--plot needs matplotlib: pip install 'anabranch[plots]'") from None
    matplotlib.use("Agg")
    from matplotlib import pyplot as found

    return found


def draw(outcome: Outcome, place: Place, told: dict[str, str], file: Path) -> None:
    """Write the picture.

    Args:
        told: by row, what it is and the figures of both sides, in two lines.
        file: its ending names the format: .png, .svg, .pdf.
    """
    plt = pyplot()
    figure, axes = plt.subplots(figsize=(8, 0.8 * len(ROWS) + 1.6), layout="constrained")
    rows = list(reversed(ROWS))
    ratios = [outcome.ratio(row) for row in rows]
    axes.barh(range(len(rows)), [ratio - 1 for ratio in ratios], left=1, height=0.55,
              color=[BETTER if ratio >= 1 else WORSE for ratio in ratios])  # fmt: skip
    axes.set_xscale("log")
    axes.set_xlim(min(0.5, *ratios) * 0.7, max(2.0, *ratios) * 2)
    axes.axvline(1, color="#555555", linewidth=1)
    axes.set_yticks(range(len(rows)), [told[row.name] for row in rows], fontsize=9)
    for at, ratio in enumerate(ratios):
        axes.text(max(ratio, 1) * 1.08, at, f"{ratio:.0f}x" if ratio >= 10 else f"{ratio:.2f}x", va="center")
    axes.set_xlabel(f"times better than {place.raw}")
    title = f"anabranch on {place.kind}, {place.workers} workers: medians of {outcome.rounds} rounds"
    axes.set_title(title, fontsize=11, loc="left")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}x")
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    figure.savefig(file, dpi=150)
    plt.close(figure)
