"""What a row of the table is: sides that measure, and bars their figures must clear."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

Figures = dict[str, float]
Side = Callable[[bool], Figures]  # takes `quick`, runs in a fresh process, returns its figures


@dataclass(frozen=True)
class Bar:
    """What one figure must reach. A bar without limits is only reported.

    Args:
        figure: the figure's name in what the sides return.
        unit: shown behind it.
        at_least, at_most: limits of the figure itself.
        ratio_at_least, ratio_at_most: limits of the figure divided by the peer's.
        peer_when_set: what the peer took on the machine that `at_most` was set on. Where it takes longer than
            there, the machine is slow in this very thing, and `at_most` counts in multiples of the peer.
    """

    figure: str
    unit: str = ""
    at_least: float | None = None
    at_most: float | None = None
    ratio_at_least: float | None = None
    ratio_at_most: float | None = None
    peer_when_set: float | None = None

    def text(self) -> str:
        parts = []
        for sign, limit, ending in (
            (">=", self.at_least, f" {self.unit}".rstrip()),
            ("<=", self.at_most, f" {self.unit}".rstrip()),
            (">=", self.ratio_at_least, "x peer"),
            ("<=", self.ratio_at_most, "x peer"),
        ):
            if limit is not None:
                parts.append(f"{sign} {short(limit)}{ending}")
        if self.peer_when_set is not None and self.at_most is not None:
            parts.append(f"or {short(self.at_most / self.peer_when_set)}x a slow peer")
        return ", ".join(parts) or "reported"

    def absolute_holds(self, ours: float) -> bool | None:
        """Whether the figure itself is good enough; None when nothing is asked of it."""
        if self.at_least is None and self.at_most is None:
            return None
        return (self.at_least is None or ours >= self.at_least) and (self.at_most is None or ours <= self.at_most)

    def scaled_holds(self, ours: float, peer: float | None, noise: float) -> bool:
        """Whether the figure is good enough in multiples of a peer that is itself slower than when the bar was set."""
        if peer is None or self.peer_when_set is None or self.at_most is None or peer <= noise * self.peer_when_set:
            return False
        return ours / peer <= self.at_most / self.peer_when_set

    def ratio_holds(self, ratio: float | None) -> bool | None:
        """Whether the figure is good enough beside the peer's; None when nothing is asked, or no peer ran."""
        if ratio is None or (self.ratio_at_least is None and self.ratio_at_most is None):
            return None
        return (self.ratio_at_least is None or ratio >= self.ratio_at_least) and (
            self.ratio_at_most is None or ratio <= self.ratio_at_most
        )


@dataclass(frozen=True)
class Row:
    """One subject of the table.

    Args:
        name: what `--only` takes.
        what: shown in the table.
        ours: measures anabranch.
        peer: measures the peer, in turn with ours.
        peer_name: what the peer is.
        others: further peers by name, measured in turn too; reported, not judged.
        apart: sides that run in the peers' environment, with the package that each needs there.
        bars: one line of the table each.
        most: repeat no more often than this (long rows).
        seconds: a sample that takes longer is stopped and counts as failed.
        unfair: what a reader must know before comparing.
    """

    name: str
    what: str
    ours: Side
    bars: tuple[Bar, ...]
    peer: Side | None = None
    peer_name: str = ""
    others: Mapping[str, Side] = field(default_factory=dict)
    apart: Mapping[str, str] = field(default_factory=dict)
    most: int = 5
    seconds: float = 180.0
    unfair: str = ""

    def side(self, name: str) -> Side:
        """The side of that name: ours, peer, or one of the others; KeyError: there is none."""
        if name == "ours":
            return self.ours
        if name == "peer" and self.peer is not None:
            return self.peer
        return self.others[name]

    @property
    def sides(self) -> tuple[str, ...]:
        """In the order in which they take turns."""
        return ("ours", *(("peer",) if self.peer is not None else ()), *self.others)


def short(value: float) -> str:
    """A figure with three digits that count: 1.23, 45.6, 123, 12.3k, 1.23M."""
    for limit, letter in ((1e6, "M"), (1e4, "k")):
        if abs(value) >= limit:
            return f"{value / (1e6 if letter == 'M' else 1e3):.3g}{letter}"
    if value == int(value) and abs(value) < 1e4:
        return str(int(value))
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
