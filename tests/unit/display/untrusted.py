"""What is lost of HTML in a notebook that is not trusted: the rules of JupyterLab's sanitizer, as far as ours goes.

Its lists are long; here stand the tags, attributes and declarations that we may use of them. What is missing here is
not allowed, though JupyterLab may keep it.
"""

from __future__ import annotations

import re
from html.parser import HTMLParser

TAGS = {"a", "b", "br", "code", "details", "div", "img", "pre", "span", "summary"}
EVERYWHERE = {"style", "title"}
ATTRIBUTES = {"a": {"href", "rel", "target"}, "img": {"alt", "height", "src", "width"}, "details": {"open"}}

_LENGTH = r"(?:0|\d+(?:\.\d+)?(?:px|em|%))"
_COLOR = r"(?:#[0-9a-f]{3,8}|rgba\(\d+,\d+,\d+,0(?:\.\d+)?\))"
STYLES = {
    "background": _COLOR,
    "border": rf"{_LENGTH} (?:solid|dashed) {_COLOR}",
    "border-radius": _LENGTH,
    "display": "inline-block|block",
    "font-family": "monospace",
    "font-size": _LENGTH,
    "line-height": r"\d+(?:\.\d+)?",
    "margin": rf"{_LENGTH}(?: {_LENGTH}){{0,3}}",
    "max-width": _LENGTH,
    "min-width": _LENGTH,
    "opacity": r"0\.\d+",  # ".7", without a digit before the point, is dropped
    "overflow-x": "auto",
    "padding": rf"{_LENGTH}(?: {_LENGTH}){{0,3}}",
    "vertical-align": "middle|top",
    "white-space": "nowrap|pre-wrap",
}


def lost(html: str) -> list[str]:
    """Tags, attributes and declarations that an untrusted notebook drops, and tags that are not closed in order."""
    found = _Read()
    found.feed(html)
    found.close()
    return [*found.lost, *(f"<{tag}> is not closed" for tag in found.open)]


def plain_text(html: str) -> str:
    """What a reader sees of it."""
    found = _Read()
    found.feed(html)
    return " ".join("".join(found.text).split())


def pictures(html: str) -> list[tuple[str, str]]:
    """The (alt, src) of all pictures."""
    found = _Read()
    found.feed(html)
    return found.images


class _Read(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.lost: list[str] = []
        self.open: list[str] = []
        self.text: list[str] = []
        self.images: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag not in TAGS:
            self.lost.append(f"<{tag}>")
        if tag not in ("img", "br"):
            self.open.append(tag)
        for name, value in given.items():
            if name not in EVERYWHERE | ATTRIBUTES.get(tag, set()):
                self.lost.append(f"{tag} {name}")
            if name == "style":
                self.lost += [f"{tag} {one}" for one in value.split(";") if not _kept(one)]
        if tag == "img":
            self.images.append((given["alt"], given["src"]))
        if tag in ("div", "br", "summary", "pre"):
            self.text.append(" ")

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.lost.append(f"</{tag}> closes nothing")

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def _kept(declaration: str) -> bool:
    name, _, value = declaration.partition(":")
    return name in STYLES and re.fullmatch(STYLES[name], value) is not None
