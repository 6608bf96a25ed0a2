"""A Containerfile as a list of instructions, with its build arguments filled in."""

from __future__ import annotations

import re
from typing import NamedTuple


class Instruction(NamedTuple):
    """One instruction.

    Attributes:
        stage: the name of its stage, "" for the last one, "global" before the first FROM.
        word: RUN, COPY and so on.
        text: the rest on one line, each `${NAME}` of an ARG in its place.
    """

    stage: str
    word: str
    text: str


def instructions(source: str, **given: str) -> list[Instruction]:
    """Return the instructions of a Containerfile.

    Args:
        given: build arguments in place of the defaults.
    """
    found: list[Instruction] = []
    known: dict[str, str] = {}
    stage = "global"
    for line in re.sub(r"\\\n", " ", re.sub(r"^\s*#.*\n", "", source, flags=re.M)).splitlines():
        word, _, text = " ".join(line.split()).partition(" ")
        if not word:
            continue
        text = re.sub(r"\$\{(\w+)\}", lambda name: known.get(name[1], name[0]), text)
        if word == "ARG":
            name, _, default = text.partition("=")
            known[name] = given.get(name, default)
        elif word == "FROM":
            stage = text.partition(" AS ")[2]
        found.append(Instruction(stage, word, text))
    return found
