"""Rows of a recorded run, and what is wrong with a page that is made of them."""

from __future__ import annotations

from array import array
from html.parser import HTMLParser

from anabranch.core import states
from anabranch.core.runs import FlowRunRow, ItemBlock
from anabranch.core.spent import Spent

NOW = 1_800_000_000.0
VOID = {"meta", "img", "rect", "path", "br", "link", "input"}


class Checked(HTMLParser):
    """Finds tags that are left open, and addresses."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)


def checked(page: str) -> Checked:
    found = Checked()
    found.feed(page)
    return found


def run_row(**details: object) -> FlowRunRow:
    values = {"state": states.COMPLETED, "state_name": "Completed", "ended": NOW + 10, **details}
    return FlowRunRow("run-1", "etl <b>", "brave-newt", created=NOW, started=NOW, runner="process", **values)  # type: ignore[arg-type]


def block(first: int, count: int, worker: str, begin: float, codes: bytes | None = None, **details: int) -> ItemBlock:
    """Columns of items of 1 ms, one after another."""
    starts = array("i", [n * 1000 for n in range(count)])
    return ItemBlock(
        details.pop("map", "m"), first, count, codes, NOW + begin, starts, array("i", [1000] * count), 1, worker,
        Spent(calls=count * 1000),
    )  # type: ignore[arg-type]  # fmt: skip
